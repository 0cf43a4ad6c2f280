//! Requests to responses: the HTTP layer and the content of one core put together, without a network.

use std::{sync::Arc, time::SystemTime};

use pagewire_driver::Instant;
use pagewire_stack::{ConnectionId, FileRange, Part, Parts};

use crate::{
    content::{Content, FileEntry, Resource},
    http::{
        Limits, Method, Parsed, Request, Status,
        conditional::{self, Verdict},
        date::DateCache,
        parse,
        path::{self, Dotfiles},
        range::{self, Selection},
        response::{self, Common, Detail},
    },
    shard::change::Change,
};

/// Answers requests.
#[derive(Debug)]
pub struct Service {
    content: Content,
    limits: Limits,
    dotfiles: Dotfiles,
    date: DateCache,
    key: Vec<u8>,
    location: Vec<u8>,
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

/// A response being put together. Kept by the caller for the next.
#[derive(Debug, Default)]
pub struct Reply {
    /// An empty buffer, from [`Transport::buffer`](pagewire_stack::Transport::buffer). It goes into
    /// `parts` with a response.
    pub head: Vec<u8>,
    /// The response.
    pub parts: Parts,
}

impl Reply {
    /// How many of its bytes are content.
    pub fn content_bytes(&self) -> u64 {
        let len: u64 = self.parts.iter().map(Part::len).sum();
        match self.parts.first() {
            Some(Part::Bytes(head)) => {
                let end = memchr::memmem::find(head, b"\r\n\r\n").map_or(0, |at| at + 4);
                len - end as u64
            }
            _ => len,
        }
    }

    fn finish(&mut self, file: Option<FileRange>) {
        self.parts.push(Part::Bytes(std::mem::take(&mut self.head)));
        self.parts.extend(file.map(Part::File));
    }
}

impl Service {
    /// A service for `content`, at the time `wall`, which is `now`.
    pub fn new(content: Content, limits: Limits, now: Instant, wall: SystemTime) -> Self {
        let date = DateCache::new(now, wall);
        let dotfiles = Dotfiles::default();
        Self { content, limits, dotfiles, date, key: Vec::new(), location: Vec::new() }
    }

    /// The same service with other dotfiles.
    #[must_use]
    pub fn with_dotfiles(self, dotfiles: Dotfiles) -> Self {
        Self { dotfiles, ..self }
    }

    /// Goes on with `change`. Returns who waited for an answer, which does not come any more.
    pub fn adopt(&mut self, change: &Change) -> Vec<ConnectionId> {
        self.limits = change.limits;
        self.dotfiles = change.dotfiles;
        self.content.adopt(Arc::clone(&change.root), change.cache)
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
    pub fn step(&mut self, bytes: &[u8], asked: Asked, reply: &mut Reply) -> Step {
        let mut request = match parse(bytes, &self.limits) {
            Parsed::Partial => return Step::Incomplete,
            Parsed::Invalid(status) => return self.refuse(status, reply),
            Parsed::Complete(request) => request,
        };
        request.keep_alive &= asked.afterwards == Afterwards::GoOn;
        let resource = match asked.found {
            Some(resource) => Ok(resource),
            None => match self.find(&request, asked.now, asked.id) {
                Ok(Some(resource)) => Ok(resource),
                Ok(None) => return Step::Waiting,
                Err(status) => Err(status),
            },
        };
        let resource = resource.as_deref().map_err(|&status| status);
        let (status, file) = self.answer(&request, resource, &mut reply.head);
        reply.finish(file);
        let then = match request {
            Request { keep_alive: true, .. } => Then::GoOn,
            Request { is_last: true, .. } => Then::Conclude,
            _ => Then::Close,
        };
        Step::Answered { consumed: request.consumed, status, then }
    }

    /// The response to something that is no request, and that ends the connection.
    pub fn refuse(&self, status: Status, reply: &mut Reply) -> Step {
        let common = Common { date: self.date.text(), is_1_1: true, keep_alive: false };
        response::write_text(&mut reply.head, status, common, Detail::None, false);
        reply.finish(None);
        Step::Answered { consumed: 0, status, then: Then::Close }
    }

    fn find(
        &mut self,
        request: &Request<'_>,
        now: Instant,
        id: ConnectionId,
    ) -> Result<Option<Arc<Resource>>, Status> {
        match request.method {
            Method::Get | Method::Head => {}
            Method::NotAllowed => return Err(Status::MethodNotAllowed),
            Method::Unknown => return Err(Status::NotImplemented),
        }
        path::canonicalize(request.path, self.dotfiles, &mut self.key)?;
        Ok(self.content.lookup(&self.key, now, id))
    }

    /// Writes the head of the response to `head`, and says what of a file follows it.
    fn answer(
        &mut self,
        request: &Request<'_>,
        resource: Result<&Resource, Status>,
        head: &mut Vec<u8>,
    ) -> (Status, Option<FileRange>) {
        let common = Common {
            date: self.date.text(),
            is_1_1: request.is_1_1,
            keep_alive: request.keep_alive,
        };
        let head_only = request.method == Method::Head;
        let status = match resource {
            Ok(Resource::File(file)) => return answer_with_file(request, file, common, head),
            Ok(Resource::Directory) => {
                // Again, for `key` is another request's by now if this one had to wait.
                let _ = path::canonicalize(request.path, self.dotfiles, &mut self.key);
                self.location.clear();
                path::write_directory_target(&self.key, request.query, &mut self.location);
                let detail = Detail::Location(&self.location);
                response::write_text(head, Status::MovedPermanently, common, detail, head_only);
                return (Status::MovedPermanently, None);
            }
            Ok(Resource::Refused(status)) => *status,
            Err(status) => status,
        };
        response::write_text(head, status, common, Detail::None, head_only);
        (status, None)
    }
}

/// Writes the head of the response that `file` gives to a GET or HEAD, and says what of the file follows.
pub fn answer_with_file(
    request: &Request<'_>,
    file: &FileEntry,
    common: Common<'_>,
    head: &mut Vec<u8>,
) -> (Status, Option<FileRange>) {
    let total = file.object.len();
    let head_only = request.method == Method::Head;
    let send = |start, len| {
        (!head_only && len > 0).then(|| FileRange { object: Arc::clone(&file.object), start, len })
    };
    let conditions = &request.conditions;
    let selection = match conditional::evaluate(conditions, file.fields.validators()) {
        Verdict::NotModified => {
            response::write_not_modified(head, common, &file.fields);
            return (Status::NotModified, None);
        }
        Verdict::Failed => {
            let status = Status::PreconditionFailed;
            response::write_text(head, status, common, Detail::None, head_only);
            return (status, None);
        }
        // Range handling is defined for GET alone (RFC 9110 §14.2).
        Verdict::Send { range_applies: true } if !head_only => {
            range::select(conditions.range, total)
        }
        Verdict::Send { .. } => Selection::Whole,
    };
    match selection {
        Selection::Whole => {
            response::write_whole(head, common, &file.fields, total);
            (Status::Ok, send(0, total))
        }
        Selection::Part { start, len } => {
            response::write_part(head, common, &file.fields, (start, len), total);
            (Status::PartialContent, send(start, len))
        }
        Selection::Unsatisfiable => {
            let (status, detail) = (Status::RangeNotSatisfiable, Detail::Length(total));
            response::write_text(head, status, common, detail, head_only);
            (status, None)
        }
    }
}
