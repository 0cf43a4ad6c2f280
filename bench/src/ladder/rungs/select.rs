//! One thread, `select` on all connections.

use std::{io, os::fd::AsFd};

use nix::sys::select::{FD_SETSIZE, FdSet, select};

use crate::ladder::{
    connection::{Connection, Sending, Turn, Worker},
    listener::accept,
    rung::{Blocking, Cores, Limits, Place, Rung, Setting, Workers},
};

/// The rung.
pub const RUNG: Rung = Rung {
    name: "select",
    about: "one thread, select on all connections (4.2BSD, 1983)",
    cores: Cores::One,
    workers: Workers::One,
    // Some descriptors are for the listener, the directory and the files.
    limits: Limits::connections(FD_SETSIZE - 24, "FD_SETSIZE is 1,024"),
    place: Place::Loopback,
    serve,
};

fn serve(setting: &Setting) -> io::Result<()> {
    let mut worker = Worker::new(setting.site()?, Sending::Sendfile);
    let listener = setting.listen(Blocking::No)?;
    let mut connections: Vec<(Connection, Turn)> = Vec::new();
    loop {
        let (mut readable, mut writable) = (FdSet::new(), FdSet::new());
        readable.insert(listener.as_fd());
        for (connection, turn) in &connections {
            match turn {
                Turn::Write => writable.insert(connection.as_fd()),
                _ => readable.insert(connection.as_fd()),
            }
        }
        select(None, Some(&mut readable), Some(&mut writable), None, None)?;
        let is_ready = |socket| readable.contains(socket) || writable.contains(socket);
        let ready: Vec<bool> =
            connections.iter().map(|(connection, _)| is_ready(connection.as_fd())).collect();
        let has_new = readable.contains(listener.as_fd());
        let mut ready = ready.into_iter();
        connections.retain_mut(|(connection, turn)| {
            if ready.next() == Some(true) {
                *turn = connection.turn(&mut worker);
            }
            !matches!(turn, Turn::Closed)
        });
        while has_new && let Some(socket) = accept(&listener, Blocking::No)? {
            connections.push((Connection::new(socket), Turn::Read));
        }
    }
}
