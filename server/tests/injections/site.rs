//! The server under test, and the directory that is played with.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use pagewire::{config::Config, counters::Counter, serve::Server};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use tempfile::TempDir;

/// How long the server may go on serving what a name led to before it changed, and the time that a
/// loaded machine takes on top.
pub const NOTICED: Duration = Duration::from_millis(1_700);

/// Longer than anything takes, also where others have the machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A server in this process that may read only what its user may, even if that is root.
pub struct Site {
    server: Server,
    directory: TempDir,
}

impl Site {
    /// Starts it. The calling thread is left without the rights that override file modes.
    pub fn start(flags: &[&str]) -> Self {
        heed_file_modes();
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().to_str().unwrap();
        let words = ["pagewire", "serve", root, "--cache-entries=256"];
        let config = Config::of_command_line(words.iter().chain(flags).copied()).unwrap();
        let server = Server::start(&config).unwrap();
        Self { server, directory }
    }

    pub fn address(&self) -> std::net::SocketAddr {
        self.server.addresses()[0]
    }

    pub fn root(&self) -> &Path {
        self.directory.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// Ends it: every connection that was opened must have been closed, and nothing unreadable met.
    pub fn finish(self) {
        let deadline = Instant::now() + PATIENCE;
        self.server.drain();
        assert!(self.server.wait_ended(deadline), "it does not drain");
        let counters: Vec<String> = self.server.counters().map(ToString::to_string).collect();
        for shard in self.server.counters() {
            assert_eq!(shard.get(Counter::ContentUnreadable), 0, "{counters:?}");
        }
        for shard in self.server.finish().unwrap().shards {
            eprintln!("core {}: {}; {}", shard.core, shard.counters, shard.transport);
        }
    }
}

/// Takes from this thread, and those it starts, root's right to read what nobody may.
fn heed_file_modes() {
    let overriding = CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
    let mut sets = capabilities(None).unwrap();
    sets.effective.remove(overriding);
    sets.permitted.remove(overriding);
    set_capabilities(None, sets).unwrap();
}
