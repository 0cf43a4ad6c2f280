//! What a resource answers to a request, without a network and without looking anything up.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{Arc, LazyLock},
};

use pagewire_stack::{FileObject, FileRange, Part, Parts};

use crate::{
    content::{FileEntry, Prepared, Representation, Resource, Shared, Whole},
    http::{
        Field, Method, Request, Status,
        conditional::{self, Verdict},
        negotiate::{Encodings, prefers_json},
        range::{self, Ranges, Selection},
        response::{self, Common, Detail, Page},
    },
    site::Cors,
};

/// A response being put together. Kept by the caller for the next.
#[derive(Debug, Default)]
pub struct Reply {
    /// An empty buffer, from [`Transport::buffer`](pagewire_stack::Transport::buffer). It goes into
    /// `parts` with a response.
    pub head: Vec<u8>,
    /// The response.
    pub parts: Parts,
    head_len: usize,
}

impl Reply {
    /// How many bytes of the response are content.
    pub fn content_bytes(&self) -> u64 {
        self.parts.iter().map(Part::len).sum::<u64>().saturating_sub(self.head_len as u64)
    }

    /// Puts the head, and then a range of a file, into the parts.
    fn finish(&mut self, object: Option<(&Arc<FileObject>, u64, u64)>) {
        self.head_len = self.head.len();
        self.parts.push(Part::Bytes(std::mem::take(&mut self.head)));
        if let Some((object, start, len)) = object.filter(|(_, _, len)| *len > 0) {
            self.push(object, start, len);
        }
    }

    /// Puts a head with its content into the parts.
    fn finish_whole(&mut self, whole: &Whole) {
        self.head_len = whole.head_len;
        self.push(&whole.object, 0, whole.object.len());
    }

    fn push(&mut self, object: &Arc<FileObject>, start: u64, len: u64) {
        self.parts.push(Part::File(FileRange { object: Arc::clone(object), start, len }));
    }
}

/// Why a resource is not sent, and what there is to say about that.
type Instead = (Status, Detail<'static>);

/// Puts the answer of `resource` to a request into `reply`, with what is `prepared` of it if that fits.
/// Whatever it is, it has the fields that all responses about the path have.
pub fn answer(
    request: &Request<'_>,
    resource: &Resource,
    prepared: Option<&Prepared>,
    common: Common<'_>,
    reply: &mut Reply,
) -> Status {
    let answered = match request.method {
        Method::Get | Method::Head => represent(request, resource, prepared, common, reply),
        Method::Options => match resource {
            // A browser that hears of an error asks no further, and its page never learns which it was.
            Resource::Refused(refusal) if preflight(request, resource.shared()).is_none() => {
                Err((refusal.status, Detail::None))
            }
            _ => return options(request, resource.shared(), common, reply),
        },
        Method::NotAllowed => Err((Status::MethodNotAllowed, Detail::None)),
        Method::Unknown => Err((Status::NotImplemented, Detail::None)),
    };
    answered.unwrap_or_else(|(status, detail)| {
        refuse(request, resource.shared(), status, detail, common, reply)
    })
}

/// Puts what `resource` is into `reply`.
fn represent(
    request: &Request<'_>,
    resource: &Resource,
    prepared: Option<&Prepared>,
    common: Common<'_>,
    reply: &mut Reply,
) -> Result<Status, Instead> {
    match resource {
        Resource::File(file) => answer_with_file(request, file, prepared, common, reply),
        Resource::Listing(listing) => {
            let for_programs = prefers_json(request.preferences.accept);
            let entry = if for_programs { &listing.json } else { &listing.html };
            answer_with_file(request, entry, prepared, common, reply)
        }
        Resource::Elsewhere(elsewhere) => {
            let query = if elsewhere.keeps_query { request.query } else { b"" };
            let detail = Detail::Location(&elsewhere.target, query);
            let common = permit(request, &elsewhere.shared, common);
            let lines = [&*elsewhere.shared.lines, &*elsewhere.lines];
            let page = Page::of(elsewhere.status);
            response::write_plain(&mut reply.head, elsewhere.status, common, lines, detail, page);
            finish_text(request, elsewhere.status, reply);
            Ok(elsewhere.status)
        }
        Resource::Refused(refusal) => Err((refusal.status, Detail::None)),
    }
}

/// Puts a refusal into `reply`.
pub fn refuse(
    request: &Request<'_>,
    shared: &Shared,
    status: Status,
    detail: Detail<'_>,
    common: Common<'_>,
    reply: &mut Reply,
) -> Status {
    let common = permit(request, shared, common);
    let page = shared.page(status);
    let shown = page.map_or(Page::of(status), |page| Page {
        content_type: &page.content_type,
        len: page.object.len(),
    });
    let lines = [&*shared.lines, b"".as_slice()];
    response::write_plain(&mut reply.head, status, common, lines, detail, shown);
    match page {
        None => finish_text(request, status, reply),
        Some(_) if request.method == Method::Head => reply.finish(None),
        Some(page) => reply.finish(Some((&page.object, 0, page.object.len()))),
    }
    status
}

/// Puts the answer to an OPTIONS into `reply`.
pub fn options(
    request: &Request<'_>,
    shared: &Shared,
    common: Common<'_>,
    reply: &mut Reply,
) -> Status {
    let common = permit(request, shared, common);
    let preflight =
        preflight(request, shared).map_or(b"".as_slice(), |cors| cors.preflight_fields());
    response::write_options(&mut reply.head, common, [&*shared.lines, preflight]);
    reply.finish(None);
    Status::NoContent
}

/// Who may read, if that is what a browser asks on behalf of a page that may.
fn preflight<'a>(request: &Request<'_>, shared: &'a Shared) -> Option<&'a Cors> {
    let cors = shared.cors.as_deref()?;
    match request.asker.origin {
        Field::Once(origin) if request.asker.is_preflight && cors.allows(origin) => Some(cors),
        _ => None,
    }
}

/// Names the origin that may read, where the response depends on it.
fn permit<'a>(request: &Request<'a>, shared: &Shared, common: Common<'a>) -> Common<'a> {
    let Some(cors) = shared.cors.as_ref().filter(|cors| cors.varies()) else { return common };
    match request.asker.origin {
        Field::Once(origin) if cors.allows(origin) => {
            Common { allowed_origin: Some(origin), ..common }
        }
        _ => common,
    }
}

fn finish_text(request: &Request<'_>, status: Status, reply: &mut Reply) {
    let head_len = reply.head.len();
    if request.method != Method::Head {
        reply.head.extend_from_slice(status.text().as_bytes());
    }
    reply.finish(None);
    reply.head_len = head_len;
}

/// Puts the answer of `file` to a GET or HEAD into `reply`.
fn answer_with_file(
    request: &Request<'_>,
    file: &FileEntry,
    prepared: Option<&Prepared>,
    common: Common<'_>,
    reply: &mut Reply,
) -> Result<Status, Instead> {
    let representation = choose(request, file)?;
    let Representation { object, entity } = representation;
    let common = permit(request, &file.shared, common);
    let head_only = request.method == Method::Head;
    let head = &mut reply.head;
    let selection = match conditional::evaluate(&request.conditions, entity.validators()) {
        Verdict::NotModified => {
            response::write_not_modified(head, common, entity);
            reply.finish(None);
            return Ok(Status::NotModified);
        }
        Verdict::Failed => return Err((Status::PreconditionFailed, Detail::None)),
        // Range handling is defined for GET alone (RFC 9110 §14.2).
        Verdict::Send { range_applies: true } if !head_only => {
            range::select(request.conditions.range, object.len())
        }
        Verdict::Send { .. } => Selection::Whole,
    };
    match selection {
        Selection::Whole => {
            let prepared = prepared.filter(|_| !head_only);
            let is_prepared = prepared.is_some_and(|prepared| {
                prepared.with_whole(representation, common, |whole| reply.finish_whole(whole))
            });
            if !is_prepared {
                response::write_whole(&mut reply.head, common, entity);
                let len = if head_only { 0 } else { object.len() };
                reply.finish(Some((object, 0, len)));
            }
            Ok(Status::Ok)
        }
        Selection::Part { start, len } => {
            response::write_part(head, common, entity, (start, len), object.len());
            reply.finish(Some((object, start, len)));
            Ok(Status::PartialContent)
        }
        Selection::Parts(ranges) => {
            send_parts(&ranges, object, entity, common, reply);
            Ok(Status::PartialContent)
        }
        Selection::Unsatisfiable => {
            Err((Status::RangeNotSatisfiable, Detail::Length(object.len())))
        }
    }
}

/// The representation that the client would rather have.
fn choose<'a>(request: &Request<'_>, file: &'a FileEntry) -> Result<&'a Representation, Instead> {
    let wanted = request.preferences.accept_encoding;
    // Without a weight nothing is refused, so where there is nothing to choose there is nothing to read.
    let is_plain = matches!(wanted, Field::Once(value) if memchr::memchr(b';', value).is_none());
    if wanted == Field::Absent || (file.coded.is_empty() && is_plain) {
        return Ok(&file.plain);
    }
    let available = file.coded.iter().map(|(coding, _)| *coding);
    match Encodings::of(wanted).choose(available) {
        Some(None) => Ok(&file.plain),
        Some(Some(coding)) => {
            let coded = file.coded.iter().find(|(other, _)| *other == coding);
            Ok(coded.map_or(&file.plain, |(_, coded)| coded))
        }
        None => Err((Status::NotAcceptable, Detail::Coding)),
    }
}

/// RFC 9110 §14.6, §15.3.7.2.
fn send_parts(
    ranges: &Ranges,
    object: &Arc<FileObject>,
    entity: &response::Entity,
    common: Common<'_>,
    reply: &mut Reply,
) {
    // No file can hold what nobody could know when it was written.
    static UNKNOWN: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    let number = UNKNOWN.hash_one((common.date, Arc::as_ptr(object) as usize));
    let boundary = format!("part-{number:016x}");
    let total = object.len();
    let mut head = std::mem::take(&mut reply.head);
    for (start, len) in ranges.iter() {
        response::write_part_front(&mut reply.head, entity, &boundary, (start, len), total);
        reply.finish(Some((object, start, len)));
    }
    response::write_parts_end(&mut reply.head, &boundary);
    reply.finish(None);
    let len = reply.parts.iter().map(Part::len).sum();
    response::write_multipart(&mut head, common, entity, &boundary, len);
    reply.head_len = head.len();
    reply.parts.insert(0, Part::Bytes(head));
}
