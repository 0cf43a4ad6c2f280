//! Runs that take place side by side, each with a link of its own.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use super::scene::Stage;
use crate::{error::BenchError, output::Progress};

/// How many links there may be at once.
#[derive(Clone, Copy, Debug)]
pub struct Crew<'a> {
    /// What they have in common.
    pub stage: &'a Stage,
    /// Links at once.
    pub links: usize,
}

impl Crew<'_> {
    /// Does all jobs by `work`, which also gets the number of a core, and tells `done` each job's number
    /// and result as they come.
    ///
    /// # Errors
    ///
    /// The first of any job or of `done`; jobs that were not begun then never are.
    pub fn work<J: Sync, R: Send>(
        &self,
        what: &str,
        jobs: Vec<J>,
        work: impl Fn(&J, usize) -> Result<R, BenchError> + Sync,
        done: &mut dyn FnMut(usize, R) -> Result<(), BenchError>,
    ) -> Result<(), BenchError> {
        let cores: Vec<usize> =
            core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect();
        let count = jobs.len();
        let (next, jobs) = (AtomicUsize::new(0), jobs);
        let mut progress = Progress::new(count);
        let failed = Mutex::new(None);
        let fail = |error| {
            failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        };
        let has_failed = || failed.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        thread::scope(|scope| {
            let (sender, results) = mpsc::channel();
            for worker in 0..self.links.min(count) {
                let (sender, next, jobs, work) = (sender.clone(), &next, &jobs, &work);
                let (fail, has_failed) = (&fail, &has_failed);
                let core = cores.get(worker % cores.len().max(1)).copied().unwrap_or(0);
                scope.spawn(move || {
                    while !has_failed() {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let Some(job) = jobs.get(number) else { return };
                        match work(job, core) {
                            Ok(result) => drop(sender.send((number, result))),
                            Err(error) => fail(error),
                        }
                    }
                });
            }
            drop(sender);
            progress.step(what);
            for (number, result) in results {
                Progress::clear();
                if let Err(error) = done(number, result) {
                    fail(error);
                }
            }
        });
        failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }
}
