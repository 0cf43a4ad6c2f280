//! What runs beside the data path: the control thread's view of the kernel, and what operators see.
//!
//! Nothing here is ever done by a pinned core but answering a short question between two turns.
//!
//! - `netlink`: the kernel's addresses, routes and neighbours.
//! - `observer`: what can be seen of the shards.
//! - `protocol`, `socket`: how other processes ask for it; `metrics`: how Prometheus does.
//! - `visitors`: serving both to strangers who may be slow, hung or many.

pub mod netlink;
pub mod observer;
pub mod protocol;
pub mod socket;
pub mod visitors;
