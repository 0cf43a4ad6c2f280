//! Pagewire as a process in a lab of network namespaces, end to end over veth.
//!
//! These tests need root: without it they say that they are skipped, and fail where `CI` is set.

mod client;
mod cold;
mod denied;
mod detach;
mod examples;
mod hopping;
mod interface;
mod paths;
mod privileges;
mod process;
mod reloads;
mod restart;
mod serving;
mod tampering;
