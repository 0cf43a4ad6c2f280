//! What operators see of a running server, and that whoever looks cannot hurt it.

mod fixture;
mod metrics;
mod socket;
