//! A pinned thread for each core, each with its own listener and its own `epoll`; nothing is shared.

use std::{io, thread};

use core_affinity::CoreId;
use rustix::event::epoll::EventFlags;

use super::epoll::Loop;
use crate::ladder::{
    connection::{Sending, Worker},
    listener::{self, Sharing},
    rung::{Blocking, Cores, Limits, Place, Rung, Setting, Workers},
};

/// The rung.
pub const RUNG: Rung = Rung {
    name: "epoll-reuseport",
    about: "epoll in a pinned thread a core, a listener each by SO_REUSEPORT (Linux 3.9, 2013; nginx \
            1.9.1, 2015)",
    cores: Cores::All,
    workers: Workers::Fixed,
    limits: Limits::NONE,
    place: Place::Loopback,
    serve,
};

fn serve(setting: &Setting) -> io::Result<()> {
    let site = setting.site()?;
    let mut address = setting.address;
    let mut threads = Vec::new();
    for &core in &setting.cores {
        let (listener, bound) = listener::listen(address, Blocking::No, Sharing::ReusePort)?;
        address = bound;
        let worker = Worker::new(site.clone(), Sending::Sendfile);
        threads.push(thread::spawn(move || {
            core_affinity::set_for_current(CoreId { id: core });
            Loop::new(&listener, EventFlags::IN, usize::MAX, worker)?.run()
        }));
    }
    (setting.announce)(address)?;
    threads.into_iter().try_for_each(|thread| {
        thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread has panicked")))
    })
}
