//! The sender beside an exact model of a receiver, over links of every kind, in virtual time.

mod mechanisms;
mod receiver;
mod script;
mod seeds;
mod work;
mod world;
