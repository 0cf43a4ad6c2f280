//! A fixed pool of threads behind a queue with a condition variable.
//!
//! One thread waits for all connections at once. Those that are ready go into the queue; a thread of
//! the pool takes one, serves what has arrived, and hands it back to the waiting. What connections need
//! is kept and used again.

use std::{
    collections::VecDeque,
    io,
    os::fd::OwnedFd,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
};

use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, CreateFlags, EventData, EventFlags},
};
use slab::Slab;

use crate::ladder::{
    connection::{Connection, Sending, Turn, Worker},
    listener::accept,
    rung::{Blocking, Cores, Limits, Place, Rung, Setting, Workers},
    site::Site,
};

/// The rung.
pub const RUNG: Rung = Rung {
    name: "pool",
    about: "one thread waits, a pool of 4 a core serves, a queue with a condition variable between \
            (Welsh et al., SEDA, 2001; Apache's event module, 2005)",
    cores: Cores::All,
    workers: Workers::Fixed,
    limits: Limits::NONE,
    place: Place::Loopback,
    serve,
};

const THREADS_EACH_CORE: usize = 4;
const LISTENER: u64 = u64::MAX;

#[derive(Default)]
struct Queue {
    ready: Mutex<VecDeque<(usize, Connection)>>,
    filled: Condvar,
}

/// Connections that wait; those that are being served are not in here.
type Waiting = Mutex<Slab<Option<Connection>>>;

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(setting: &Setting) -> io::Result<()> {
    let (queue, waiting) = (Arc::new(Queue::default()), Arc::new(Waiting::default()));
    let set = Arc::new(epoll::create(CreateFlags::CLOEXEC)?);
    let site = setting.site()?;
    for _ in 0..THREADS_EACH_CORE * setting.cores.len() {
        let (queue, waiting, set) = (Arc::clone(&queue), Arc::clone(&waiting), Arc::clone(&set));
        let site = site.clone();
        thread::Builder::new().spawn(move || work(site, &queue, &waiting, &set))?;
    }
    let listener = setting.listen(Blocking::No)?;
    epoll::add(&set, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut events = Vec::with_capacity(256);
    loop {
        events.clear();
        epoll::wait(&set, spare_capacity(&mut events), None)?;
        for event in &events {
            match event.data.u64() {
                LISTENER => {
                    while let Some(socket) = accept(&listener, Blocking::No)? {
                        let mut waiting = lock(&waiting);
                        let key = waiting.insert(Some(Connection::new(socket)));
                        let flags = EventFlags::IN | EventFlags::ONESHOT;
                        let connection = waiting[key].as_ref().ok_or(io::ErrorKind::NotFound)?;
                        epoll::add(&set, connection, EventData::new_u64(key as u64), flags)?;
                    }
                }
                key => {
                    let key = key as usize;
                    let taken = lock(&waiting).get_mut(key).and_then(Option::take);
                    if let Some(connection) = taken {
                        lock(&queue.ready).push_back((key, connection));
                        queue.filled.notify_one();
                    }
                }
            }
        }
    }
}

fn work(site: Site, queue: &Queue, waiting: &Waiting, set: &OwnedFd) {
    let mut worker = Worker::new(site, Sending::Sendfile);
    loop {
        let ready = lock(&queue.ready);
        let ready = queue.filled.wait_while(ready, |ready| ready.is_empty());
        let Some((key, mut connection)) = ready.unwrap_or_else(PoisonError::into_inner).pop_front()
        else {
            continue;
        };
        let flags = match connection.turn(&mut worker) {
            Turn::Closed => {
                lock(waiting).remove(key);
                continue;
            }
            Turn::Write => EventFlags::OUT | EventFlags::ONESHOT,
            Turn::Read | Turn::Cold(_) => EventFlags::IN | EventFlags::ONESHOT,
        };
        // It is ready again at once, and taken out, as soon as it is armed: so it is put in first.
        let mut waiting = lock(waiting);
        let connection = waiting[key].insert(connection);
        if epoll::modify(set, &*connection, EventData::new_u64(key as u64), flags).is_err() {
            waiting.remove(key);
        }
    }
}
