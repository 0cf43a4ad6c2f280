//! One thread, blocking calls, one connection after the other.
//!
//! A client that is slow, or that keeps its connection, holds up all others: so each connection gets
//! one response.

use std::io;

use crate::ladder::{
    connection::{Connection, Sending, Worker},
    listener::accept,
    rung::{Blocking, Cores, Limits, Place, Rung, Setting, Workers},
    site::{Persistence, Site},
};

/// The rung.
pub const RUNG: Rung = Rung {
    name: "iterative",
    about: "blocking calls, one connection at a time and one response each \
            (the iterative server of Stevens, UNIX Network Programming, 1990)",
    cores: Cores::One,
    workers: Workers::One,
    limits: Limits::idle("an idle connection would hold up all others"),
    place: Place::Loopback,
    serve,
};

fn serve(setting: &Setting) -> io::Result<()> {
    let site = Site::open(&setting.directory, Persistence::OneResponse)?;
    let mut worker = Worker::new(site, Sending::Sendfile);
    let listener = setting.listen(Blocking::Yes)?;
    loop {
        if let Some(socket) = accept(&listener, Blocking::Yes)? {
            Connection::new(socket).serve(&mut worker);
        }
    }
}
