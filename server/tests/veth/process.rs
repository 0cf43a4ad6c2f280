//! A pagewire process on the lab's server side.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use pagewire_tools::lab::{Lab, Side};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::client::PATIENCE;

pub const KERNEL: &str = "--listen 10.77.0.1:80 --listen [fd77::1]:80";
pub const XDP: &str = "--require-xdp --interface pw0 --address 10.77.0.1/24 --address fd77::1/64";

/// Something to serve: files of given names and lengths, and what is in them.
pub struct Site {
    directory: TempDir,
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Site {
    pub fn new(files: &[(&str, usize)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let content = |name: &str, len: usize| {
            let seed = name.bytes().map(usize::from).sum::<usize>();
            (seed..seed + len).map(|index| (index * 31 + index / 251) as u8).collect()
        };
        let files: BTreeMap<String, Vec<u8>> =
            files.iter().map(|&(name, len)| (name.to_owned(), content(name, len))).collect();
        for (name, bytes) in &files {
            fs::write(directory.path().join(name), bytes).unwrap();
        }
        Self { directory, files }
    }

    /// Lets every user read it.
    pub fn open_to_all(&self) {
        fs::set_permissions(self.root(), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Its directory.
    pub fn root(&self) -> &Path {
        self.directory.path()
    }
}

/// A server that is ready. Dropping it kills it.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it and waits until it says that it is ready.
    pub fn start(lab: &Lab, site: &Site, flags: &str) -> Self {
        let root = site.directory.path().to_str().unwrap();
        let arguments = ["serve", root].into_iter().chain(flags.split(' '));
        Self::run(lab, arguments, site.directory.path().join(".log"))
    }

    /// Runs it with these arguments and waits until it says that it is ready.
    pub fn run<'a>(lab: &Lab, arguments: impl IntoIterator<Item = &'a str>, log: PathBuf) -> Self {
        let output = File::create(&log).unwrap();
        let mut command = lab.command(Side::Server, env!("CARGO_BIN_EXE_pagewire"));
        command.args(arguments);
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        Self::of(command.spawn().unwrap(), log)
    }

    /// One that was started and writes to `log`. Waits until it says that it is ready.
    pub fn of(child: Child, log: PathBuf) -> Self {
        let mut process = Self { child, log };
        let deadline = Instant::now() + PATIENCE;
        while !process.said().contains("ready") {
            let ended = process.child.try_wait().unwrap();
            assert!(ended.is_none(), "ended ({ended:?}): {}", process.said());
            assert!(Instant::now() < deadline, "never ready: {}", process.said());
            thread::sleep(Duration::from_millis(5));
        }
        process
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Kills it without a chance to tidy up.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it in order and returns the sums of what its shards say they have counted.
    pub fn stop(mut self) -> Counts {
        self.signal(Signal::QUIT);
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {}", self.said());
        Counts::read(&self.said())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Counters by name, from lines such as `shard 0 on core 0: connections 2, requests 2`.
pub struct Counts {
    counts: BTreeMap<String, u64>,
    text: String,
}

impl Counts {
    fn read(text: &str) -> Self {
        let mut counts = BTreeMap::new();
        let lines = text.lines().filter_map(|line| line.split_once(": "));
        for count in lines.flat_map(|(_, counts)| counts.split(", ")) {
            let Some((name, number)) = count.rsplit_once(' ') else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            *counts.entry(name.to_owned()).or_default() += number;
        }
        Self { counts, text: text.to_owned() }
    }

    pub fn of(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or_default()
    }

    pub fn text(&self) -> &str {
        &self.text
    }
}
