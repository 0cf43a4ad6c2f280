//! Ports on AF_XDP queues, and what has to be known about their interface.

mod chosen;
mod config;
mod error;
mod interface;
pub(crate) mod link;
mod open;
mod port;
mod rings;
mod socket;

pub use chosen::Chosen;
pub use config::{MAX_MTU, VETH_IN_FLIGHT, XdpConfig, ZeroCopy};
pub use error::XdpError;
pub use interface::Interface;
pub use port::XdpPort;
