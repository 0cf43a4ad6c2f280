//! The program as its users meet it: the ready line, signals, its settings, and what it says when it cannot
//! start.

mod endings;
mod manager;
mod process;
mod reloads;
mod unit;
mod usage;
