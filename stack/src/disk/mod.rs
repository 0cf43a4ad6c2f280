//! The disk, kept away from pinned cores.
//!
//! - `pool`: a few helper threads that do what may block.
//! - `discard`: taking things down elsewhere.
//! - `reads`: reading, and knowing whether the disk had to be waited for.
//! - `populate`: the system calls that ask for cached bytes and bring them in.
//! - `residency`: one core's questions: whether bytes can be read without waiting, and having them brought
//!   in if not; `read_ahead`: how far ahead of a transfer the disk is read.

mod discard;
mod pool;
mod populate;
mod read_ahead;
mod reads;
mod residency;

pub(crate) use discard::discard;
pub use pool::{DiskPool, Full, Job};
pub use populate::open_page_map;
pub(crate) use populate::populate;
pub use reads::DiskReads;
pub(crate) use reads::read_beginning;
pub use residency::ResidencyCounters;
pub(crate) use residency::{Answer, Completion, Residency, WINDOW};
