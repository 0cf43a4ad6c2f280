//! The link emulator: a bad network between client and server, as bad as asked for.
//!
//! ```text
//! pw-server [pw0] ──veth── [pw0] pw-link [pw1] ──veth── [pw0] pw-client
//! ```
//!
//! It stands in a namespace of its own, owns both interfaces there by AF_XDP, and moves whole Ethernet
//! frames between them: no kernel sees them, there are no addresses, and any two sides work, whichever
//! their TCP. It never spins but sleeps until a frame comes or is due, so it costs CPU time in proportion
//! to the frames, up to one core.
//!
//! - `config`: what can be asked of the link.
//! - `units`: the values of its flags.
//! - `wire`: moves the frames; `narrow`: drops those that are too large, and says so;
//!   `bystander`: looks at what TCP senders send again.
//! - `counters`: what it has done.

mod bystander;
mod config;
mod counters;
mod narrow;
mod units;
mod wire;

use std::{
    fs::File,
    io,
    num::NonZeroU64,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

pub use config::{LinkConfig, NoBdp};
pub use counters::WayCounters;
use pagewire_driver::{Impairment, XdpError};
use thiserror::Error;
pub use units::{BadValue, Bursts, HeldBack, PathMtu, Queue, Rate, RateSteps, Share, Span};
use wire::Wire;

/// How often the counters are made known.
const REPORT_INTERVAL: Duration = Duration::from_millis(100);

/// Why there is no link.
#[derive(Debug, Error)]
pub enum EmulatorError {
    /// An interface cannot be taken over.
    #[error("the link emulator cannot work: {0}")]
    Xdp(#[from] XdpError),
    /// The lab is being taken down.
    #[error("an interface of the link emulator is gone or down")]
    Gone,
    /// Sleeping failed.
    #[error("the link emulator cannot wait for frames: {0}")]
    Wait(io::Error),
    /// A thread or a file was refused.
    #[error("the link emulator cannot start: {0}")]
    Start(io::Error),
    /// Its process ended at once.
    #[error("{0}")]
    Process(String),
}

/// What to emulate, and where.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The interface towards the server, and that towards the client.
    pub(crate) interfaces: [&'static str; 2],
    /// What each direction does.
    pub(crate) impairment: Impairment,
    /// What was asked for.
    pub(crate) config: LinkConfig,
    /// Where the counters are written for people to read.
    pub(crate) report: PathBuf,
}

/// What the directions have done: to the client, to the server.
pub type LinkReport = [WayCounters; 2];

/// An emulator on a thread of this process. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Emulator {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    report: Mutex<LinkReport>,
}

impl Emulator {
    /// Starts it on a thread that first calls `enter`, to get into the link's namespace.
    pub(crate) fn start<E>(
        plan: Plan,
        enter: impl FnOnce() -> Result<(), E> + Send + 'static,
    ) -> Result<Self, E>
    where
        E: From<EmulatorError> + Send + 'static,
    {
        let shared = Arc::<Shared>::default();
        let (sender, opened) = mpsc::channel();
        let theirs = Arc::clone(&shared);
        let work = move || {
            // Nobody listens any more after the first of these: then it ends because its interfaces
            // are gone, or because it was told to.
            let ready = || drop(sender.send(Ok(())));
            if let Err(error) = enter().and_then(|()| Ok(run(&plan, &theirs, ready)?)) {
                let _ = sender.send(Err(error));
            }
        };
        let thread = thread::Builder::new().name("pw-link".into()).spawn(work);
        let thread = Some(thread.map_err(EmulatorError::Start)?);
        let emulator = Self { shared, thread };
        opened.recv().map_err(|error| EmulatorError::Start(io::Error::other(error)))??;
        Ok(emulator)
    }

    /// What it has done, as of a tenth of a second ago.
    pub(crate) fn report(&self) -> LinkReport {
        *self.shared.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic has been printed already.
            let _ = thread.join();
        }
    }
}

/// Emulates on this thread, which is in the link's namespace, until its interfaces are gone. Calls
/// `ready` once frames cross.
pub(crate) fn emulate(plan: &Plan, ready: impl FnOnce()) -> Result<(), EmulatorError> {
    match run(plan, &Shared::default(), ready) {
        Err(EmulatorError::Gone) => Ok(()),
        result => result,
    }
}

fn run(plan: &Plan, shared: &Shared, ready: impl FnOnce()) -> Result<(), EmulatorError> {
    let mut wire =
        Wire::open(plan.interfaces, plan.impairment, plan.config.path_mtu, plan.config.seeds())?;
    let file = File::create(&plan.report).map_err(EmulatorError::Start)?;
    let tell = |report: LinkReport| {
        *shared.report.lock().unwrap_or_else(PoisonError::into_inner) = report;
        // People may miss it; the link works without.
        let _ = rewrite(&file, &text(&plan.config, &report));
    };
    tell(wire.counters());
    be_punctual();
    ready();
    let mut told = wire.now();
    while !shared.stop.load(Ordering::Relaxed) {
        wire.turn()?;
        if wire.now() - told >= REPORT_INTERVAL {
            told = wire.now();
            tell(wire.counters());
        }
    }
    Ok(())
}

/// Replaces the content of `file` so that readers never find it empty.
fn rewrite(file: &File, text: &str) -> io::Result<()> {
    file.write_all_at(text.as_bytes(), 0)?;
    file.set_len(text.len() as u64)
}

/// Lets this thread wake when it asked to, and before others that want the core. Without privileges it
/// is as punctual as others are.
fn be_punctual() {
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    let _ = rustix::process::setpriority_process(None, -20);
}

fn text(config: &LinkConfig, [to_client, to_server]: &LinkReport) -> String {
    let flags = config.flags().join(" ");
    format!(
        "link             {flags}\nto the client    {to_client}\nto the server    {to_server}\n"
    )
}
