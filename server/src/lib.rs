//! Pagewire, the product: files over HTTP, one shard per core, on the user-level TCP or the kernel's.
//!
//! - `args`, `settings`, `config`, `failure`: what is said by flags, environment and file, what it means
//!   together, and why it cannot be done; `manual`: pages and completions from the same definition.
//! - `life`: from the start to the end, by signals and the service manager; `serve`: shards on their cores;
//!   `privilege`: what they may do; `stop`: their end; `counters`, `histogram`: what they did.
//! - `shard`: the loop between a [`Transport`](pagewire_stack::Transport) and the service.
//! - `service`, `answer`: requests to responses, of `http` (the protocol), `content` (the files) and `site` (what
//!   is served under which names, and by which rules).
//! - `access_log`: a line about each request.
//! - `control`: the kernel's view of the network.

pub mod access_log;
pub mod answer;
pub mod args;
pub mod config;
pub mod content;
pub mod control;
pub mod counters;
pub mod failure;
pub mod histogram;
pub mod http;
pub mod life;
pub mod manual;
pub mod privilege;
pub mod serve;
pub mod service;
pub mod settings;
pub mod shard;
pub mod site;
pub mod stop;
