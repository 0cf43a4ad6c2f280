//! HTTP/1.1 for static files, without I/O: bytes in, decisions and bytes out.
//!
//! A request is parsed from one contiguous slice that holds its head and, where it has one, its whole
//! body; so there is no parser state between calls. Nothing here opens a file or reads a clock.
//!
//! - `parse`: bytes to [`Request`], with the framing rules of RFC 9112; `field`: its fields; `target`: what it is
//!   for; `body`: where its content ends.
//! - `path`: a request target to the key of a file below the root.
//! - `conditional`, `range`: what part of a representation a request asks for (RFC 9110 §13, §14);
//!   `negotiate`: which representation (§12).
//! - `response`: heads, written into a caller's buffer; `status`, `date`: their ingredients.

mod body;
pub mod conditional;
pub mod date;
mod field;
pub mod negotiate;
mod parse;
pub mod path;
pub mod range;
pub mod response;
mod status;
mod target;

pub use field::Field;
pub use parse::{
    Asker, Conditions, Limits, Method, Parsed, Preferences, Request, parse, worth_parsing,
};
pub use status::Status;
