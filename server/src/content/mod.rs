//! Files of the sites, as one core sees them.
//!
//! A core asks [`Content::lookup`] and either has its answer at once, from a bounded cache, or is told
//! to wait: then a helper thread opens and looks, and the answer comes back through a channel that the
//! core reads in its loop ([`Content::answered`]). The core itself never opens, stats or reads.
//!
//! What is cached was looked at less than a second ago, absent files included. An answer in use is
//! looked at again shortly before that second is over, so that it seldom has to be waited for.
//!
//! With an answer about a small file goes the whole response that most clients get (`prepared`).

mod cache;
mod catalogue;
mod listing;
mod prepared;
mod resolve;
mod resource;
mod root;
#[cfg(test)]
mod tests;

pub use cache::{Answered, CacheLimits, Content, ContentCounters, Found};
pub use catalogue::Catalogue;
pub use prepared::{Prepared, Whole};
pub use resource::{
    Elsewhere, ErrorPage, FileEntry, Listing, Refusal, Representation, Resource, Shared,
};
pub use root::RootError;
