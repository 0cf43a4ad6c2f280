//! Ctrl-C, SIGTERM and SIGHUP as a flag, so that labs are taken down before the end.

use std::sync::{Arc, atomic::AtomicBool};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::error::BenchError;

/// A flag that is set when somebody wants the program to end.
pub fn flag() -> Result<Arc<AtomicBool>, BenchError> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&flag))
            .map_err(BenchError::system("listen for signals"))?;
    }
    Ok(flag)
}
