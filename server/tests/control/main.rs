//! What operators see of a running server, and that whoever looks cannot hurt it.

mod access_log;
mod fixture;
mod full_disk;
mod metrics;
mod process;
mod socket;
mod xdp;
