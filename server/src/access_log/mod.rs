//! A line about each request, in a file, without a core ever waiting for it.
//!
//! A core puts lines together in buffers that go round between it and one writer thread: filled, sent
//! through a bounded channel, written, and given back. A core that has no empty buffer left, since the
//! disk is full, slow or hung, drops lines and counts them. In steady state nothing is allocated.
//!
//! A line is written when its response is sent or its connection has ended, so that it tells how that
//! went; until then a record of it is kept.
//!
//! - `line`: the formats. `recorder`: a core's side. `writer`: the thread and the file.

mod line;
mod recorder;
mod writer;

use std::path::PathBuf;

pub use line::{Ending, Format};
pub use recorder::{Recorder, Submitted};
pub use writer::{AccessLog, LogCounters, LogError};

/// What is logged, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLogConfig {
    /// Where to.
    pub target: Target,
    /// What a line looks like.
    pub format: Format,
    /// One request of so many is logged; at least 1.
    pub sample: u32,
}

/// Where lines are written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The standard output.
    Output,
    /// A file or named pipe.
    File(PathBuf),
}
