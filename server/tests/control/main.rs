//! What operators see of a running server, and that whoever looks cannot hurt it.

mod access_log;
mod fixture;
mod metrics;
mod process;
mod socket;
mod xdp;
