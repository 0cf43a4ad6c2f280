//! A plain HTTP client on the lab's client side.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use pagewire_tools::lab::{Lab, Side};

/// Longer than any retransmission that a test provokes, also where others have the machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A connection that is kept alive.
pub struct Client {
    stream: TcpStream,
    /// Received and not yet used.
    buffer: Vec<u8>,
    pause: Duration,
}

impl Client {
    /// Connects to port 80. Only on a thread of the client's side. Nothing may take longer than
    /// `patience`.
    pub fn connect(server: IpAddr, patience: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&SocketAddr::new(server, 80), patience)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new(), pause: Duration::ZERO })
    }

    /// From now on waits before it takes anything, and lets little wait for it.
    pub fn pause_between_reads(&mut self, pause: Duration) {
        rustix::net::sockopt::set_socket_recv_buffer_size(&self.stream, 64 << 10).unwrap();
        self.pause = pause;
    }

    /// Opens `count` connections to `server`, one after another.
    pub fn connect_many(lab: &Lab, server: IpAddr, count: usize) -> Vec<Self> {
        let connect = || (0..count).map(|_| Self::connect(server, PATIENCE));
        lab.within(Side::Client, || connect().collect::<io::Result<_>>())
            .unwrap()
            .expect("connections")
    }

    /// Asks for a file.
    pub fn send(&mut self, path: &str) -> io::Result<()> {
        self.stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: lab\r\n\r\n").as_bytes())
    }

    /// The body of the next answer, which must be a 200.
    pub fn receive(&mut self) -> io::Result<Vec<u8>> {
        let head_len = loop {
            let end = self.buffer.windows(4).position(|window| window == b"\r\n\r\n");
            match end {
                Some(end) => break end + 4,
                None => self.fill()?,
            }
        };
        let head: Vec<u8> = self.buffer.drain(..head_len).collect();
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        if !head.starts_with("http/1.1 200 ") {
            return Err(io::Error::other(head));
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length = length.and_then(|length| length.parse().ok());
        let length = length.ok_or_else(|| io::Error::other("no length"))?;
        while self.buffer.len() < length {
            self.fill()?;
        }
        Ok(self.buffer.drain(..length).collect())
    }

    /// One request and its answer.
    pub fn get(&mut self, path: &str) -> io::Result<Vec<u8>> {
        self.send(path)?;
        self.receive()
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut bytes = [0; 16 * 1024];
        thread::sleep(self.pause);
        let count = loop {
            match self.stream.read(&mut bytes) {
                // With a timeout the kernel does not go on by itself after a stop of the process (signal(7)).
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.buffer.extend_from_slice(&bytes[..count]);
        Ok(())
    }
}
