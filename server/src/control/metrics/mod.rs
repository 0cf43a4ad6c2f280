//! Metrics for Prometheus, over HTTP on a socket of the kernel's of their own.
//!
//! Nobody scrapes through the data path: the listener, its threads and the text are the control
//! thread's affair, and a scraper that hangs or reads slowly has a deadline and one of few places.

mod text;

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

pub use text::render;
use thiserror::Error;

use super::{
    observer::Observer,
    visitors::{Reception, Visit},
};

/// Scrapers at once.
const MOST_SCRAPERS: usize = 4;

/// How long a scrape may take in all.
const PATIENCE: Duration = Duration::from_secs(10);

/// Largest request, in bytes.
const REQUEST_BYTES: usize = 8_192;

/// Most header fields of a request.
const MOST_FIELDS: usize = 64;

/// The text format's media type (prometheus.io, exposition formats, version 0.0.4).
const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Why there are no metrics.
#[derive(Debug, Error)]
#[error("cannot serve metrics on {address}: {source}; choose another address with --metrics")]
pub struct MetricsError {
    address: SocketAddr,
    source: io::Error,
}

/// Metrics that can be scraped. Dropped, they no longer can.
#[derive(Debug)]
pub struct Metrics {
    address: SocketAddr,
    _reception: Reception,
}

impl Metrics {
    /// Serves what `observer` sees on `address`.
    ///
    /// # Errors
    ///
    /// If that cannot be listened on.
    pub fn serve(address: SocketAddr, observer: Observer) -> Result<Self, MetricsError> {
        let failed = |source| MetricsError { address, source };
        let listener = TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        let receive = move |visit: &mut Visit<TcpStream>| respond(visit, &observer);
        let reception = Reception::open("metrics", listener, MOST_SCRAPERS, PATIENCE, receive)
            .map_err(failed)?;
        Ok(Self { address: bound, _reception: reception })
    }

    /// Where they are served.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A request that is understood.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Request {
    wanted: Wanted,
    /// Whether the answer is to have no body.
    head_only: bool,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Wanted {
    Metrics,
    NotFound,
    NotAllowed,
    Malformed,
}

/// What cannot be understood.
const MALFORMED: Request = Request { wanted: Wanted::Malformed, head_only: false };

/// Answers one request; the connection ends with it.
fn respond(visit: &mut Visit<TcpStream>, observer: &Observer) -> io::Result<()> {
    let Some(request) = read_request(visit)? else { return Ok(()) };
    let (status, body) = match request.wanted {
        Wanted::Metrics => ("200 OK", render(observer)),
        Wanted::NotFound => ("404 Not Found", "The metrics are at /metrics.\n".to_owned()),
        Wanted::NotAllowed => ("405 Method Not Allowed", "Use GET.\n".to_owned()),
        Wanted::Malformed => ("400 Bad Request", "That is no request.\n".to_owned()),
    };
    let mut response = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {MEDIA_TYPE}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    if !request.head_only {
        response += &body;
    }
    visit.write_all(response.as_bytes())
}

/// Reads a request's head. None if the peer ends before.
fn read_request(visit: &mut impl Read) -> io::Result<Option<Request>> {
    let mut received = Vec::new();
    loop {
        let mut bytes = [0; 1_024];
        let len = visit.read(&mut bytes)?;
        if len == 0 {
            return Ok(None);
        }
        received.extend_from_slice(&bytes[..len]);
        if let Some(request) = understand(&received) {
            return Ok(Some(request));
        }
        if received.len() >= REQUEST_BYTES {
            return Ok(Some(MALFORMED));
        }
    }
}

/// What the request asks for, once it is complete.
fn understand(received: &[u8]) -> Option<Request> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(received) {
        Err(_) => Some(MALFORMED),
        Ok(httparse::Status::Partial) => None,
        Ok(httparse::Status::Complete(_)) => {
            let path = request.path.unwrap_or_default().split('?').next();
            let wanted = match (request.method, path) {
                (Some("GET" | "HEAD"), Some("/metrics")) => Wanted::Metrics,
                (Some("GET" | "HEAD"), _) => Wanted::NotFound,
                _ => Wanted::NotAllowed,
            };
            Some(Request { wanted, head_only: request.method == Some("HEAD") })
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests_are_understood_once_they_are_whole() {
        let get = |wanted| Some(Request { wanted, head_only: false });
        let head = |wanted| Some(Request { wanted, head_only: true });
        for (text, expected) in [
            ("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", get(Wanted::Metrics)),
            ("GET /metrics?x=1 HTTP/1.0\r\n\r\n", get(Wanted::Metrics)),
            ("HEAD /metrics HTTP/1.1\r\n\r\n", head(Wanted::Metrics)),
            ("GET / HTTP/1.1\r\n\r\n", get(Wanted::NotFound)),
            ("HEAD /other HTTP/1.1\r\n\r\n", head(Wanted::NotFound)),
            ("POST /metrics HTTP/1.1\r\n\r\n", get(Wanted::NotAllowed)),
            ("GET /metrics HTTP/1.1\r\nHost", None),
            ("\u{16}\u{3}\u{1}", Some(MALFORMED)),
        ] {
            assert_eq!(understand(text.as_bytes()), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = understand(&bytes);
            let _ = read_request(&mut bytes.as_slice());
        }
    }
}
