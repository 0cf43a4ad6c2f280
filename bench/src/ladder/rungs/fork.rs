//! A process for every connection.

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
    name: "fork",
    about: "a process for every connection (CERN httpd, 1991)",
    cores: Cores::All,
    workers: Workers::Each,
    limits: Limits::connections(MOST, "a process each"),
    place: Place::Loopback,
    serve,
};

const MOST: usize = 2048;

fn serve(setting: &Setting) -> io::Result<()> {
    let forker = Forker::new()?;
    let site = setting.site()?;
    let listener = setting.listen(Blocking::Yes)?;
    let mut running = 0;
    loop {
        if let Some(socket) = accept(&listener, Blocking::Yes)? {
            forker.fork(|| {
                let mut worker = Worker::new(site.clone(), Sending::Sendfile);
                Connection::new(socket).serve(&mut worker);
                Ok(())
            })?;
            running += 1;
        }
        while running > 0 {
            let patience = if running < MOST { WaitOptions::NOHANG } else { WaitOptions::empty() };
            match wait(patience)? {
                Some(_) => running -= 1,
                None => break,
            }
        }
    }
}
