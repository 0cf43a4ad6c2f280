//! One large file that is not in memory, fetched by one client: how fast, beside what the disk gives to a plain
//! reader, and what the same server sends of the same file once it is in memory. The slower of these two is
//! what a server can reach that reads ahead far enough.

use std::{
    fs::File,
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
    path::PathBuf,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use core_affinity::{CoreId, set_for_current};
use pagewire_tools::lab::Side;

use super::{Subject, trial::Stage};
use crate::{
    error::BenchError,
    product::{self, ADDRESS, PORT},
};

/// Name of the file.
const NAME: &str = "large";

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 1 << 20;

/// How long a server may be silent.
const SILENCE: Duration = Duration::from_secs(20);

/// The file, and how long it may be read.
#[derive(Clone, Copy, Debug)]
pub struct Large {
    /// Its length.
    pub bytes: u64,
    /// A transfer that is not over by then counts as far as it has come.
    pub time: Duration,
}

/// Rates in bytes a second.
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    /// Of a plain reader of the file, when it is not in memory.
    pub disk: f64,
    /// Of a client of the server, when it is not in memory.
    pub cold: f64,
    /// Of the client, when it is.
    pub warm: f64,
}

impl Transfer {
    /// Cold, as a part of what is possible.
    pub fn reached(&self) -> f64 {
        self.cold / self.disk.min(self.warm)
    }
}

/// So many bytes in that time.
#[derive(Clone, Copy)]
struct Span {
    bytes: u64,
    time: Duration,
}

impl Span {
    fn rate(self) -> f64 {
        self.bytes as f64 / self.time.as_secs_f64()
    }
}

impl Stage {
    /// Makes the file.
    pub fn prepare(&self, large: Large) -> Result<(), BenchError> {
        product::fill(&self.large(), large.bytes).map_err(BenchError::system("make a large file"))
    }

    fn large(&self) -> PathBuf {
        self.served().join(NAME)
    }

    /// Reads the file from the disk, and fetches it twice from one server.
    pub fn transfer(&self, subject: Subject, large: Large) -> Result<Transfer, BenchError> {
        let failed = BenchError::system("read a large file");
        let file = File::open(self.large()).map_err(&failed)?;
        // What the disk gives may change from one minute to the next: it is read beside each server.
        product::forget(&file).map_err(&failed)?;
        let disk = self.flow(large, &file).map_err(&failed)?;
        let running = subject.start(&self.lab, &self.server, &self.served(), self.folder.path())?;
        self.server.place()?;
        self.client.place()?;
        product::forget(&file).map_err(&failed)?;
        let cold = self.fetch(large)?;
        // Of what is in memory now.
        let warm = self.fetch(Large { bytes: cold.bytes, ..large })?;
        running.stop()?;
        Ok(Transfer { disk: disk.rate(), cold: cold.rate(), warm: warm.rate() })
    }

    /// Fetches the front of the file.
    fn fetch(&self, large: Large) -> Result<Span, BenchError> {
        let core = self.client.cores.first().copied();
        let fetched = self.lab.within(Side::Client, || {
            core.map(|CoreId { id }| set_for_current(CoreId { id }));
            let mut stream = TcpStream::connect((ADDRESS, PORT))?;
            stream.set_read_timeout(Some(SILENCE))?;
            write!(stream, "GET /{NAME} HTTP/1.1\r\nHost: {ADDRESS}\r\n\r\n")?;
            let mut head = [0; 15];
            stream.read_exact(&mut head)?;
            if head != *b"HTTP/1.1 200 OK" {
                return Err(io::Error::other("the file is not served"));
            }
            self.flow(large, stream)
        })?;
        fetched.map_err(BenchError::system("fetch a large file"))
    }

    /// Takes bytes until there are enough, no more, or the time is over.
    fn flow(&self, large: Large, mut from: impl Read) -> io::Result<Span> {
        let mut chunk = vec![0; CHUNK_BYTES];
        let (mut bytes, start) = (0, Instant::now());
        while bytes < large.bytes && start.elapsed() < large.time {
            if self.interrupted.load(Ordering::Relaxed) {
                return Err(io::Error::from(ErrorKind::Interrupted));
            }
            match from.read(&mut chunk) {
                Ok(0) => return Err(io::Error::from(ErrorKind::UnexpectedEof)),
                Ok(read) => bytes += read as u64,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Span { bytes, time: start.elapsed() })
    }
}
