//! Streams over two TCP stacks behind one seam.
//!
//! [`Transport`] is all that a server or client knows of the network. `user` runs smoltcp on a
//! [`pagewire_driver::Port`]; `kernel` runs on the kernel's sockets. Both take whole responses made of
//! owned bytes and ranges of [`FileObject`]s, and keep partial writes, windows and the disk to
//! themselves.

mod disk;
mod file;
mod kernel;
mod mapping;
mod network;
mod observe;
pub mod pages;
mod source;
mod transport;
pub mod user;

pub use disk::{DiskPool, DiskReads, Full, Job, ResidencyCounters, open_page_map};
pub use file::{FileObject, IN_MEMORY_MAX, Identity};
pub use kernel::{ClosedCounters, KernelConfig, KernelCounters, KernelError, KernelStack};
pub use network::{Link, Neighbour, NetworkView, NextHop, Prefix, PrefixTooLong, Route};
pub use observe::{ConnectionState, ConnectionView, Figure, Kind, Observe};
pub use source::Source;
pub use transport::{
    Close, CloseReason, ConnectionId, Event, EventBatch, FileRange, Part, Parts, Refused, Transport,
};
