//! Operators' tools for Pagewire: a lab of network namespaces, and a demonstration in it.
//!
//! The binary is `pw`; tests use [`lab::Lab`] as a library.

pub mod demo;
pub mod lab;
pub mod system;
