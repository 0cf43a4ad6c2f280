//! The rungs: one architecture a file.

pub mod amped;
pub mod cgi;
pub mod deadline;
pub mod epoll;
pub mod fork;
pub mod herd;
pub mod iterative;
pub mod lazy;
pub mod minimal;
pub mod pagewire;
pub mod poll;
pub mod pool;
pub mod prefork;
pub mod reuseport;
pub mod scan;
pub mod select;
pub mod tasks;
pub mod thread;
pub mod uring;
