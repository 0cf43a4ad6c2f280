//! A thread for each core, each with its own `epoll`, all of them on one listener.
//!
//! Every thread is told of every new connection; one gets it and the others have woken for nothing:
//! the thundering herd. With `EPOLLEXCLUSIVE` the kernel wakes one.

use std::{io, thread};

use rustix::event::epoll::EventFlags;

use super::epoll::Loop;
use crate::ladder::{
    connection::{Sending, Worker},
    rung::{Blocking, Cores, Limits, Place, Rung, Setting, Workers},
};

/// Every thread wakes.
pub const SHARED: Rung = Rung {
    name: "epoll-herd",
    about: "epoll in 4 threads a core on one listener; all wake for each connection (the thundering \
            herd: Molloy & Lever, 2000)",
    cores: Cores::All,
    workers: Workers::Fixed,
    limits: Limits::NONE,
    place: Place::Loopback,
    serve: |setting| serve(setting, EventFlags::IN),
};

/// One wakes.
pub const EXCLUSIVE: Rung = Rung {
    name: "epoll-exclusive",
    about: "the same with EPOLLEXCLUSIVE, by which the kernel wakes one (Linux 4.5, 2016)",
    serve: |setting| serve(setting, EventFlags::IN | EventFlags::EXCLUSIVE),
    ..SHARED
};

const THREADS_EACH_CORE: usize = 4;

fn serve(setting: &Setting, flags: EventFlags) -> io::Result<()> {
    let site = setting.site()?;
    let listener = &setting.listen(Blocking::No)?;
    thread::scope(|scope| {
        let threads = (0..THREADS_EACH_CORE * setting.cores.len()).map(|_| {
            let worker = Worker::new(site.clone(), Sending::Sendfile);
            scope.spawn(move || Loop::new(listener, flags, usize::MAX, worker)?.run())
        });
        let threads: Vec<_> = threads.collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread has panicked")))
        })
    })
}
