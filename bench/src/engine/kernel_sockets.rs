//! What the kernel's own TCP connections take of memory, for comparison: sockets on loopback.

use std::{
    fs, io,
    net::{TcpListener, TcpStream},
    time::Duration,
};

use rustix::{
    net::sockopt::set_socket_linger,
    process::{Resource, Rlimit, getrlimit, setrlimit},
};

use super::EngineError;
use crate::figures::Figure;

/// Connections, of two sockets each.
const CONNECTIONS: usize = 8_000;

/// Measures. Without enough descriptors there is nothing to measure.
pub fn measure() -> Result<Vec<Figure>, EngineError> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    if setrlimit(Resource::Nofile, raised).is_err()
        || raised.current.is_some_and(|most| most < 2 * CONNECTIONS as u64 + 100)
    {
        return Ok(Vec::new());
    }
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let before = kernel_memory()?;
    let mut sockets = Vec::with_capacity(2 * CONNECTIONS);
    for _ in 0..CONNECTIONS {
        let near = TcpStream::connect(address)?;
        // Closed by a reset, they leave nothing behind.
        set_socket_linger(&near, Some(Duration::ZERO)).map_err(io::Error::from)?;
        sockets.push(near);
        sockets.push(listener.accept()?.0);
    }
    let each = (kernel_memory()?.saturating_sub(before)) as f64 / sockets.len() as f64;
    let name = "engine/kernel's own sockets/idle".to_owned();
    Ok(vec![Figure { name, value: each, unit: "B/connection" }])
}

/// Bytes of the kernel's small objects: sockets, inodes, files, buffers.
fn kernel_memory() -> io::Result<usize> {
    let meminfo = fs::read_to_string("/proc/meminfo")?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("Slab:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<usize>().ok());
    Ok(kib.unwrap_or(0) * 1_024)
}
