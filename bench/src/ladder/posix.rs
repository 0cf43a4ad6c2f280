//! Forking and signals that interrupt: the two things for which there is no safe interface.
#![allow(unsafe_code)]

use std::{fs, io};

use nix::{
    sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction},
    unistd::{ForkResult, Pid, getppid},
};
use rustix::process::{Signal as DeathSignal, set_parent_process_death_signal};

/// The right to fork: a process that had one thread when it asked, and starts no others.
#[derive(Debug)]
pub struct Forker {
    process: Pid,
}

impl Forker {
    /// For a process with one thread.
    pub fn new() -> io::Result<Self> {
        match fs::read_dir("/proc/self/task")?.count() {
            1 => Ok(Self { process: Pid::this() }),
            threads => Err(io::Error::other(format!("a process of {threads} threads cannot fork"))),
        }
    }

    /// Runs `child` in a copy of this process, which ends with it, or with this process.
    pub fn fork(&self, child: impl FnOnce() -> io::Result<()>) -> io::Result<Pid> {
        // SAFETY: only a process with other threads may not run ordinary code in the child: these
        // could hold locks that nobody would release there. `new` has seen that there are none, and
        // the rungs that fork start none.
        match unsafe { nix::unistd::fork() }? {
            ForkResult::Parent { child } => Ok(child),
            ForkResult::Child => {
                let told = set_parent_process_death_signal(Some(DeathSignal::KILL));
                if told.is_err() || getppid() != self.process {
                    std::process::exit(1);
                }
                std::process::exit(i32::from(child().is_err()))
            }
        }
    }
}

/// Makes SIGALRM interrupt system calls, and do nothing else.
pub fn let_alarms_interrupt() -> io::Result<()> {
    extern "C" fn nothing(_signal: i32) {}
    let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing, which is safe at any point of any thread.
    unsafe { sigaction(Signal::SIGALRM, &action) }?;
    Ok(())
}
