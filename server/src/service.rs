//! Requests to responses: the HTTP layer and the content of one core put together, without a network.

use std::{sync::Arc, time::SystemTime};

use pagewire_driver::Instant;
use pagewire_stack::ConnectionId;

use crate::{
    answer,
    content::{Catalogue, Content, Prepared, Resource},
    http::{
        Limits, Method, Parsed, Request, Status,
        date::DateCache,
        parse, path,
        response::{Common, Detail},
    },
    shard::change::Change,
    site::SiteId,
};

pub use crate::answer::Reply;

/// Answers requests.
#[derive(Debug)]
pub struct Service {
    content: Content,
    limits: Limits,
    date: DateCache,
    key: Vec<u8>,
}

/// What came of the bytes at the front of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// They are the beginning of a request.
    Incomplete,
    /// They hold a request whose answer a helper has been asked for.
    Waiting,
    /// They hold a request, and the response is in the parts.
    Answered {
        /// Bytes of the request.
        consumed: usize,
        /// The status of the response.
        status: Status,
        /// What becomes of the connection.
        then: Then,
    },
}

/// What becomes of a connection after a response.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Then {
    /// More requests may follow.
    GoOn,
    /// It ends, as the client has said: nothing more comes from it.
    Conclude,
    /// It ends, although the client may still be sending.
    Close,
}

/// Whether a connection may go on after the request at hand.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Afterwards {
    /// If the client wants it.
    GoOn,
    /// In no case: the server is stopping.
    End,
}

/// What a step is about.
#[derive(Debug)]
pub struct Asked {
    /// The connection.
    pub id: ConnectionId,
    /// The present.
    pub now: Instant,
    /// What the path leads to, if [`Step::Waiting`] came before.
    pub found: Option<Arc<Resource>>,
    /// What is to come after it.
    pub afterwards: Afterwards,
}

impl Service {
    /// A service for `content`, at the time `wall`, which is `now`.
    pub fn new(content: Content, limits: Limits, now: Instant, wall: SystemTime) -> Self {
        Self { content, limits, date: DateCache::new(now, wall), key: Vec::new() }
    }

    /// Goes on with `change`. Returns who waited for an answer, which does not come any more.
    pub fn adopt(&mut self, change: &Change) -> Vec<ConnectionId> {
        self.limits = change.limits;
        self.content.adopt(Arc::clone(&change.catalogue), change.cache)
    }

    /// How much of a request is accepted.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The content.
    pub fn content(&mut self) -> &mut Content {
        &mut self.content
    }

    /// The `Date` of responses, to be refreshed when it is stale.
    pub fn date(&mut self) -> &mut DateCache {
        &mut self.date
    }

    /// Answers the request at the front of `bytes`, all that the connection has received.
    pub fn step(&mut self, bytes: &[u8], asked: &Asked, reply: &mut Reply) -> Step {
        let mut parsed = parse(bytes, &self.limits);
        let request = match &mut parsed {
            Parsed::Partial => return Step::Incomplete,
            Parsed::Invalid(status) => return self.refuse_bytes(bytes, *status, reply),
            Parsed::Complete(request) => request,
        };
        request.keep_alive &= asked.afterwards == Afterwards::GoOn;
        let site = self.content.catalogue().sites().route(request.authority);
        let Self { content, key, date, .. } = self;
        let common = common(date, request);
        let status = match find(content, key, request, site, asked) {
            Ok(Lookup::Waiting) => return Step::Waiting,
            Ok(Lookup::Found(resource, prepared)) => {
                answer::answer(request, resource, prepared, common, reply)
            }
            Ok(Lookup::Everything) => {
                let shared = &content.catalogue().refusal(site, Status::NotFound).shared;
                answer::options(request, shared, common, reply)
            }
            Err(status) => self.say_instead(request, site, status, reply),
        };
        let then = match request {
            Request { keep_alive: true, .. } => Then::GoOn,
            Request { is_last: true, .. } => Then::Conclude,
            _ => Then::Close,
        };
        Step::Answered { consumed: request.consumed, status, then }
    }

    /// The response to no request, which ends the connection.
    pub fn refuse(&self, status: Status, reply: &mut Reply) -> Step {
        self.refuse_bytes(b"", status, reply)
    }

    /// The response to something that is no request, and that ends the connection.
    fn refuse_bytes(&self, bytes: &[u8], status: Status, reply: &mut Reply) -> Step {
        let mut request = Request::default();
        // Whoever reads the answer to a HEAD takes content for another answer.
        if bytes.trim_ascii_start().starts_with(b"HEAD ") {
            request.method = Method::Head;
        }
        let site = self.content.catalogue().sites().route(b"");
        self.say_instead(&request, site, status, reply);
        Step::Answered { consumed: 0, status, then: Then::Close }
    }

    /// Answers with what `site` says for an error, whatever the path.
    fn say_instead(
        &self,
        request: &Request<'_>,
        site: Option<SiteId>,
        status: Status,
        reply: &mut Reply,
    ) -> Status {
        let shared = &self.content.catalogue().refusal(site, status).shared;
        let common = common(&self.date, request);
        answer::refuse(request, shared, status, Detail::None, common, reply)
    }
}

/// What a request leads to. `key` is memory to make its key in.
fn find<'a>(
    content: &'a mut Content,
    key: &mut Vec<u8>,
    request: &Request<'_>,
    site: Option<SiteId>,
    asked: &'a Asked,
) -> Result<Lookup<'a>, Status> {
    let site = site.ok_or(Status::Misdirected)?;
    if request.path.is_empty() {
        // Only an OPTIONS is about no path, or a CONNECT.
        return match request.method {
            Method::Options => Ok(Lookup::Everything),
            _ => Err(Status::MethodNotAllowed),
        };
    }
    if let Some(resource) = &asked.found {
        return Ok(Lookup::Found(resource, None));
    }
    Catalogue::begin_key(site, key);
    path::canonicalize(request.path, key)?;
    let found = content.lookup(key, asked.now, asked.id);
    Ok(found.map_or(Lookup::Waiting, |it| Lookup::Found(it.resource, Some(it.prepared))))
}

fn common<'a>(date: &'a DateCache, request: &Request<'_>) -> Common<'a> {
    Common {
        date: date.text(),
        is_1_1: request.is_1_1,
        keep_alive: request.keep_alive,
        allowed_origin: None,
    }
}

/// Where a request leads.
enum Lookup<'a> {
    /// To something that a helper has been asked about.
    Waiting,
    /// To this, of which the core may have put something together.
    Found(&'a Resource, Option<&'a Prepared>),
    /// To the server as a whole (`OPTIONS *`).
    Everything,
}
