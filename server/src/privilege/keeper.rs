//! The one thread that keeps privileges, and does for others what needs them.

use std::{
    io,
    sync::Arc,
    thread::{self, JoinHandle},
};

use crossbeam_channel::{Sender, bounded, unbounded};
use seccompiler::BpfProgram;

use super::{drop_all, seccomp};
use crate::failure::Failure;

/// What a shard may do once it serves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Confinement {
    /// What the process may.
    Free,
    /// The system calls of the data path.
    Filtered,
}

type Job = Box<dyn FnOnce() + Send>;

/// The thread that keeps privileges. It ends with the last handle.
#[derive(Clone, Debug)]
pub struct Keeper {
    /// None where there is nothing to keep: everybody does such things alone.
    jobs: Option<Sender<Job>>,
    filter: Option<Arc<BpfProgram>>,
}

impl Keeper {
    /// Nobody keeps anything: the process has no privileges, or is not to give them up.
    pub fn none(confinement: Confinement) -> Self {
        Self { jobs: None, filter: filter(confinement) }
    }

    /// Without the thread: nothing more is to be done with privileges.
    #[must_use]
    pub fn retired(&self) -> Self {
        Self { jobs: None, filter: self.filter.clone() }
    }

    /// Starts it, with what the calling thread may do.
    pub(super) fn start(confinement: Confinement) -> Result<Self, Failure> {
        let (jobs, to_do) = unbounded::<Job>();
        thread::Builder::new()
            .name("keeper".to_owned())
            .spawn(move || to_do.iter().for_each(|job| job()))
            .map_err(|source| Failure::System { what: "start a thread", source })?;
        Ok(Self { jobs: Some(jobs), filter: filter(confinement) })
    }

    /// Does `what` with privileges, and waits for it.
    ///
    /// # Errors
    ///
    /// If `what` panics.
    pub fn run<R: Send + 'static>(
        &self,
        what: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, Failure> {
        let Some(jobs) = &self.jobs else { return Ok(what()) };
        let (answer, answered) = bounded(1);
        let job = move || {
            let _ = answer.send(what());
        };
        let _ = jobs.send(Box::new(job));
        answered.recv().map_err(|_| Failure::Shard("the privileged thread".to_owned()))
    }

    /// Starts a thread with privileges, which should soon be [`Confined`].
    ///
    /// # Errors
    ///
    /// If there can be no more threads.
    pub fn spawn<R: Send + 'static>(
        &self,
        name: String,
        run: impl FnOnce() -> R + Send + 'static,
    ) -> Result<JoinHandle<R>, Failure> {
        let start = move || thread::Builder::new().name(name).spawn(run);
        self.run(start)?.map_err(|source| Failure::System { what: "start a thread", source })
    }

    /// How the threads that it starts are to be confined.
    pub fn confine(&self) -> Confine {
        Confine { drops: self.jobs.is_some(), filter: self.filter.clone() }
    }
}

fn filter(confinement: Confinement) -> Option<Arc<BpfProgram>> {
    match confinement {
        Confinement::Free => None,
        Confinement::Filtered => seccomp::filter()
            .inspect_err(|error| tracing::warn!("no filter of system calls: {error}"))
            .ok()
            .map(Arc::new),
    }
}

/// What a thread is to give up once it has opened what it needs.
#[derive(Clone, Debug)]
pub struct Confine {
    drops: bool,
    filter: Option<Arc<BpfProgram>>,
}

impl Confine {
    /// Gives it up, for the calling thread.
    ///
    /// # Errors
    ///
    /// If the kernel refuses. A kernel without such filters is not refusing: that is logged.
    pub fn apply(&self) -> Result<(), Failure> {
        if self.drops {
            drop_all().map_err(|source: rustix::io::Errno| Failure::System {
                what: "give up capabilities",
                source: io::Error::from(source),
            })?;
        }
        if let Some(filter) = &self.filter
            && let Err(error) = seccompiler::apply_filter(filter)
        {
            tracing::warn!("no filter of system calls: {error}");
        }
        Ok(())
    }
}
