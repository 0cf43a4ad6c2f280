//! What paths lead to, ready to be sent: all that does not depend on the request is put together here,
//! once, by whoever looks at the file.

use std::sync::Arc;

use pagewire_stack::FileObject;

use super::prepared::CONTENT_MAX;
use crate::{
    http::{Status, negotiate::Coding, response::Entity},
    site::Cors,
};

/// What a path leads to.
#[derive(Debug)]
pub enum Resource {
    /// A file, the index of a directory included.
    File(FileEntry),
    /// The list of a directory.
    Listing(Listing),
    /// Another place.
    Elsewhere(Elsewhere),
    /// Nothing that can be sent.
    Refused(Refusal),
}

/// What all responses about a path have in common.
#[derive(Clone, Debug, Default)]
pub struct Shared {
    /// Whole lines of fields, for those that are no representation.
    pub lines: Box<[u8]>,
    /// Which pages of other origins may read.
    pub cors: Option<Arc<Cors>>,
    /// What people get to see of errors, where it is not the sentence of the status.
    pub pages: Box<[(Status, Arc<ErrorPage>)]>,
}

impl Shared {
    /// The page for an error, if there is one.
    pub fn page(&self, status: Status) -> Option<&ErrorPage> {
        self.pages.iter().find(|(of, _)| *of == status).map(|(_, page)| &**page)
    }
}

/// Bytes to send, and what their head says.
#[derive(Debug)]
pub struct Representation {
    /// The bytes.
    pub object: Arc<FileObject>,
    /// The head.
    pub entity: Entity,
}

/// A file ready to be sent.
#[derive(Debug)]
pub struct FileEntry {
    /// The file itself.
    pub plain: Representation,
    /// The coded files beside it, in order of preference.
    pub coded: Box<[(Coding, Representation)]>,
    /// What all responses about it have in common.
    pub shared: Shared,
}

/// The list of a directory.
#[derive(Debug)]
pub struct Listing {
    /// For people.
    pub html: FileEntry,
    /// For programs.
    pub json: FileEntry,
}

/// Another place.
#[derive(Debug)]
pub struct Elsewhere {
    /// How it is said.
    pub status: Status,
    /// The place.
    pub target: Box<[u8]>,
    /// Whether the query of the request follows it.
    pub keeps_query: bool,
    /// What all responses about the path have in common.
    pub shared: Shared,
    /// Whole lines of this response alone.
    pub lines: Box<[u8]>,
}

/// A response that says what is wrong.
#[derive(Debug)]
pub struct Refusal {
    /// What is wrong.
    pub status: Status,
    /// What all responses about the path have in common.
    pub shared: Shared,
}

/// A page that a site has for an error.
#[derive(Debug)]
pub struct ErrorPage {
    /// Its bytes, in memory.
    pub object: Arc<FileObject>,
    /// Its media type.
    pub content_type: String,
}

impl Representation {
    /// Small content is kept twice where it is asked for often.
    fn held_bytes(&self) -> usize {
        match self.object.memory() {
            Some(content) if content.len() <= CONTENT_MAX => {
                2 * (self.entity.held_bytes() + content.len())
            }
            content => self.entity.held_bytes() + content.map_or(0, <[u8]>::len),
        }
    }
}

impl FileEntry {
    /// All its representations.
    pub fn representations(&self) -> impl Iterator<Item = &Representation> {
        std::iter::once(&self.plain).chain(self.coded.iter().map(|(_, coded)| coded))
    }

    fn held_bytes(&self) -> usize {
        self.representations().map(Representation::held_bytes).sum()
    }
}

impl Resource {
    /// What all responses about the path have in common.
    pub fn shared(&self) -> &Shared {
        match self {
            Self::File(file) | Self::Listing(Listing { html: file, .. }) => &file.shared,
            Self::Elsewhere(elsewhere) => &elsewhere.shared,
            Self::Refused(refusal) => &refusal.shared,
        }
    }

    /// Memory that this keeps filled, in bytes. A large file is mapped and costs address space only.
    pub(super) fn held_bytes(&self) -> u64 {
        match self {
            Self::File(file) => file.held_bytes() as u64,
            Self::Listing(listing) => {
                (listing.html.held_bytes() + listing.json.held_bytes()) as u64
            }
            Self::Elsewhere(_) | Self::Refused(_) => 0,
        }
    }

    /// How many descriptors and mappings this keeps.
    pub(super) fn held_files(&self) -> u64 {
        let Self::File(file) = self else { return 0 };
        file.representations().filter(|it| it.object.descriptor().is_some()).count() as u64
    }

    /// Whether a transfer has met with a change of a file since it was looked at.
    pub(super) fn is_outdated(&self) -> bool {
        let Self::File(file) = self else { return false };
        file.representations().any(|it| it.object.is_outdated())
    }

    /// Whether this is a fact about the directory, rather than a want of means to look.
    pub(super) fn is_lasting(&self) -> bool {
        let Self::Refused(refusal) = self else { return true };
        !matches!(refusal.status, Status::Unavailable | Status::InternalError)
    }
}
