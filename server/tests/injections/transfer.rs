//! A client that takes a response as slowly as it is told to.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
};

use rustix::net::{AddressFamily, SocketType, connect, socket, sockopt};

use crate::site::PATIENCE;

/// What came of a request.
#[derive(Debug)]
pub enum Fetch {
    /// A whole response.
    Complete { status: u16, body: Vec<u8> },
    /// The connection ended before that; this much of the body had come.
    Cut { body: Vec<u8> },
}

/// A connection that is kept while it works.
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    /// It has ended.
    is_over: bool,
}

impl Connection {
    /// Connects; the kernel keeps about `buffer` bytes that have not been read.
    pub fn open(to: SocketAddr, buffer: usize) -> Self {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        sockopt::set_socket_recv_buffer_size(&socket, buffer / 2).unwrap();
        connect(&socket, &to).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, received: Vec::new(), is_over: false }
    }

    /// Asks for a file. What comes of it, an end included, is found by reading.
    pub fn ask(&mut self, name: &str) {
        self.received.clear();
        let request = format!("GET /{name} HTTP/1.1\r\nHost: test\r\n\r\n");
        self.is_over |= self.stream.write_all(request.as_bytes()).is_err();
    }

    /// Reads until `amount` bytes have come, head included, or no more do.
    pub fn read_up_to(&mut self, amount: usize) {
        let mut chunk = vec![0; 64 << 10];
        while !self.is_over && self.received.len() < amount {
            let most = (amount - self.received.len()).min(chunk.len());
            match self.stream.read(&mut chunk[..most]) {
                Ok(0) => self.is_over = true,
                Ok(read) => self.received.extend_from_slice(&chunk[..read]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => self.is_over = true,
                Err(error) => panic!("reading failed after {}: {error}", self.received.len()),
            }
        }
    }

    /// Bytes that have come, head included.
    pub fn received(&self) -> usize {
        self.received.len()
    }

    /// Reads the rest of the response.
    pub fn take(&mut self) -> Fetch {
        loop {
            if let Some((status, head, len)) = head_of(&self.received) {
                self.read_up_to(head + len);
                let body = self.received.split_off(head);
                return if body.len() == len {
                    Fetch::Complete { status, body }
                } else {
                    Fetch::Cut { body }
                };
            }
            if self.is_over {
                return Fetch::Cut { body: Vec::new() };
            }
            self.read_up_to(self.received.len() + 1);
        }
    }

    /// Whether another request may be sent.
    pub fn is_over(&self) -> bool {
        self.is_over
    }
}

/// Status, length of the head, and length of the body, once the head is there.
fn head_of(bytes: &[u8]) -> Option<(u16, usize, usize)> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head]).unwrap();
    let status = text[9..12].parse().unwrap();
    let length = text.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    Some((status, head, length.expect("a length").parse().unwrap()))
}
