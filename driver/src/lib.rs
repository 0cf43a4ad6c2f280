//! Frames in and out of one queue: the frame seam of Pagewire.
//!
//! Everything above this crate sees a [`Port`]: bursts of move-only [`Frame`]s on one queue. A port
//! is bound to its thread, and so are its frames; nothing here is shared between cores but a
//! [`Waker`]. Time is an argument ([`Instant`]); only [`Clock`] reads a clock, and no port does.
//!
//! - `frame`: the memory of a queue and the right to one chunk of it.
//! - `port`: the seam.
//! - `memory`: two ports wired to each other inside one process, in virtual or real time.
//! - `xdp`: ports on AF_XDP queues.
//! - `steering`: which packets come to these queues.
//! - `cause`: why they did.
//! - `link_model`: what a bad link does to frames, by a seed.
//! - `delay_line`: what is under way until it is due.
//! - `impaired`: a bad link in front of any port.
//! - `prefetch`: hints that memory will be needed soon, and loops that wait for that of many together.
//! - `random`: numbers that replay by their seed.
//! - `wake`: how another thread ends a port's sleep.

mod cause;
mod delay_line;
mod frame;
mod impaired;
mod link_model;
mod memory;
mod port;
mod prefetch;
mod random;
mod steering;
mod time;
mod wake;
mod xdp;

pub use cause::{Cause, SteeringCounters};
pub use delay_line::DelayLine;
pub use frame::{CHUNK_CAPACITY, Frame, Pool};
pub use impaired::{Impaired, ImpairmentCounters};
pub use link_model::{Arrival, BurstLoss, Impairment, LinkCounters, LinkModel, RateStep};
pub use memory::{MemoryConfig, MemoryPort, memory_link};
pub use port::{
    BURST, Burst, Checksums, Flush, MacAddress, Occupancy, Port, PortCapabilities, PortCounters,
    TransferMode,
};
pub use prefetch::{prefetch, prefetch_range, stages};
pub use random::Random;
pub use steering::{Attached, MOST_DENIED, STEERING_PROGRAM, Served, Steering, Verdict, XdpPlace};
pub use time::{Clock, Instant};
pub use wake::{Waker, wait_readable};
pub use xdp::{Chosen, Interface, MAX_MTU, VETH_IN_FLIGHT, XdpConfig, XdpError, XdpPort, ZeroCopy};
