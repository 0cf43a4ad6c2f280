//! The lab: a server, a client and the wire between them, in network namespaces of one machine.
//!
//! ```text
//! pw-server [pw0] ──veth── [pw0] pw-client                                     10.77.0.0/24, fd77::/64
//! pw-server [pw0] ──veth── [pw0] pw-gateway [pw1] ──veth── [pw0] pw-client     and 10.78.0.0/24, fd78::/64
//! ```
//!
//! Names begin with a prefix, so that several labs can be up at once. A [`Lab`] takes its lab down
//! when it is dropped; one that a killed process left behind is removed by the next [`Lab::up`] of any
//! prefix, one that [`Lab::keep`] left up by [`down`].
//!
//! - `config`: what can be chosen, and why.
//! - `build`: makes namespaces, wires, addresses and routes.
//! - `link`: the emulator of a bad network between them.
//! - `memory_group`: how little memory a server may be given there.
//! - `host`: what is shared with the rest of the machine: the lock, the owners, one setting.

mod build;
mod config;
mod host;
mod link;
mod memory_group;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

pub use config::{Addressing, LabConfig, Prefix, Switch};
use link::Link;
pub use link::{EmulateConfig, emulate};
pub use memory_group::MemoryGroup;
use nix::{
    sched::{CloneFlags, setns},
    sys::signal::{Signal, kill},
    unistd::{Pid, geteuid},
};
use thiserror::Error;

use crate::{
    emulator::{EmulatorError, LinkReport, NoBdp},
    system::{self, CommandError},
};

/// The interface of the server and of the client, in their namespaces; the gateway's and the link's
/// towards the server.
pub const INTERFACE: &str = "pw0";

/// The interface of the gateway and of the link towards the client.
const FAR_INTERFACE: &str = "pw1";

/// The networks of labs: the server's, and the client's behind a gateway.
pub const NETWORKS: [(IpAddr, u8); 4] = [
    (IpAddr::V4(Ipv4Addr::new(10, 77, 0, 0)), 24),
    (IpAddr::V4(Ipv4Addr::new(10, 78, 0, 0)), 24),
    (IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0)), 64),
    (IpAddr::V6(Ipv6Addr::new(0xfd78, 0, 0, 0, 0, 0, 0, 0)), 64),
];

/// The server's addresses.
pub const SERVER: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1)),
];

/// A machine of the lab.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Side {
    /// Where pagewire runs.
    Server,
    /// Where requests come from.
    Client,
    /// Between the two, in the routed variant.
    Gateway,
    /// Where the link emulator stands. It has no addresses.
    Link,
}

impl Side {
    const ALL: [Self; 4] = [Self::Server, Self::Client, Self::Gateway, Self::Link];

    /// The name of its namespace.
    pub fn namespace(self, prefix: &Prefix) -> String {
        let side = match self {
            Self::Server => "server",
            Self::Client => "client",
            Self::Gateway => "gateway",
            Self::Link => "link",
        };
        format!("{prefix}-{side}")
    }

    fn handle(self, prefix: &Prefix) -> PathBuf {
        Path::new("/run/netns").join(self.namespace(prefix))
    }

    fn exists(self, prefix: &Prefix) -> bool {
        self.handle(prefix).exists()
    }
}

/// Why the lab could not be used.
#[derive(Debug, Error)]
pub enum LabError {
    /// Namespaces need privileges.
    #[error("the lab makes network namespaces, which needs root: run it by sudo")]
    NotRoot,
    /// A program of the system failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The kernel lacks a congestion control.
    #[error("this kernel has no congestion control `{name}`, only {available}: choose one of them")]
    CongestionControl {
        /// What was asked for.
        name: String,
        /// What there is.
        available: String,
    },
    /// There is no such lab, or it has no such side.
    #[error("there is no namespace `{0}`: run `pw lab up` first (`--routed` for a gateway)")]
    Down(String),
    /// The emulator carries single frames of one chunk.
    #[error("the link emulator needs single packets of at most 3506 bytes: {0}")]
    LinkNeedsFrames(&'static str),
    /// A queue of nothing.
    #[error(transparent)]
    NoBdp(#[from] NoBdp),
    /// The emulator does not work.
    #[error(transparent)]
    Link(#[from] EmulatorError),
    /// A file of the system could not be used.
    #[error("cannot use {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A lab that is up. Dropping it takes it down.
#[derive(Debug)]
pub struct Lab {
    prefix: Prefix,
    link: Option<Link>,
    kept: bool,
}

impl Lab {
    /// Builds the lab, after removing what an earlier one of the same prefix, or a killed one of any
    /// prefix, left behind.
    ///
    /// # Errors
    ///
    /// Without privileges, programs or kernel features that it needs. Nothing is left behind then.
    pub fn up(config: &LabConfig) -> Result<Self, LabError> {
        if !geteuid().is_root() {
            return Err(LabError::NotRoot);
        }
        let wanted = link::wanted(config)?;
        let lock = host::Lock::take()?;
        for prefix in lock.abandoned()? {
            remove(&prefix, &lock)?;
        }
        remove(&config.prefix, &lock)?;
        lock.claim(&config.prefix, &host::Owner::ThisProcess)?;
        let built = build::build(config, &lock).and_then(|()| wanted.map(Link::start).transpose());
        match built {
            Ok(link) => Ok(Self { prefix: config.prefix.clone(), link, kept: false }),
            Err(error) => {
                remove(&config.prefix, &lock)?;
                Err(error)
            }
        }
    }

    /// Leaves the lab up until somebody calls [`down`].
    ///
    /// # Errors
    ///
    /// When that cannot be recorded, or the link emulator cannot go on by itself; the lab is then
    /// taken down.
    pub fn keep(mut self) -> Result<(), LabError> {
        self.link.take().map(Link::hand_over).transpose()?;
        host::Lock::take()?.claim(&self.prefix, &host::Owner::Nobody)?;
        self.kept = true;
        Ok(())
    }

    /// The prefix of its names.
    pub fn prefix(&self) -> &Prefix {
        &self.prefix
    }

    /// What the link emulator has done, if there is one.
    pub fn link_report(&self) -> Option<LinkReport> {
        self.link.as_ref().map(Link::report)
    }

    /// A command that runs `program` on one side.
    pub fn command(&self, side: Side, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &side.namespace(&self.prefix), program]);
        command
    }

    /// Runs `work` on a thread whose sockets belong to one side.
    ///
    /// # Errors
    ///
    /// When that side does not exist.
    ///
    /// # Panics
    ///
    /// When `work` does.
    pub fn within<T: Send>(
        &self,
        side: Side,
        work: impl FnOnce() -> T + Send,
    ) -> Result<T, LabError> {
        let work = || enter(&self.prefix, side).map(|()| work());
        thread::scope(|scope| scope.spawn(work).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Ends every process that runs on any side.
    ///
    /// # Errors
    ///
    /// When the processes cannot be listed.
    pub fn end_processes(&self) -> Result<(), LabError> {
        end_processes(&self.prefix)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        self.link = None;
        if let Err(error) = down(&self.prefix) {
            eprintln!("pw: the lab `{}` was not taken down: {error}", self.prefix);
        }
    }
}

/// Moves this thread, and the sockets that it will open, to one side.
fn enter(prefix: &Prefix, side: Side) -> Result<(), LabError> {
    let path = side.handle(prefix);
    let refused = |source| LabError::File { path: path.clone(), source };
    let handle = std::fs::File::open(&path).map_err(refused)?;
    setns(handle, CloneFlags::CLONE_NEWNET).map_err(|error| refused(error.into()))
}

/// For tests: whether this process may build labs. On a laptop without privileges a test says that it
/// is skipped, and returns; in continuous integration (`CI` set) it fails instead.
///
/// # Panics
///
/// Without privileges where `CI` is set.
pub fn privileged() -> bool {
    let root = geteuid().is_root();
    if !root {
        assert!(std::env::var_os("CI").is_none(), "this test needs root");
        eprintln!("SKIPPED: this test builds a lab, which needs root");
    }
    root
}

/// Removes a lab and ends what still runs in it. Succeeds where there is none. Also puts back what a
/// killed run changed on the host.
///
/// # Errors
///
/// Without privileges, or when a namespace cannot be removed.
pub fn down(prefix: &Prefix) -> Result<(), LabError> {
    if !geteuid().is_root() {
        return Err(LabError::NotRoot);
    }
    remove(prefix, &host::Lock::take()?)
}

/// Command line that runs `words` on one side of a lab that is up.
///
/// # Errors
///
/// When there is no such side, or without privileges.
pub fn run(prefix: &Prefix, side: Side, words: &[String]) -> Result<Command, LabError> {
    if !geteuid().is_root() {
        return Err(LabError::NotRoot);
    }
    if !side.exists(prefix) {
        return Err(LabError::Down(side.namespace(prefix)));
    }
    let mut command = Command::new("ip");
    // By `env`, since `ip` itself has no exit status of its own for a command that it cannot find.
    command.args(["netns", "exec", &side.namespace(prefix), "env"]).args(words);
    Ok(command)
}

/// What is up: each namespace with its interfaces and the processes in it. Empty if nothing is.
///
/// # Errors
///
/// Without privileges.
pub fn status(prefix: &Prefix) -> Result<String, LabError> {
    if !geteuid().is_root() {
        return Err(LabError::NotRoot);
    }
    let mut text = Vec::new();
    for side in Side::ALL.into_iter().filter(|side| side.exists(prefix)) {
        let namespace = side.namespace(prefix);
        let addresses = system::run(&["ip", "-n", &namespace, "-brief", "address"])?;
        let processes = processes(&namespace)?.iter().map(Pid::to_string).collect::<Vec<_>>();
        let processes = if processes.is_empty() { "none".to_owned() } else { processes.join(" ") };
        text.push(format!("{namespace}\n{addresses}processes        {processes}\n"));
    }
    text.extend(std::fs::read_to_string(host::link_report(prefix)));
    Ok(text.concat())
}

fn remove(prefix: &Prefix, lock: &host::Lock) -> Result<(), LabError> {
    lock.restore()?;
    end_processes(prefix)?;
    for side in Side::ALL.into_iter().filter(|side| side.exists(prefix)) {
        let namespace = side.namespace(prefix);
        // The wire goes at once, even if something still holds the namespace open.
        let _ = system::run(&["ip", "-n", &namespace, "link", "delete", INTERFACE]);
        system::run(&["ip", "netns", "delete", &namespace])?;
    }
    lock.release(prefix)
}

fn end_processes(prefix: &Prefix) -> Result<(), LabError> {
    const PATIENCE: Duration = Duration::from_secs(2);
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let deadline = Instant::now() + PATIENCE;
        let mut first = true;
        loop {
            let mut running = Vec::new();
            for side in Side::ALL.into_iter().filter(|side| side.exists(prefix)) {
                running.extend(processes(&side.namespace(prefix))?);
            }
            if running.is_empty() {
                return Ok(());
            }
            if first {
                for process in running {
                    // It may have ended by itself meanwhile.
                    let _ = kill(process, signal);
                }
                first = false;
            } else if Instant::now() > deadline {
                break;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
    Ok(())
}

/// The processes in a namespace, but not this one.
fn processes(namespace: &str) -> Result<Vec<Pid>, LabError> {
    let listed = system::run(&["ip", "netns", "pids", namespace])?;
    let pids = listed.lines().filter_map(|line| line.trim().parse().ok()).map(Pid::from_raw);
    Ok(pids.filter(|pid| *pid != Pid::this()).collect())
}
