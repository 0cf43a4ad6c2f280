//! One lab: a link, the servers before it, and room for receivers behind it.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use clap::Parser;
use pagewire_tools::{
    emulator::{LinkConfig, WayCounters},
    lab::{INTERFACE, Lab, LabConfig, Side, Switch},
    serving::Serving,
};
use tempfile::TempDir;

use super::is_over;
use crate::{
    error::BenchError,
    product::{self, ADDRESS},
};

/// Whose TCP sends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sender {
    /// The kernel's: the server in kernel mode.
    Linux,
    /// The user stack's.
    Ours,
}

impl Sender {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Linux, Self::Ours];

    /// The port that its server listens on, so that both may run in one lab.
    pub const fn port(self) -> u16 {
        match self {
            Self::Linux => 8_080,
            Self::Ours => 80,
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Linux => "Linux",
            Self::Ours => "ours",
        }
    }
}

/// The file that is sent for as long as a run takes, and its bytes: more than the fastest link carries
/// in the longest run.
pub const BULK_FILE: &str = "bulk";
const BULK_BYTES: u64 = 8 << 30;

/// The file that is sent whole, and its bytes.
pub const OBJECT_FILE: &str = "object";
/// See [`OBJECT_FILE`].
pub const OBJECT_BYTES: u64 = 64 << 10;

/// What the kernel's sockets may buffer, so that no window is smaller than the longest link: twice the
/// 5 MB of 100 Mbit/s at 200 ms with as much in the queue.
const SOCKET_BUFFERS: [(&str, &str); 3] = [
    ("ipv4/tcp_rmem", "4096 131072 33554432"),
    ("ipv4/tcp_wmem", "4096 65536 33554432"),
    // No connection begins with what another has learnt.
    ("ipv4/tcp_no_metrics_save", "1"),
];

/// How long the emulator takes to make known what it has counted.
const REPORT_TIME: Duration = Duration::from_millis(150);

/// What all labs of a measurement have in common.
#[derive(Debug)]
pub struct Stage {
    program: PathBuf,
    folder: TempDir,
    labs: AtomicU32,
    /// Set when somebody wants it to end.
    pub interrupted: Arc<AtomicBool>,
}

impl Stage {
    /// Finds the server, and makes the files.
    pub fn set(interrupted: Arc<AtomicBool>) -> Result<Self, BenchError> {
        let error = BenchError::system("make files to serve");
        let folder = tempfile::tempdir().map_err(&error)?;
        let served = folder.path().join("served");
        fs::create_dir(&served).map_err(&error)?;
        // Sparse: it is read from the page cache all the same.
        let bulk = File::create(served.join(BULK_FILE)).map_err(&error)?;
        bulk.set_len(BULK_BYTES).map_err(&error)?;
        product::fill(&served.join(OBJECT_FILE), OBJECT_BYTES).map_err(&error)?;
        Ok(Self { program: product::program()?, folder, labs: AtomicU32::new(0), interrupted })
    }

    /// An error once somebody wants it to end.
    pub fn check(&self) -> Result<(), BenchError> {
        if is_over(&self.interrupted) { Err(BenchError::Interrupted) } else { Ok(()) }
    }
}

/// See the module. Dropping it removes the lab.
pub struct Scene {
    servers: Vec<Serving>,
    lab: Lab,
}

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    link: LinkConfig,
}

/// The link of these flags, with this seed.
pub fn link(flags: &str, seed: u64) -> Result<LinkConfig, BenchError> {
    let words = ["link"].into_iter().chain(flags.split_whitespace());
    let parsed =
        Flags::try_parse_from(words).map_err(|error| BenchError::Nothing(error.to_string()));
    Ok(LinkConfig { seed: Some(seed), ..parsed?.link })
}

impl Scene {
    /// A lab with this link, and servers for `senders` on the core of this number.
    pub fn up(
        stage: &Stage,
        flags: &str,
        seed: u64,
        senders: &[Sender],
        core: usize,
    ) -> Result<Self, BenchError> {
        stage.check()?;
        let config = LabConfig {
            queues: Some(1),
            txrehash: Switch::Off,
            link: link(flags, seed)?,
            ..LabConfig::unique()
        };
        let mut scene = Self { lab: Lab::up(&config)?, servers: Vec::new() };
        for side in [Side::Server, Side::Client] {
            scene.lab.within(side, || {
                SOCKET_BUFFERS.iter().try_for_each(|(name, value)| {
                    let path = Path::new("/proc/sys/net").join(name);
                    fs::write(&path, value).map_err(|source| BenchError::File { path, source })
                })
            })??;
        }
        for &sender in senders {
            scene.serve(stage, sender, core)?;
        }
        Ok(scene)
    }

    fn serve(&mut self, stage: &Stage, sender: Sender, core: usize) -> Result<(), BenchError> {
        let port = sender.port();
        let own = match sender {
            Sender::Ours => format!(
                "--transport xdp --interface {INTERFACE} --queues 0 --address {ADDRESS}/24 --port {port}"
            ),
            Sender::Linux => format!("--listen {ADDRESS}:{port} --congestion-control cubic"),
        };
        let root = stage.folder.path().join("served").to_string_lossy().into_owned();
        let flags = format!("{own} --cores {core}");
        let arguments: Vec<_> = ["serve".to_owned(), root]
            .into_iter()
            .chain(flags.split(' ').map(str::to_owned))
            .collect();
        let number = stage.labs.fetch_add(1, Ordering::Relaxed);
        let log = stage.folder.path().join(format!("server-{number}.log"));
        self.servers.push(Serving::start(&self.lab, &stage.program, &arguments, &log)?);
        Ok(())
    }

    /// Runs `work` on a thread whose sockets are the receiver's.
    pub fn at_receiver<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, BenchError> {
        Ok(self.lab.within(Side::Client, work)?)
    }

    /// What the link has done to what the servers sent.
    pub fn link_report(&self) -> WayCounters {
        std::thread::sleep(REPORT_TIME);
        self.lab.link_report().map_or_else(WayCounters::default, |[to_client, _]| to_client)
    }

    /// Ends servers and lab.
    pub fn down(mut self) -> Result<(), BenchError> {
        self.servers
            .drain(..)
            .try_for_each(|server| server.stop().map(drop))
            .map_err(BenchError::from)
    }
}
