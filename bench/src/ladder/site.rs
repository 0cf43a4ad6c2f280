//! The files, and the product's HTTP layer on them: what every rung of the ladder answers with.
//!
//! A look at a file is trusted for a second, as in the product; unlike there, whoever asks also looks,
//! and waits for the disk.

use std::{
    collections::HashMap,
    io,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use pagewire::{
    answer::{self, Reply},
    content::{Catalogue, Resource},
    http::{
        Field, Limits, Method, Parsed, Request, Status,
        date::DateCache,
        parse, path,
        response::{Common, Detail},
    },
    site::SiteId,
};
use pagewire_driver::{Clock, Instant};
use pagewire_stack::{DiskReads, FileRange, Part};
use rustix::fs::Advice;

/// How long an answer may be used after it was looked at.
const TRUSTED: Duration = Duration::from_secs(1);

/// Whether a connection may go on after a response.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Persistence {
    /// If the client wants it.
    AsAsked,
    /// In no case.
    OneResponse,
}

/// What came of a request, besides the head.
#[derive(Debug)]
pub struct Answer {
    /// Bytes of the request.
    pub consumed: usize,
    /// Whether the connection goes on.
    pub keep_alive: bool,
    /// What follows the head.
    pub file: Option<FileRange>,
}

type Known = HashMap<Box<[u8]>, (Arc<Resource>, Instant)>;

/// The files below a directory. Clones share what is known of them.
#[derive(Debug)]
pub struct Site {
    catalogue: Arc<Catalogue>,
    known: Arc<RwLock<Known>>,
    persistence: Persistence,
    limits: Limits,
    clock: Clock,
    date: DateCache,
    key: Vec<u8>,
    reply: Reply,
}

impl Site {
    /// The files below `directory`.
    pub fn open(directory: &Path, persistence: Persistence) -> io::Result<Self> {
        let catalogue = Catalogue::of_directory(directory).map_err(io::Error::other)?;
        Ok(Self::new(Arc::new(catalogue), Arc::default(), persistence, Clock::start()))
    }

    fn new(
        catalogue: Arc<Catalogue>,
        known: Arc<RwLock<Known>>,
        persistence: Persistence,
        clock: Clock,
    ) -> Self {
        let date = DateCache::new(clock.now(), SystemTime::now());
        let limits = Limits::default();
        Self {
            catalogue,
            known,
            persistence,
            limits,
            clock,
            date,
            key: Vec::new(),
            reply: Reply::default(),
        }
    }

    /// Answers the request at the front of `bytes`, if it is complete, with its head in `head`, which
    /// is empty.
    pub fn answer(&mut self, bytes: &[u8], head: &mut Vec<u8>) -> Option<Answer> {
        let now = self.clock.now();
        if self.date.is_stale(now) {
            self.date.refresh(now, SystemTime::now());
        }
        let mut request = match parse(bytes, &self.limits) {
            Parsed::Partial => return None,
            Parsed::Invalid(status) => {
                let file = self.reply(&Request::default(), Err(status), head);
                return Some(Answer { consumed: bytes.len(), keep_alive: false, file });
            }
            Parsed::Complete(request) => request,
        };
        request.keep_alive &= self.persistence == Persistence::AsAsked;
        // The rungs send one head and one file.
        request.conditions.range = Field::Absent;
        let resource = self.find(&request, now);
        let file = self.reply(&request, resource, head);
        Some(Answer { consumed: request.consumed, keep_alive: request.keep_alive, file })
    }

    /// Writes a head, and says what follows it.
    fn reply(
        &mut self,
        request: &Request<'_>,
        resource: Result<Arc<Resource>, Status>,
        head: &mut Vec<u8>,
    ) -> Option<FileRange> {
        let common = Common {
            date: self.date.text(),
            is_1_1: request.is_1_1,
            keep_alive: request.keep_alive,
            allowed_origin: None,
        };
        let reply = &mut self.reply;
        reply.head = std::mem::take(head);
        match resource {
            Ok(resource) => answer::answer(request, &resource, None, common, reply),
            Err(status) => {
                let shared = &self.catalogue.refusal(None, status).shared;
                answer::refuse(request, shared, status, Detail::None, common, reply)
            }
        };
        let mut file = None;
        for part in reply.parts.drain(..) {
            match part {
                Part::Bytes(bytes) => *head = bytes,
                Part::File(range) => file = Some(range),
            }
        }
        file
    }

    fn find(&mut self, request: &Request<'_>, now: Instant) -> Result<Arc<Resource>, Status> {
        match request.method {
            Method::Get | Method::Head => {}
            Method::NotAllowed | Method::Options => return Err(Status::MethodNotAllowed),
            Method::Unknown => return Err(Status::NotImplemented),
        }
        Catalogue::begin_key(SiteId::default(), &mut self.key);
        path::canonicalize(request.path, &mut self.key)?;
        let known = {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            known.get(&*self.key).map(|(resource, seen)| (Arc::clone(resource), *seen))
        };
        match known {
            Some((resource, seen)) if now.since(seen) < TRUSTED => Ok(resource),
            known => Ok(self.look(known.map(|(resource, _)| resource), now)),
        }
    }

    fn look(&self, known: Option<Arc<Resource>>, now: Instant) -> Arc<Resource> {
        let resource = self.catalogue.resolve(&self.key, known, &DiskReads::default());
        if let Resource::File(file) = &*resource
            && let Some(descriptor) = file.plain.object.descriptor()
        {
            // The product keeps the kernel from reading ahead, since its helpers do. Here nobody else
            // does.
            let _ = rustix::fs::fadvise(descriptor, 0, None, Advice::Normal);
        }
        let mut all = self.known.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(self.key.as_slice().into(), (Arc::clone(&resource), now));
        resource
    }
}

impl Clone for Site {
    fn clone(&self) -> Self {
        let (catalogue, known) = (Arc::clone(&self.catalogue), Arc::clone(&self.known));
        Self::new(catalogue, known, self.persistence, self.clock)
    }
}
