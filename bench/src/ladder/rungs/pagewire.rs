//! Pagewire itself.

use std::{io, thread};

use pagewire::{config::Config, serve::Server};
use pagewire_tools::lab::INTERFACE;

use crate::ladder::{
    listener::CONGESTION_CONTROL,
    rung::{Cores, Limits, Place, Rung, Setting, Workers},
};

/// On the kernel's TCP.
pub const KERNEL: Rung = Rung {
    name: "pagewire-kernel",
    about: "pagewire serve, kernel transport, one shard",
    cores: Cores::One,
    workers: Workers::One,
    limits: Limits::NONE,
    place: Place::Loopback,
    serve: kernel,
};

/// The same, where the user stack is measured.
pub const KERNEL_LAB: Rung = Rung {
    name: "pagewire-kernel-veth",
    about: "the same on a veth pair, to hold the next against",
    place: Place::Lab,
    ..KERNEL
};

/// On the user-level stack.
pub const USER_LAB: Rung = Rung {
    name: "pagewire-user-veth",
    about: "pagewire serve, user-level TCP on one AF_XDP queue of a veth pair, one shard",
    place: Place::Lab,
    serve: user,
    ..KERNEL
};

fn kernel(setting: &Setting) -> io::Result<()> {
    let listen = setting.address.to_string();
    run(setting, &["--listen", &listen, "--congestion-control", CONGESTION_CONTROL])
}

fn user(setting: &Setting) -> io::Result<()> {
    let address = format!("{}/24", setting.address.ip());
    let port = setting.address.port().to_string();
    let words = ["--require-xdp", "--interface", INTERFACE, "--address", &address];
    run(setting, &[words.as_slice(), &["--port", &port, "--queues", "0"]].concat())
}

fn run(setting: &Setting, words: &[&str]) -> io::Result<()> {
    let core = setting.cores.first().copied().unwrap_or_default().to_string();
    // From three quarters of its room on it would close those that are idle.
    let connections = (setting.connections * 3 / 2 + 64).to_string();
    let directory = setting.directory.to_string_lossy();
    let common = ["pagewire", "serve", &directory, "--cores", &core, "--connections", &connections];
    let words = common.iter().chain(words).copied();
    let config = Config::of_command_line(words).map_err(io::Error::other)?;
    let server = Server::start(&config).map_err(io::Error::other)?;
    let address = server.addresses().first().copied().ok_or(io::ErrorKind::AddrNotAvailable)?;
    (setting.announce)(address)?;
    loop {
        thread::park();
    }
}
