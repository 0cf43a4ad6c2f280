//! A client that sends whatever bytes it is told to, and reads responses strictly.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use crate::target::{PATIENCE, Target};

/// A response, read whole.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// The value of a field; panics if it came twice.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} came twice");
        value
    }
}

/// Whether content follows the head of a response.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Content {
    Follows,
    /// It answers a HEAD.
    Omitted,
}

/// A connection to the server.
pub struct Client {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub fn connect(target: &Target) -> Self {
        let stream = TcpStream::connect_timeout(&target.address, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.stream.write_all(bytes.as_ref()).unwrap();
        self
    }

    /// Sends a GET for `path` on a connection to be kept.
    pub fn get(&mut self, path: &str) -> &mut Self {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"))
    }

    pub fn shut_down_sending(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// The next response.
    pub fn response(&mut self) -> Response {
        self.response_to(Content::Follows)
    }

    pub fn response_to(&mut self, content: Content) -> Response {
        let head_len = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.fill(64 << 10) > 0, "the connection ended before a response");
        };
        let head: Vec<u8> = self.buffer.drain(..head_len).collect();
        let (status, fields) = parse_head(&head);
        let mut response = Response { status, fields, body: Vec::new() };
        if content == Content::Follows && !matches!(status, 204 | 304) {
            let len = response.field("content-length").expect("a length").parse().unwrap();
            response.body = self.bytes(len);
        }
        response
    }

    /// The next `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        while self.buffer.len() < len {
            let missing = len - self.buffer.len();
            let most = missing.clamp(4 << 10, 256 << 10);
            assert!(self.fill(most) > 0, "{missing} bytes are missing at the end");
        }
        self.buffer.drain(..len).collect()
    }

    /// The server ends the connection in order, without another byte.
    pub fn expect_end(&mut self) {
        assert!(self.buffer.is_empty(), "{}", self.buffer.escape_ascii());
        let more = self.fill(4096);
        assert_eq!(more, 0, "{}", self.buffer.escape_ascii());
    }

    /// The connection is still open, and nothing comes.
    pub fn expect_silence(&mut self, duration: Duration) {
        self.stream.set_read_timeout(Some(duration)).unwrap();
        let mut byte = [0];
        let error = loop {
            let error = self.stream.read(&mut byte).expect_err("silence");
            if error.kind() != ErrorKind::Interrupted {
                break error;
            }
        };
        assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    }

    /// Reads until the connection ends, in order or not: all that came.
    pub fn drain_to_end(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.buffer);
        // A reset ends it as well as a FIN.
        if let Err(error) = self.stream.read_to_end(&mut bytes) {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "it does not end: {error}");
        }
        bytes
    }

    fn fill(&mut self, most: usize) -> usize {
        let start = self.buffer.len();
        self.buffer.resize(start + most, 0);
        let read = loop {
            match self.stream.read(&mut self.buffer[start..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        self.buffer.truncate(start + *read.as_ref().unwrap_or(&0));
        read.unwrap_or_else(|error| panic!("reading failed: {error}"))
    }
}

fn parse_head(head: &[u8]) -> (u16, Vec<(String, String)>) {
    let text = std::str::from_utf8(head).unwrap();
    let mut lines = text.trim_end_matches("\r\n").split("\r\n");
    let status_line = lines.next().unwrap();
    let rest = status_line.strip_prefix("HTTP/1.1 ").unwrap_or_else(|| panic!("{status_line}"));
    let (code, reason) = rest.split_once(' ').unwrap();
    assert!(!reason.is_empty() && !text.contains("\n\n"));
    let field = |line: &str| {
        let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("{line}"));
        (name.to_owned(), value.to_owned())
    };
    (code.parse().unwrap(), lines.map(field).collect())
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Fetches `path` on a connection of its own.
pub fn fetch(target: &Target, path: &str) -> Response {
    let mut client = Client::connect(target);
    client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"));
    let response = client.response();
    client.expect_end();
    response
}
