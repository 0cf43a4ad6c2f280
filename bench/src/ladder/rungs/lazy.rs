//! One thread that tries every call without waiting, and only where it would have waited lets the
//! kernel finish it and tell.

use std::io;

use rustix::event::epoll::EventFlags;

use super::epoll::{Left, Loop};
use crate::ladder::{
    connection::{Sending, Worker},
    ring::{Done, Ring},
    rung::{Blocking, Cores, Limits, Place, Rung, Setting, Workers},
};

/// The rung.
pub const RUNG: Rung = Rung {
    name: "lazy-io",
    about: "epoll in one thread, a read that would wait for the disk is finished by the kernel, here \
            io_uring (lazy asynchronous I/O: Elmeleegy et al., 2004)",
    cores: Cores::One,
    workers: Workers::One,
    limits: Limits::NONE,
    place: Place::Loopback,
    serve,
};

/// The most that is brought in at once.
const READ_BYTES: u64 = 256 << 10;

const RING: u64 = 0;

fn serve(setting: &Setting) -> io::Result<()> {
    let worker = Worker::new(setting.site()?, Sending::CopyCached);
    let listener = setting.listen(Blocking::No)?;
    let mut serving = Loop::new(&listener, EventFlags::IN, usize::MAX, worker)?;
    let mut ring = Ring::new(256)?;
    serving.add(&ring, RING)?;
    let (mut spare, mut unused) = (Vec::<Vec<u8>>::new(), Vec::new());
    loop {
        serving.turn(|serving, left| {
            if let Left::Cold(key, range) = left {
                let len = range.len.min(READ_BYTES) as usize;
                let buffer = spare.pop().unwrap_or_default();
                return ring.read(key, range.object, range.start, len, buffer);
            }
            while let Some(done) = ring.next(&mut unused)? {
                let Done::Read { key, buffer, .. } = done else { continue };
                spare.push(buffer);
                // Its bytes are in the page cache now; an error shows again when they are sent.
                if let Some(range) = serving.go_on(key)? {
                    let len = range.len.min(READ_BYTES) as usize;
                    let buffer = spare.pop().unwrap_or_default();
                    ring.read(key, range.object, range.start, len, buffer)?;
                }
            }
            Ok(())
        })?;
        ring.submit()?;
    }
}
