//! A program started for every request, as CGI does it.
//!
//! The program is this one, executed again: it finds the connection on its standard input, answers one
//! request and ends. `Command` starts it by `posix_spawn`, so nothing of this process is copied.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::ladder::{
    child,
    connection::{Connection, Sending, Worker},
    listener::accept,
    rung::{Blocking, Cores, Limits, Place, Rung, Setting, Workers},
    site::{Persistence, Site},
};

/// The rung.
pub const RUNG: Rung = Rung {
    name: "cgi",
    about: "fork and exec for every request (inetd, 4.3BSD, 1986; the Common Gateway Interface of NCSA \
            httpd, 1993)",
    cores: Cores::All,
    workers: Workers::Each,
    limits: Limits {
        connections: Some((2048, "a process each")),
        idle: Some("a connection ends with its program"),
        ..Limits::NONE
    },
    place: Place::Loopback,
    serve,
};

/// Programs at once.
const MOST: usize = 64;

fn serve(setting: &Setting) -> io::Result<()> {
    let listener = setting.listen(Blocking::Yes)?;
    let mut running: Vec<Child> = Vec::new();
    loop {
        let Some(socket) = accept(&listener, Blocking::Yes)? else { continue };
        running.push(start(&setting.directory, socket)?);
        running.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        if running.len() >= MOST {
            running.remove(0).wait()?;
        }
    }
}

fn start(directory: &Path, socket: OwnedFd) -> io::Result<Child> {
    let mut command = Command::new("/proc/self/exe");
    command.arg("cgi").arg(directory).env_clear();
    command.stdin(Stdio::from(socket)).stdout(Stdio::null()).spawn()
}

/// The program: answers the request on standard input.
pub fn program(directory: &Path) -> io::Result<()> {
    child::end_with_parent()?;
    let site = Site::open(directory, Persistence::OneResponse)?;
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    Connection::new(socket).serve(&mut Worker::new(site, Sending::Sendfile));
    Ok(())
}
