//! Operators' tools for Pagewire: a lab of network namespaces, an emulator of bad links for it, a
//! demonstration in it, a load generator, and a doctor for interfaces.
//!
//! The binary is `pw`; tests use [`lab::Lab`] as a library.

pub mod demo;
pub mod doctor;
pub mod emulator;
pub mod lab;
pub mod load;
pub mod system;
