//! A few helper threads that do what may block: open, stat, read, populate.

use std::{
    fmt, io,
    panic::{self, AssertUnwindSafe},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

use crossbeam_channel::{Receiver, Sender, bounded};
use thiserror::Error;

use super::DiskReads;

/// What a helper does: any blocking work that ends by telling whoever waits for it.
pub type Job = Box<dyn FnOnce() + Send>;

/// The queue of the helpers is full, and the job is dropped: try again a little later.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("the disk helpers' queue is full; try again, or start more helpers")]
pub struct Full;

/// Helper threads behind one bounded queue. Clones share them; they end with the last clone, after
/// the jobs that are queued by then.
#[derive(Clone)]
pub struct DiskPool {
    inner: Arc<Inner>,
}

struct Inner {
    /// Nothing only while the pool is being dropped.
    queue: Option<Sender<Job>>,
    helpers: Vec<JoinHandle<()>>,
    /// Jobs queued or being done.
    under_way: Arc<AtomicUsize>,
    reads: DiskReads,
}

impl DiskPool {
    /// Starts `helpers` threads, at least one, that share a queue of `queue` jobs.
    ///
    /// # Errors
    ///
    /// Whatever the system says when a thread is made.
    pub fn start(helpers: usize, queue: usize) -> io::Result<Self> {
        super::discard::start();
        let (sender, receiver) = bounded(queue.max(1));
        let under_way = Arc::default();
        let reads = DiskReads::default();
        let mut inner = Inner { queue: Some(sender), helpers: Vec::new(), under_way, reads };
        for number in 0..helpers.max(1) {
            let jobs = receiver.clone();
            let under_way = Arc::clone(&inner.under_way);
            let helper = thread::Builder::new()
                .name(format!("disk-{number}"))
                .spawn(move || work(&jobs, &under_way))?;
            inner.helpers.push(helper);
        }
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Queues a job. Never blocks.
    ///
    /// # Errors
    ///
    /// [`Full`].
    pub fn submit(&self, job: Job) -> Result<(), Full> {
        let Some(queue) = &self.inner.queue else { return Err(Full) };
        self.inner.under_way.fetch_add(1, Ordering::Relaxed);
        queue.try_send(job).map_err(|_| {
            self.inner.under_way.fetch_sub(1, Ordering::Relaxed);
            Full
        })
    }

    /// Whether no job is queued or being done right now.
    pub fn is_idle(&self) -> bool {
        self.inner.under_way.load(Ordering::Relaxed) == 0
    }

    /// What its helpers had to read from the disk. Whoever lets them read files otherwise counts it here.
    pub fn reads(&self) -> &DiskReads {
        &self.inner.reads
    }

    /// How many jobs are queued and not yet begun.
    pub fn queued(&self) -> usize {
        self.inner.queue.as_ref().map_or(0, Sender::len)
    }
}

impl fmt::Debug for DiskPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (helpers, queued) = (self.inner.helpers.len(), self.queued());
        f.debug_struct("DiskPool").field("helpers", &helpers).field("queued", &queued).finish()
    }
}

/// A helper's life. A job that panics does not end it: the panic hook has told, and whoever waited
/// sees its channel closed.
fn work(jobs: &Receiver<Job>, under_way: &AtomicUsize) {
    for job in jobs {
        let _ = panic::catch_unwind(AssertUnwindSafe(job));
        under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.queue = None;
        let me = thread::current().id();
        // The last clone may be dropped by a job, on a helper.
        for helper in self.helpers.drain(..).filter(|helper| helper.thread().id() != me) {
            let _ = helper.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn queued_jobs_are_done_before_the_pool_ends() {
        let (done, results) = bounded(100);
        let pool = DiskPool::start(3, 100).unwrap();
        for number in 0..100 {
            let done = done.clone();
            pool.submit(Box::new(move || done.send(number).unwrap())).unwrap();
        }
        drop(pool);
        let mut results: Vec<_> = results.try_iter().collect();
        results.sort_unstable();
        assert!(results.into_iter().eq(0..100));
    }

    #[test]
    fn a_full_queue_refuses_without_blocking() {
        let (go, gate) = bounded::<()>(0);
        let pool = DiskPool::start(1, 1).unwrap();
        let blocked = gate.clone();
        pool.submit(Box::new(move || assert!(blocked.recv().is_err()))).unwrap();
        while pool.queued() > 0 {
            thread::sleep(Duration::from_millis(1));
        }
        pool.submit(Box::new(|| ())).unwrap();
        assert_eq!(pool.submit(Box::new(|| ())), Err(Full));
        drop(go);
    }

    #[test]
    fn a_panicking_job_does_not_end_its_helper() {
        let pool = DiskPool::start(1, 2).unwrap();
        pool.submit(Box::new(|| panic::resume_unwind(Box::new("on purpose")))).unwrap();
        let (done, result) = bounded(1);
        pool.submit(Box::new(move || done.send(()).unwrap())).unwrap();
        result.recv_timeout(Duration::from_secs(30)).unwrap();
    }

    #[test]
    fn the_last_clone_may_be_dropped_by_a_helper() {
        let pool = DiskPool::start(2, 2).unwrap();
        let (done, result) = bounded(1);
        let last = pool.clone();
        pool.submit(Box::new(move || {
            thread::sleep(Duration::from_millis(20));
            drop(last);
            done.send(()).unwrap();
        }))
        .unwrap();
        drop(pool);
        result.recv_timeout(Duration::from_secs(30)).unwrap();
    }
}
