//! Receivers: plain blocking sockets of the kernel, each on a thread of its own.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::atomic::AtomicBool,
    time::{Duration, Instant},
};

use super::{is_over, scene::Sender};
use crate::product::ADDRESS;

/// The longest that a receiver sleeps before it looks whether it is over.
const TICK: Duration = Duration::from_millis(200);
/// How long a connection may take to open: some losses of a SYN on a long link.
const PATIENCE: Duration = Duration::from_secs(15);

/// Where a sender's server is.
fn server(sender: Sender) -> SocketAddr {
    let address: Ipv4Addr = ADDRESS.parse().unwrap_or(Ipv4Addr::UNSPECIFIED);
    (address, sender.port()).into()
}

fn ask(sender: Sender, file: &str) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&server(sender), PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TICK))?;
    write!(stream, "GET /{file} HTTP/1.1\r\nHost: {ADDRESS}\r\nConnection: close\r\n\r\n")?;
    Ok(stream)
}

/// Bytes received within `time` from before the connection is opened.
///
/// # Errors
///
/// When the connection cannot be opened, or ends before the time is over.
pub fn for_a_time(
    sender: Sender,
    file: &str,
    time: Duration,
    interrupted: &AtomicBool,
) -> io::Result<u64> {
    let deadline = Instant::now() + time;
    let mut stream = ask(sender, file)?;
    let (mut buffer, mut received) = (vec![0; 256 << 10], 0);
    while Instant::now() < deadline && !is_over(interrupted) {
        match stream.read(&mut buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => received += count as u64,
            Err(error) if is_tick(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(received)
}

/// How long a whole response of `len` bytes of content takes, from before the connection is opened.
///
/// # Errors
///
/// When it does not come whole in time, or is not what was asked for.
pub fn whole(
    sender: Sender,
    file: &str,
    len: u64,
    interrupted: &AtomicBool,
) -> io::Result<Duration> {
    let start = Instant::now();
    let mut stream = ask(sender, file)?;
    let mut response = Vec::with_capacity(len as usize + 1_024);
    let mut buffer = vec![0; 64 << 10];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => response.extend_from_slice(&buffer[..count]),
            Err(error) if is_tick(&error) => {
                if is_over(interrupted) || start.elapsed() > 4 * PATIENCE {
                    return Err(ErrorKind::TimedOut.into());
                }
            }
            Err(error) => return Err(error),
        }
        if content_of(&response).is_some_and(|content| content >= len) {
            break;
        }
    }
    let time = start.elapsed();
    let is_right = response.starts_with(b"HTTP/1.1 200 ") && content_of(&response) == Some(len);
    if is_right { Ok(time) } else { Err(ErrorKind::InvalidData.into()) }
}

/// Bytes behind the head, once that is there.
fn content_of(response: &[u8]) -> Option<u64> {
    let head = memchr::memmem::find(response, b"\r\n\r\n")? + 4;
    Some((response.len() - head) as u64)
}

fn is_tick(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
