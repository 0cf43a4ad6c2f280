//! A `pagewire serve` process on the server's side of a lab.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use pagewire_tools::lab::{Lab, Side};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};

use crate::error::BenchError;

/// How long it may take to start.
const PATIENCE: Duration = Duration::from_secs(15);

/// Descriptors for everything but connections.
const RESERVED: u64 = 8_192;

/// Files repeat themselves after so much.
const BLOCK_BYTES: usize = 1 << 20;

/// The address that it serves, and its port.
pub const ADDRESS: &str = "10.77.0.1";
/// See [`ADDRESS`].
pub const PORT: u16 = 80;

/// A server that runs. Dropping it ends it.
pub struct Running {
    child: Child,
    log: PathBuf,
}

/// The server's program, beside this one or in `target`'s folder above a test's.
pub fn program() -> Result<PathBuf, BenchError> {
    let here = std::env::current_exe().map_err(BenchError::system("find this program"))?;
    let beside = here.ancestors().skip(1).take(2).map(|folder| folder.join("pagewire"));
    beside.into_iter().find(|path| path.is_file()).ok_or_else(|| {
        BenchError::Server(format!("there is no `pagewire` beside {}: ./dev build", here.display()))
    })
}

/// For tests: builds it, if it is not there.
#[cfg(test)]
pub fn build() {
    if program().is_err() {
        let arguments = ["build", "--package", "pagewire"];
        let built = std::process::Command::new(env!("CARGO")).args(arguments).status();
        assert!(built.unwrap().success());
    }
}

/// Lets this process and those it starts have descriptors for so many connections.
pub fn allow_descriptors(connections: usize) {
    let needed = connections as u64 * 2 + RESERVED;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < needed) {
        let maximum = limit.maximum.map(|maximum| maximum.max(needed));
        // Refused: then a cell that needs more fails, and says so.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum });
    }
}

impl Running {
    /// Starts it, and waits until it accepts connections.
    pub fn start(
        lab: &Lab,
        program: &Path,
        arguments: &[String],
        log: &Path,
    ) -> Result<Self, BenchError> {
        let error = BenchError::system("start the server");
        let output = File::create(log).map_err(&error)?;
        let mut command = lab.command(Side::Server, &program.to_string_lossy());
        // In a group of its own it does not hear of a Ctrl-C in the terminal, which is ours to act on.
        command.args(arguments).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(output);
        let child = command.spawn().map_err(&error)?;
        let mut running = Self { child, log: log.to_owned() };
        match running.wait_ready() {
            Ok(true) => Ok(running),
            Ok(false) => {
                let _ = running.end(Signal::SIGKILL);
                Err(BenchError::Server(format!("the server did not start: {}", running.said())))
            }
            Err(source) => Err(error(source)),
        }
    }

    fn wait_ready(&mut self) -> io::Result<bool> {
        let stdout = self.child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let patience = Timespec::try_from(PATIENCE).map_err(io::Error::other)?;
        if poll(&mut [PollFd::new(&stdout, PollFlags::IN)], Some(&patience))? == 0 {
            return Ok(false);
        }
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        Ok(line.starts_with("ready"))
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it in order, and returns what it has said about itself.
    pub fn stop(mut self) -> Result<String, BenchError> {
        self.end(Signal::SIGQUIT).map_err(BenchError::system("end the server"))?;
        Ok(self.said())
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default().trim().to_owned()
    }

    /// Asks it to end; again after a second, which ends it at once; and at last forces it.
    fn end(&mut self, signal: Signal) -> io::Result<()> {
        let process = Pid::from_raw(self.child.id().cast_signed());
        for signal in [signal, signal, Signal::SIGKILL] {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            kill(process, signal)?;
            let deadline = Instant::now() + Duration::from_secs(1);
            while self.child.try_wait()?.is_none() && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(2));
            }
        }
        self.child.wait().map(|_| ())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.end(Signal::SIGKILL);
    }
}

/// Makes a file of bytes that do not compress.
pub fn fill(path: &Path, bytes: u64) -> io::Result<()> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    let block: Vec<u8> = words.take(BLOCK_BYTES / 8).flatten().collect();
    let mut file = File::create(path)?;
    let mut left = usize::try_from(bytes).unwrap_or(usize::MAX);
    while left > 0 {
        let len = left.min(block.len());
        file.write_all(&block[..len])?;
        left -= len;
    }
    Ok(())
}
