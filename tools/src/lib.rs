//! Operators' tools for Pagewire: a lab of network namespaces, a demonstration in it,
//! and a load generator.
//!
//! The binary is `pw`; tests use [`lab::Lab`] as a library.

pub mod demo;
pub mod lab;
pub mod load;
pub mod system;
