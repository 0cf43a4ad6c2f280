//! Signals, in the words of those who send them to nginx.

use std::thread;

use crossbeam_channel::Receiver;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1},
    iterator::Signals,
};

use crate::failure::Failure;

/// What is asked for by a signal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ask {
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGUSR1: open log files again, for they have been moved away.
    Reopen,
    /// SIGQUIT: finish what is being sent, then end.
    Drain,
    /// SIGTERM, SIGINT: end at once.
    End,
}

/// What signals ask for from now on, in their order.
///
/// # Errors
///
/// If the system has no thread or pipe for it.
pub fn asked() -> Result<Receiver<Ask>, Failure> {
    let failed = |source| Failure::System { what: "handle signals", source };
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1]).map_err(failed)?;
    let (sender, receiver) = crossbeam_channel::unbounded();
    let pass_on = move || {
        for signal in signals.forever() {
            let ask = match signal {
                SIGHUP => Ask::Reload,
                SIGUSR1 => Ask::Reopen,
                SIGQUIT => Ask::Drain,
                _ => Ask::End,
            };
            let _ = sender.send(ask);
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(pass_on).map_err(failed)?;
    Ok(receiver)
}
