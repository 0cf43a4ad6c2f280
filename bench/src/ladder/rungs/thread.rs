//! A thread for every connection.

use std::{io, os::fd::OwnedFd, thread};

use crate::ladder::{
    connection::{Connection, Sending, Worker},
    listener::accept,
    rung::{Blocking, Cores, Limits, Place, Rung, Setting, Workers},
};

/// By `sendfile`.
pub const PLAIN: Rung = Rung {
    name: "thread",
    about: "a thread for every connection, blocking calls (von Behren et al., Why Events Are a Bad \
            Idea, 2003; Linux NPTL, 2003)",
    cores: Cores::All,
    workers: Workers::Each,
    limits: Limits::NONE,
    place: Place::Loopback,
    serve: |setting| serve(setting, Sending::Sendfile),
};

/// By `pread` and `write`.
pub const COPY: Rung = Rung {
    name: "thread-copy",
    about: "the same, with pread and write in place of sendfile (Linux 2.2, 1999)",
    serve: |setting| serve(setting, Sending::Copy),
    ..PLAIN
};

/// What a thread has of its own: enough for the calls of a request.
pub const STACK_BYTES: usize = 64 << 10;

fn serve(setting: &Setting, sending: Sending) -> io::Result<()> {
    let site = setting.site()?;
    each_connection(setting, |socket| {
        let site = site.clone();
        move || Connection::new(socket).serve(&mut Worker::new(site, sending))
    })
}

/// Runs what `prepare` makes of each connection on a thread of its own.
pub fn each_connection<F: FnOnce() + Send + 'static>(
    setting: &Setting,
    prepare: impl Fn(OwnedFd) -> F,
) -> io::Result<()> {
    let listener = setting.listen(Blocking::Yes)?;
    loop {
        if let Some(socket) = accept(&listener, Blocking::Yes)? {
            thread::Builder::new().stack_size(STACK_BYTES).spawn(prepare(socket))?;
        }
    }
}
