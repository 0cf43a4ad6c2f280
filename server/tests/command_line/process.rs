//! The program as a child of the test.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Longer than anything here takes, also where others have the machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pagewire"));
    command.args(words).stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null());
    command
}

/// Starts it and reads where it listens.
pub fn start(directory: &TempDir, more: &[&str]) -> (Child, String) {
    let root = directory.path().to_str().unwrap();
    let words = [&["serve", root, "--listen", "127.0.0.1:0"], more].concat();
    let mut child = command(&words).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address =
        line.trim_end().strip_prefix("ready: http://").and_then(|it| it.strip_suffix('/'));
    (child, address.unwrap_or_else(|| panic!("{line:?}")).to_owned())
}

pub fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

pub fn end(child: Child) -> Output {
    let start = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert!(start.elapsed() < PATIENCE);
    output
}

pub fn large_file(bytes: u64) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::File::create(directory.path().join("large")).unwrap().set_len(bytes).unwrap();
    directory
}

/// Asks for the large file and reads a little of it.
pub fn begin_transfer(address: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    stream.read_exact(&mut [0; 1000]).unwrap();
    stream
}

/// What a command prints if it succeeds.
pub fn printed(words: &[&str]) -> String {
    let output = command(words).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{words:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// A server with a configuration file, and its log.
pub struct Served {
    pub child: Child,
    /// Where it listens.
    pub address: String,
    pub directory: TempDir,
}

impl Served {
    /// Serves by a file that consists of `text` and where to listen. `{dir}` in it is a directory of its own.
    pub fn start(text: &str, environment: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for root in ["a", "b"] {
            std::fs::create_dir(directory.path().join(root)).unwrap();
            std::fs::write(directory.path().join(root).join("name"), root).unwrap();
        }
        let file = directory.path().join("pagewire.toml");
        let this = Self::write(&directory, text);
        std::fs::write(&file, this).unwrap();
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let mut command = command(&["serve", "--config", file.to_str().unwrap()]);
        command.envs(environment.iter().copied()).stderr(log);
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim_end().strip_prefix("ready: http://");
        let address = address.and_then(|it| it.strip_suffix('/')).map(str::to_owned);
        let address = address.unwrap_or_else(|| {
            panic!("{line:?}: {:?}", std::fs::read_to_string(directory.path().join("log")))
        });
        Self { child, address, directory }
    }

    fn write(directory: &TempDir, text: &str) -> String {
        let text = text.replace("{dir}", directory.path().to_str().unwrap());
        format!("listen = [\"127.0.0.1:0\"]\n{text}")
    }

    /// Changes the file.
    pub fn configure(&self, text: &str) {
        let file = self.directory.path().join("pagewire.toml");
        std::fs::write(file, Self::write(&self.directory, text)).unwrap();
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    /// Sends `ask` and waits until the log has one line more with `words` in it.
    pub fn ask(&self, ask: Signal, words: &str) {
        let count = || self.log().lines().filter(|line| line.contains(words)).count();
        let before = count();
        signal(&self.child, ask);
        let deadline = Instant::now() + PATIENCE;
        while count() == before {
            assert!(Instant::now() < deadline, "never said `{words}`: {}", self.log());
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks for a path on an open connection, and returns the answer's status and body.
pub fn get(stream: &mut TcpStream, path: &str) -> (u16, String) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut reader = BufReader::new(stream);
    let (mut status, mut length) = (0, 0);
    for line in reader.by_ref().lines() {
        let line = line.unwrap().to_ascii_lowercase();
        if let Some(rest) = line.strip_prefix("http/1.1 ") {
            status = rest[..3].parse().unwrap();
        } else if let Some(rest) = line.strip_prefix("content-length: ") {
            length = rest.parse().unwrap();
        } else if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    (status, String::from_utf8(body).unwrap())
}
