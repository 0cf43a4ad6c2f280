//! Dropping what takes long to drop, on a thread that nobody waits for.
//!
//! Unmapping a gigabyte that has been sent takes the kernel milliseconds, and closing a descriptor may
//! wait for a file system. There is one such thread in a process.

use std::{any::Any, sync::OnceLock, thread};

use crossbeam_channel::{Sender, unbounded};

/// What is to be dropped.
type Burden = Box<dyn Any + Send>;

/// Starts the thread. By whoever starts helpers, who is not pinned as cores are: threads inherit that.
pub(super) fn start() -> Option<&'static Sender<Burden>> {
    static DISCARDED: OnceLock<Option<Sender<Burden>>> = OnceLock::new();
    let started = DISCARDED.get_or_init(|| {
        let (sender, receiver) = unbounded::<Burden>();
        let work = move || receiver.into_iter().for_each(drop);
        thread::Builder::new().name("discard".to_owned()).spawn(work).ok().map(|_| sender)
    });
    started.as_ref()
}

/// Drops `burden` on another thread, or here if there can be none. Bounded by what there is to drop: it
/// has a bound where it is made.
pub(crate) fn discard(burden: Burden) {
    if let Some(discarded) = start() {
        // The thread never ends before the process does.
        let _ = discarded.send(burden);
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::bounded;

    use super::*;

    struct Tells(Sender<thread::ThreadId>);

    impl Drop for Tells {
        fn drop(&mut self) {
            let _ = self.0.send(thread::current().id());
        }
    }

    #[test]
    fn burdens_are_dropped_elsewhere() {
        let (sender, dropped) = bounded(2);
        discard(Box::new(Tells(sender.clone())));
        discard(Box::new(Tells(sender)));
        let by = dropped.recv().unwrap();
        assert_ne!(by, thread::current().id());
        assert_eq!(dropped.recv().unwrap(), by);
    }
}
