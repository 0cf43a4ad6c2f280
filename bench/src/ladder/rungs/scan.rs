//! Non-blocking sockets, all of them tried in turn, for ever.

use std::io;

use crate::ladder::{
    connection::{Connection, Sending, Turn, Worker},
    listener::accept,
    rung::{Blocking, Cores, Limits, Place, Rung, Setting, Workers},
};

/// The rung.
pub const RUNG: Rung = Rung {
    name: "scan",
    about: "non-blocking sockets, all tried in turn without ever waiting (FNDELAY of 4.2BSD, 1983)",
    cores: Cores::One,
    workers: Workers::One,
    limits: Limits::NONE,
    place: Place::Loopback,
    serve,
};

fn serve(setting: &Setting) -> io::Result<()> {
    let mut worker = Worker::new(setting.site()?, Sending::Sendfile);
    let listener = setting.listen(Blocking::No)?;
    let mut connections: Vec<Connection> = Vec::new();
    loop {
        while let Some(socket) = accept(&listener, Blocking::No)? {
            connections.push(Connection::new(socket));
        }
        connections.retain_mut(|connection| !matches!(connection.turn(&mut worker), Turn::Closed));
    }
}
