//! A load generator for HTTP/1.1, over the kernel's TCP or the project's own.
//!
//! Each core has a thread, a transport and its share of the connections, and counts for itself; once a
//! second the counts are handed over and added up. Every response's status and length are checked.
//! Every run is bounded: requests are started for [`Plan::duration`], responses waited for no longer
//! than [`Plan::timeout`].
//!
//! - `command`, `args`: the command and its flags; `plan`: what they come to.
//! - `target`: the server, and whether it may be loaded; `requests`, `access_log`: what is asked for.
//! - `client`: one core's loop; `clock`: its time; `schedule`: when requests start in an open loop.
//! - `response`, `content`: what comes back, and what it must be.
//! - `kernel`, `xdp`: transports; `launch`: threads.
//! - `tally`: what is counted; `report`, `text`: what is told.
//!
//! What is deliberately absent: redirects, TLS, chunked bodies. A benchmark's server is to say how long
//! its files are.

mod access_log;
mod args;
mod client;
mod clock;
mod command;
mod content;
mod kernel;
mod launch;
mod plan;
mod report;
mod requests;
mod response;
mod schedule;
mod tally;
mod target;
mod text;
mod xdp;

use std::{io, net::IpAddr, path::PathBuf, sync::atomic::AtomicBool};

use thiserror::Error;

pub use self::{
    args::LoadArgs,
    command::main,
    content::{Hash, Verify},
    plan::{Pace, Plan, TransportPlan},
    report::{CoreReport, Outcome, Report, Second},
    requests::{Weighted, Workload},
    tally::{Cause, Tally},
    target::Target,
};

/// Why a run did not start.
#[derive(Debug, Error)]
pub enum LoadError {
    /// Arguments that mean nothing or do not go together.
    #[error("{0}")]
    Usage(String),
    /// The server may be another machine.
    #[error(
        "{address} {reason}: a load like this harms whoever is not prepared for it; if it is yours, say \
         --i-own-this-target"
    )]
    Refused {
        /// The server's address.
        address: IpAddr,
        /// What is wrong with it.
        reason: String,
    },
    /// A file cannot be read or written.
    #[error("cannot use {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The transport cannot be set up.
    #[error("{0}")]
    Transport(String),
}

/// Loads a server as `plan` says.
///
/// Threads are started in the network namespace of the calling thread.
///
/// # Errors
///
/// [`LoadError`] if it cannot start. What fails later is in the report.
pub fn run(plan: &Plan) -> Result<Report, LoadError> {
    run_watched(plan, &AtomicBool::new(false), &mut |_| {})
}

/// The same; ends early when `stop` is set, and calls `watch` once a second.
///
/// # Errors
///
/// [`LoadError`] if it cannot start. What fails later is in the report.
pub fn run_watched(
    plan: &Plan,
    stop: &AtomicBool,
    watch: &mut dyn FnMut(&Second),
) -> Result<Report, LoadError> {
    plan.check()?;
    launch::run(plan, stop, watch)
}
