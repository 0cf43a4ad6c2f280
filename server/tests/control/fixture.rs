//! A server on the kernel's TCP in this process, and clients of it.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use pagewire::{
    config::Config,
    control::{
        observer::{Observer, Snapshot},
        protocol::{Answer, Ask, Request},
        socket::ControlSocket,
    },
    serve::Server,
};
use tempfile::TempDir;

/// Longer than anything here takes.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A server with a control socket, on two shards.
pub struct Running {
    pub server: Server,
    pub control: Option<ControlSocket>,
    pub directory: TempDir,
}

impl Running {
    /// Serves a directory with `small.txt` and the larger `large.bin`.
    pub fn start(flags: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        fs::create_dir(&root).unwrap();
        fs::write(root.join("small.txt"), b"small\n").unwrap();
        fs::write(root.join("large.bin"), vec![7; 32 << 20]).unwrap();
        let words = ["pagewire", "serve", root.to_str().unwrap(), "--listen=127.0.0.1:0"];
        let config = Config::of_command_line(words.iter().chain(flags).copied()).unwrap();
        let server = Server::start(&config).unwrap();
        let control = ControlSocket::open(&directory.path().join("it.sock"), server.observer());
        Self { server, control: Some(control.unwrap()), directory }
    }

    pub fn path(&self) -> PathBuf {
        self.control.as_ref().unwrap().path().to_owned()
    }

    pub fn address(&self) -> SocketAddr {
        self.server.addresses()[0]
    }

    /// A client that has asked for a path and has not read the answer.
    pub fn ask_for(&self, path: &str) -> TcpStream {
        let mut client = TcpStream::connect(self.address()).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(client, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        client
    }

    /// Fetches `small.txt`, which fails if it does not come whole.
    pub fn fetch(&self) {
        let mut client = self.ask_for("/small.txt");
        let mut answer = Vec::new();
        while !answer.ends_with(b"small\n") {
            let mut bytes = [0; 1024];
            let len = read(&mut client, &mut bytes);
            assert_ne!(len, 0, "{}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&bytes[..len]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
    }

    /// Serves as fast beside those who `hang` as if nobody were in its way. That is a time, and others may have the
    /// machine for a while: of several tries, with others who hang in each, one must be in time.
    pub fn serves_on_beside<T>(&self, hang: impl Fn() -> T) {
        let mut slowest = Vec::new();
        for _ in 0..3 {
            let visitors = hang();
            let times = (0..50).map(|_| {
                let start = Instant::now();
                self.fetch();
                start.elapsed()
            });
            slowest.push(times.max().unwrap());
            drop(visitors);
            if slowest.iter().any(|time| *time < Duration::from_secs(2)) {
                return;
            }
        }
        panic!("{slowest:?}");
    }

    pub fn visit(&self) -> Client {
        let stream = UnixStream::connect(self.path()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client { stream: BufReader::new(stream) }
    }
}

/// What is seen once every shard has come to answer.
pub fn seen_by(observer: &Observer) -> Snapshot {
    let mut seen = observer.snapshot();
    wait_until("all shards answer", || {
        let all = seen.shards.iter().all(|shard| shard.answered);
        if !all {
            seen = observer.snapshot();
        }
        all
    });
    seen
}

/// Reads what has come, also after an interruption: with a timeout the kernel does not go on by itself (signal(7)).
pub fn read(stream: &mut impl Read, bytes: &mut [u8]) -> usize {
    loop {
        match stream.read(bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read.unwrap(),
        }
    }
}

/// Waits until something is so: `what`, for whoever reads that it never was.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never so: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A client of the control socket.
pub struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    pub fn say(&mut self, line: &str) {
        self.try_say(line).unwrap();
    }

    /// Fails if it has been turned away.
    pub fn try_say(&mut self, line: &str) -> io::Result<()> {
        self.stream.get_mut().write_all(line.as_bytes())
    }

    pub fn ask(&mut self, ask: Ask) -> Answer {
        self.say(&(serde_json::to_string(&Request::new(ask)).unwrap() + "\n"));
        self.next().expect("no answer")
    }

    /// The next line; none at the end.
    pub fn next(&mut self) -> Option<Answer> {
        let mut line = String::new();
        (self.stream.read_line(&mut line).unwrap() > 0)
            .then(|| serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")))
    }
}
