//! Operators' tools for Pagewire: a lab of network namespaces, an emulator of bad links for it, a
//! demonstration in it, and a load generator.
//!
//! The binary is `pw`; tests use [`lab::Lab`] as a library.

pub mod demo;
pub mod emulator;
pub mod lab;
pub mod load;
pub mod system;
