//! Why the server did not start or go on: one sentence with the cause and the fix, and the exit status.

use std::{io, process::ExitCode};

use thiserror::Error;

use crate::{content::RootError, settings::Problem};

/// Why the server did not start or go on.
#[derive(Debug, Error)]
pub enum Failure {
    /// Flags that do not go together or lack something.
    #[error("{0}")]
    Usage(String),
    /// What is set is wrong, each with its place.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Settings(Vec<Problem>),
    /// A privilege is missing.
    #[error("{0}")]
    Privilege(String),
    /// The interface, its queues or its driver cannot be used.
    #[error("{0}")]
    Interface(String),
    /// Another process has the interface's queues, and with them what is sent to the address.
    #[error("{0}")]
    Busy(String),
    /// The address to listen on cannot be used.
    #[error("{0}")]
    Address(String),
    /// The directory cannot be served.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The system lacks something that is rarely lacking.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// Something else that the stack says.
    #[error("{0}")]
    Other(String),
    /// A shard has panicked.
    #[error("{0} has failed; the log above says where, please report it")]
    Shard(String),
}

impl Failure {
    /// Whether the kernel's TCP might serve where this keeps the user-level stack from it. Not where another
    /// process has the queues: nothing of what it takes would reach the kernel, and soon it may be gone.
    pub fn is_want_of_xdp(&self) -> bool {
        matches!(self, Self::Privilege(_) | Self::Interface(_))
    }

    /// The exit status that the help documents.
    pub fn exit_status(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::System { .. } | Self::Other(_) | Self::Shard(_) => 1,
            Self::Usage(_) | Self::Settings(_) => 2,
            Self::Privilege(_) => 3,
            Self::Interface(_) | Self::Busy(_) => 4,
            Self::Address(_) => 5,
            Self::Root(_) => 6,
        })
    }
}

impl From<Vec<Problem>> for Failure {
    fn from(problems: Vec<Problem>) -> Self {
        Self::Settings(problems)
    }
}
