//! One thread, `poll` on all connections.

use std::io;

use rustix::event::{PollFd, PollFlags, poll};

use crate::ladder::{
    connection::{Connection, Sending, Turn, Worker},
    listener::accept,
    rung::{Blocking, Cores, Limits, Place, Rung, Setting, Workers},
};

/// The rung.
pub const RUNG: Rung = Rung {
    name: "poll",
    about: "one thread, poll on all connections (System V Release 3, 1986; thttpd, 1995)",
    cores: Cores::One,
    workers: Workers::One,
    limits: Limits::NONE,
    place: Place::Loopback,
    serve,
};

fn serve(setting: &Setting) -> io::Result<()> {
    let mut worker = Worker::new(setting.site()?, Sending::Sendfile);
    let listener = setting.listen(Blocking::No)?;
    let mut connections: Vec<(Connection, Turn)> = Vec::new();
    loop {
        let mut waits = vec![PollFd::new(&listener, PollFlags::IN)];
        waits.extend(connections.iter().map(|(connection, turn)| {
            let flags = if let Turn::Write = turn { PollFlags::OUT } else { PollFlags::IN };
            PollFd::new(connection, flags)
        }));
        poll(&mut waits, None)?;
        let ready: Vec<bool> = waits.iter().map(|wait| !wait.revents().is_empty()).collect();
        let mut ready = ready.into_iter();
        let has_new = ready.next() == Some(true);
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
