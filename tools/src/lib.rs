//! Operators' tools for Pagewire: a lab of network namespaces, an emulator of bad links for it, a
//! demonstration in it, a load generator, a doctor for interfaces, views of a running server, and its deny list.
//!
//! The binary is `pw`; tests use [`lab::Lab`] as a library.

pub mod connections;
pub mod control;
pub mod demo;
pub mod deny;
pub mod doctor;
pub mod emulator;
pub mod lab;
pub mod load;
mod quantity;
pub mod serving;
pub mod system;
pub mod top;
