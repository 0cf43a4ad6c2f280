//! Pagewire, the product: files over HTTP, one shard per core, on the user-level TCP or the kernel's.

pub mod content;
pub mod control;
pub mod counters;
pub mod http;
pub mod service;
pub mod shard;
pub mod stop;
