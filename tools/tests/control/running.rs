//! A server in this process, and `pw` beside it.

use std::{
    process::{Command, Output},
    time::{Duration, Instant},
};

use pagewire::{config::Config, control::socket::ControlSocket, serve::Server};
use pagewire_tools::lab::{Lab, Side};

pub struct Running {
    pub server: Server,
    pub control: ControlSocket,
    pub config: Config,
    _directory: tempfile::TempDir,
    pub lab: Option<Lab>,
}

impl Running {
    /// Serves `a.txt`, which says `hello`: on the lab's server side if there is one.
    pub fn start(lab: Option<Lab>, flags: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("a.txt"), b"hello").unwrap();
        let words = ["pagewire", "serve", directory.path().to_str().unwrap()];
        let words: Vec<_> = words.iter().chain(flags).copied().collect();
        let start = || {
            let config = Config::of_command_line(words).unwrap();
            (Server::start(&config).unwrap(), config)
        };
        let (server, config) = match &lab {
            Some(lab) => lab.within(Side::Server, start).unwrap(),
            None => start(),
        };
        let control = ControlSocket::open(&directory.path().join("it.sock"), server.observer());
        Self { server, control: control.unwrap(), config, _directory: directory, lab }
    }

    /// On the kernel's TCP, and one core.
    pub fn on_kernel() -> Self {
        Self::start(None, &["--listen=127.0.0.1:0", "--cores=0"])
    }

    /// `pw`, for this server.
    pub fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pw"));
        command.args(words.split(' ')).env("PAGEWIRE_CONTROL", self.control.path());
        command
    }

    pub fn pw(&self, words: &str) -> Output {
        self.command(words).output().unwrap()
    }

    /// What it says on the standard output, if it succeeds.
    pub fn said(&self, words: &str) -> String {
        let output = self.pw(words);
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same, once it is as wanted: a shard that does not run for a while is left out.
    pub fn said_at_last(&self, words: &str, is_wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let text = self.said(words);
            if is_wanted(&text) {
                return text;
            }
            assert!(Instant::now() < deadline, "{text}");
        }
    }

    /// Why it fails, on the standard error.
    pub fn refused(&self, words: &str) -> String {
        let output = self.pw(words);
        assert_eq!(
            (output.status.code(), output.stdout.len()),
            (Some(1), 0),
            "{words}: {output:?}"
        );
        String::from_utf8(output.stderr).unwrap()
    }
}
