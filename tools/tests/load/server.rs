//! A small server that does what the path says, rightly or wrongly.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::PATIENCE;

/// A server on a port of its own, until it is dropped.
pub struct Server {
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    over: AtomicBool,
    requests: AtomicU64,
    connections: AtomicU64,
    peers: Mutex<Vec<(IpAddr, TcpStream)>>,
}

impl Server {
    /// A server on this address, with a thread for each connection.
    pub fn start(address: &str) -> Self {
        Self::start_at(SocketAddr::new(address.parse().unwrap(), 0))
    }

    /// The same on a port of the caller's choice, once whoever has it has let go of it.
    pub fn start_at(address: SocketAddr) -> Self {
        let deadline = Instant::now() + PATIENCE;
        let listener = loop {
            match TcpListener::bind(address) {
                Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
                bound => break bound.unwrap(),
            }
        };
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if shared.over.load(Ordering::Relaxed) {
                    return;
                }
                shared.connections.fetch_add(1, Ordering::Relaxed);
                let peer = stream.peer_addr().map(|peer| peer.ip());
                if let (Ok(peer), Ok(copy)) = (peer, stream.try_clone()) {
                    shared.peers.lock().unwrap().push((peer, copy));
                }
                let state = Arc::clone(&shared);
                thread::spawn(move || serve(stream, &state));
            }
        });
        Self { address, state }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::Relaxed)
    }

    pub fn connections(&self) -> u64 {
        self.state.connections.load(Ordering::Relaxed)
    }

    /// Waits until it has so many connections and has answered on them.
    pub fn wait_for(&self, connections: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.peers().len() < connections || self.requests() < 2 * connections as u64 {
            assert!(Instant::now() < deadline, "{} connections", self.peers().len());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Where connections came from.
    pub fn peers(&self) -> Vec<IpAddr> {
        self.state.peers.lock().unwrap().iter().map(|(peer, _)| *peer).collect()
    }

    /// Ends at once, connections included, as if it had been killed.
    pub fn die(&self) {
        self.state.over.store(true, Ordering::Relaxed);
        // Wakes the listener, which then closes.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        for (_, stream) in self.state.peers.lock().unwrap().drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.die();
    }
}

/// Answers the requests of one connection, and ends it.
fn serve(mut stream: TcpStream, state: &State) {
    answer_all(&mut stream, state);
    // There is a copy of the descriptor.
    let _ = stream.shutdown(std::net::Shutdown::Both);
}

fn answer_all(stream: &mut TcpStream, state: &State) {
    let (mut waiting, mut buffer) = (Vec::new(), [0; 4_096]);
    let _ = stream.set_nodelay(true);
    while let Ok(len @ 1..) = stream.read(&mut buffer) {
        waiting.extend_from_slice(&buffer[..len]);
        while let Some(end) = waiting.windows(4).position(|window| window == b"\r\n\r\n") {
            let head: Vec<_> = waiting.drain(..end + 4).collect();
            let head = String::from_utf8(head).unwrap();
            let number = state.requests.fetch_add(1, Ordering::Relaxed);
            let path = head.split(' ').nth(1).unwrap();
            let (answer, ends) = answer(path, number);
            if path == "/slow" {
                thread::sleep(Duration::from_millis(50));
            }
            if stream.write_all(&answer).is_err() || ends || head.contains("Connection: close") {
                return;
            }
        }
    }
}

/// The answer to the `number`-th request, and whether the connection ends with it.
fn answer(path: &str, number: u64) -> (Vec<u8>, bool) {
    let response = |status: &str, told: usize, body: &[u8]| {
        let mut bytes = format!("HTTP/1.1 {status}\r\nContent-Length: {told}\r\n\r\n").into_bytes();
        bytes.extend_from_slice(body);
        bytes
    };
    match path {
        "/hello" => (response("200 OK", 5, b"hello"), false),
        "/large" => (response("200 OK", 300_000, &vec![b'x'; 300_000]), false),
        "/changing" => (response("200 OK", 5, format!("{:05}", number / 2).as_bytes()), false),
        "/growing" => {
            let len = 5 + usize::from(number > 3);
            (response("200 OK", len, &b"helloo"[..len]), false)
        }
        "/short" => (response("200 OK", 100, &[b'x'; 50]), true),
        "/nothing" => (Vec::new(), true),
        "/silent" => (Vec::new(), false),
        "/endless" => (b"HTTP/1.1 200 OK\r\n\r\nhello".to_vec(), false),
        "/too-much" => (response("200 OK", 1, b"xx"), false),
        "/tenth-ends" if number % 10 == 9 => {
            (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_vec(), true)
        }
        "/tenth-ends" | "/slow" => (response("200 OK", 0, b""), false),
        _ => (response("404 Not Found", 4, b"gone"), false),
    }
}
