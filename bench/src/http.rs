//! `pagewire-bench http`: what it costs to answer a request, without a network: parsing it, finding its site
//! and file, judging its conditions, and writing the head, for files that are known.
//!
//! Only the service's own steps are timed, by the CPU time of the thread, in batches of requests; the
//! buffers come back as from a transport. The figure is the median of the batches.

use std::{
    fs, io,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant as Wall, SystemTime},
};

use pagewire::{
    content::{CacheLimits, Catalogue, Content},
    http::{self, Limits},
    service::{Afterwards, Asked, Reply, Service, Step},
};
use pagewire_driver::{Instant, Waker};
use pagewire_stack::{ConnectionId, DiskPool, Part};
use thiserror::Error;

use crate::{
    cpu::{self, Stopwatch},
    error::BenchError,
    figures::Figure,
    options::Common,
    output::print,
};

/// What answering a request costs without a network: parsing, finding the file, and writing the head
///
/// With --quick within 5 seconds.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    common: Common,
}

/// Why there are no figures.
#[derive(Debug, Error)]
pub enum HttpError {
    /// The figures cannot be shown or kept.
    #[error(transparent)]
    Output(#[from] BenchError),
    /// A file cannot be made, or a thread not be started.
    #[error("cannot measure: {0}")]
    System(#[from] io::Error),
    /// A request was not answered as it should have been.
    #[error("{request} is answered with {found}, not {expected}")]
    Broken {
        /// What was asked.
        request: &'static str,
        /// The status it should have.
        expected: u16,
        /// The status it has; 0 for none.
        found: u16,
    },
}

/// Fields as a browser sends them.
const BROWSER: &str = "Connection: keep-alive\r\n\
    sec-ch-ua: \"Chromium\";v=\"130\", \"Not?A_Brand\";v=\"99\"\r\nsec-ch-ua-mobile: ?0\r\n\
    sec-ch-ua-platform: \"Linux\"\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
    Chrome/130.0.0.0 Safari/537.36\r\nAccept: text/css,*/*;q=0.1\r\nSec-Fetch-Site: same-origin\r\n\
    Sec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: style\r\nReferer: http://server.example/index.html\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-US,en;q=0.9\r\n";

const AGENT: &str = "User-Agent: curl/8.14.1\r\nAccept: */*\r\n";

/// A request: its name, status, path, and two groups of fields.
type Request = (&'static str, u16, &'static str, &'static str, &'static str);

const REQUESTS: &[Request] = &[
    ("small", 200, "/small.css", AGENT, ""),
    ("small by a browser", 200, "/small.css", BROWSER, ""),
    ("not modified", 304, "/small.css", AGENT, "If-None-Match: *\r\n"),
    ("a range", 206, "/large.bin", AGENT, "Range: bytes=1000-1999\r\n"),
    ("nothing there", 404, "/nothing", AGENT, ""),
];

const BATCH: u32 = 2_000;

/// Measures and prints.
///
/// # Errors
///
/// [`HttpError`].
pub fn run(options: &Options) -> Result<(), HttpError> {
    cpu::keep_to_last_core();
    let time = Duration::from_millis(if options.common.quick { 300 } else { 2_000 });
    let directory = tempfile::tempdir()?;
    let mut service = serve(directory.path())?;
    let mut all = Vec::new();
    for request in REQUESTS {
        for figure in measure(&mut service, request, time)? {
            print(&format!("{:<36} {:>8.1} {}", figure.name, figure.value, figure.unit))?;
            all.push(figure);
        }
    }
    options.common.write(&all)?;
    Ok(())
}

fn serve(directory: &Path) -> Result<Service, HttpError> {
    fs::write(directory.join("small.css"), [b'x'; 128])?;
    fs::write(directory.join("small.css.br"), [b'x'; 64])?;
    fs::write(directory.join("large.bin"), vec![b'x'; 1 << 20])?;
    let catalogue = Catalogue::of_directory(directory).map_err(io::Error::other)?;
    let helpers = DiskPool::start(1, 64)?;
    let content = Content::new(Arc::new(catalogue), helpers, CacheLimits::default(), Waker::new()?);
    Ok(Service::new(content, Limits::default(), Instant::ZERO, SystemTime::now()))
}

/// The nanoseconds that the whole takes, and parsing as a part of it.
fn measure(
    service: &mut Service,
    &(name, expected, path, agent, fields): &Request,
    time: Duration,
) -> Result<[Figure; 2], HttpError> {
    let text = format!("GET {path} HTTP/1.1\r\nHost: server.example\r\n{agent}{fields}\r\n");
    let bytes = text.as_bytes();
    let mut reply = Reply::default();
    let mut found = step(service, bytes, &mut reply);
    while found == Step::Waiting {
        while service.content().answered().is_none() {
            thread::sleep(Duration::from_millis(1));
        }
        found = step(service, bytes, &mut reply);
    }
    let status = if let Step::Answered { status, .. } = found { status.code() } else { 0 };
    if status != expected {
        return Err(HttpError::Broken { request: name, expected, found: status });
    }
    let limits = Limits::default();
    let figure =
        |part: &str, value| Figure { name: format!("http/{name}/{part}"), value, unit: "ns" };
    let parsing = median(time / 4, || {
        std::hint::black_box(http::parse(std::hint::black_box(bytes), &limits));
    });
    let whole = median(time, || {
        std::hint::black_box(step(service, std::hint::black_box(bytes), &mut reply));
    });
    Ok([figure("parsing", parsing), figure("answering", whole)])
}

/// Answers one request. The buffer comes back as it does when a response is sent.
fn step(service: &mut Service, request: &[u8], reply: &mut Reply) -> Step {
    let id = ConnectionId { slot: 0, generation: 0 };
    let asked = Asked { id, now: Instant::ZERO, found: None, afterwards: Afterwards::GoOn };
    let step = service.step(request, &asked, reply);
    for part in reply.parts.drain(..) {
        if let Part::Bytes(mut bytes) = part {
            bytes.clear();
            reply.head = bytes;
        }
    }
    step
}

/// What one call takes, as the median of batches, in nanoseconds.
fn median(time: Duration, mut call: impl FnMut()) -> f64 {
    let end = Wall::now() + time;
    let mut batches = Vec::new();
    while batches.len() < 5 || Wall::now() < end {
        let watch = Stopwatch::start();
        for _ in 0..BATCH {
            call();
        }
        batches.push(watch.elapsed().as_nanos() as f64 / f64::from(BATCH));
    }
    batches.sort_by(f64::total_cmp);
    batches[batches.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_answered_as_expected_and_costs_something() {
        let directory = tempfile::tempdir().unwrap();
        let mut service = serve(directory.path()).unwrap();
        for request in REQUESTS {
            let figures = measure(&mut service, request, Duration::from_millis(1)).unwrap();
            assert!(figures.iter().all(|figure| figure.value > 0.0), "{figures:?}");
        }
    }
}
