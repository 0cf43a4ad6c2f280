//! Processes made in advance, each of which serves one connection at a time.

use std::io;

use rustix::process::{WaitOptions, wait};

use crate::ladder::{
    connection::{Connection, Sending, Worker},
    listener::accept,
    posix::Forker,
    rung::{Blocking, Cores, Limits, Place, Rung, Setting, Workers},
};

/// The rung.
pub const RUNG: Rung = Rung {
    name: "prefork",
    about: "as many processes as there may be connections, forked in advance, all in accept \
            (Apache httpd, 1995)",
    cores: Cores::All,
    workers: Workers::Fixed,
    limits: Limits::connections(2048, "a process each"),
    place: Place::Loopback,
    serve,
};

fn serve(setting: &Setting) -> io::Result<()> {
    let forker = Forker::new()?;
    let site = setting.site()?;
    let listener = setting.listen(Blocking::Yes)?;
    for _ in 0..setting.connections {
        forker.fork(|| {
            let mut worker = Worker::new(site.clone(), Sending::Sendfile);
            loop {
                if let Some(socket) = accept(&listener, Blocking::Yes)? {
                    Connection::new(socket).serve(&mut worker);
                }
            }
        })?;
    }
    wait(WaitOptions::empty())?;
    Err(io::Error::other("a worker process has ended"))
}
