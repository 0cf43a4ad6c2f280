//! Why there are no figures.

use std::{io, path::PathBuf};

use pagewire_driver::XdpError;
use pagewire_tools::{lab::LabError, load::LoadError, serving::ServingError};
use thiserror::Error;

use crate::ladder::CannotCount;

/// Why there are no figures.
#[derive(Debug, Error)]
pub enum BenchError {
    /// No lab.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// No queue or no program.
    #[error(transparent)]
    Xdp(#[from] XdpError),
    /// The programs that count system calls have failed.
    #[error(transparent)]
    Count(#[from] CannotCount),
    /// No load.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The server did not start, or ended.
    #[error(transparent)]
    Serving(#[from] ServingError),
    /// There is nothing to measure, or nothing to measure it with.
    #[error("{0}")]
    Nothing(String),
    /// The lab or the machine cannot be set up or read.
    #[error("cannot {action}: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A system call that was to be measured.
    #[error("{call} has failed: {source}")]
    Call {
        /// Which.
        call: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A file cannot be read or written.
    #[error("cannot use {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody wants it to end.
    #[error("interrupted; nothing is left running")]
    Interrupted,
}

impl BenchError {
    /// For `map_err`: the error for a system that refused to `action`.
    pub fn system(action: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::System { action, source }
    }
}
