//! The disk, kept away from pinned cores.
//!
//! - `pool`: a few helper threads that do what may block.
//! - `populate`: the system calls that ask for cached bytes and bring them in.
//! - `residency`: one core's questions: whether bytes can be read without
//!   waiting, and having them brought in if not.

mod pool;
mod populate;
mod residency;

pub use pool::{DiskPool, Full, Job};
pub use residency::ResidencyCounters;
pub(crate) use residency::{Answer, Completion, Residency};
