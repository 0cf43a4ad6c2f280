//! A lightweight task for every connection, on a few threads.

use std::{io, net::TcpListener, sync::Arc};

use tokio::{io::Interest, net, runtime::Builder};

use crate::ladder::{
    connection::{Connection, Sending, Turn, Worker},
    rung::{Blocking, Cores, Limits, Place, Rung, Setting, Workers},
    site::Site,
};

/// The rung.
pub const RUNG: Rung = Rung {
    name: "tasks",
    about: "a lightweight task for every connection on tokio's thread per core (Capriccio, 2003; \
            goroutines, 2009; tokio, 2016)",
    cores: Cores::All,
    workers: Workers::Fixed,
    limits: Limits::NONE,
    place: Place::Loopback,
    serve,
};

fn serve(setting: &Setting) -> io::Result<()> {
    let threads = setting.cores.len();
    let runtime = Builder::new_multi_thread().worker_threads(threads).enable_io().build()?;
    let site = setting.site()?;
    let listener = TcpListener::from(setting.listen(Blocking::No)?);
    runtime.block_on(runtime.spawn(async move {
        let listener = net::TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(connection(stream, site.clone()));
        }
    }))?
}

async fn connection(stream: net::TcpStream, site: Site) -> io::Result<()> {
    let stream = Arc::new(stream);
    let mut worker = Worker::new(site, Sending::Sendfile);
    let mut connection = Connection::new(Arc::clone(&stream));
    let mut waits_for = Interest::READABLE;
    loop {
        let turn = stream.async_io(waits_for, || match connection.turn(&mut worker) {
            // The runtime forgets that it was ready, and waits.
            Turn::Read if waits_for == Interest::READABLE => Err(io::ErrorKind::WouldBlock.into()),
            Turn::Write if waits_for == Interest::WRITABLE => Err(io::ErrorKind::WouldBlock.into()),
            Turn::Read => Ok(Some(Interest::READABLE)),
            Turn::Write => Ok(Some(Interest::WRITABLE)),
            Turn::Cold(_) | Turn::Closed => Ok(None),
        });
        match turn.await? {
            Some(next) => waits_for = next,
            None => return Ok(()),
        }
    }
}
