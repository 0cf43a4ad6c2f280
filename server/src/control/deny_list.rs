//! Sources that the steering program drops before they cost a core anything, changed while it runs.
//!
//! The list is the program's: a reload leaves it alone. It is handed on to the server that takes over where the
//! interface was lost (`life`), and ends with the process.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use pagewire_driver::{Steering, XdpError};
use pagewire_stack::Prefix;
use thiserror::Error;

/// Why the list cannot be had.
#[derive(Debug, Error)]
pub enum DenyError {
    /// Nothing stands before the kernel's TCP.
    #[error("there is no deny list: the kernel's TCP serves; its firewall has one")]
    KernelServes,
    /// The server is ending.
    #[error("the server is ending")]
    Ending,
    /// The program refuses.
    #[error("{0}")]
    Steering(#[from] XdpError),
}

/// The list of one server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DenyList {
    /// Weak, so that whoever holds the list does not keep the program on the interface.
    steering: Option<Weak<Mutex<Steering>>>,
}

impl DenyList {
    /// That of `steering`, if there is one.
    pub(super) fn new(steering: Option<Weak<Mutex<Steering>>>) -> Self {
        Self { steering }
    }

    /// Denies what comes from a network. Says whether it was not on the list before.
    ///
    /// # Errors
    ///
    /// Any [`DenyError`].
    pub fn add(&self, network: Prefix) -> Result<bool, DenyError> {
        let added = self.with(|list| list.deny(network.address(), network.length()))??;
        if added {
            tracing::info!("{} is denied", told(network));
        }
        Ok(added)
    }

    /// Takes a network off the list, as it was put there. Says whether it was on it.
    ///
    /// # Errors
    ///
    /// Any [`DenyError`].
    pub fn remove(&self, network: Prefix) -> Result<bool, DenyError> {
        let removed = self.with(|list| list.allow(network.address(), network.length()))??;
        if removed {
            tracing::info!("{} is no longer denied", told(network));
        }
        Ok(removed)
    }

    /// All of it, IPv4 first, in order.
    ///
    /// # Errors
    ///
    /// [`DenyError::KernelServes`] or [`DenyError::Ending`].
    pub fn all(&self) -> Result<Vec<Prefix>, DenyError> {
        let all = self.with(Steering::denied)?.into_iter();
        Ok(all.filter_map(|(address, bits)| Prefix::new(address, bits).ok()).collect())
    }

    fn with<T>(&self, act: impl FnOnce(&Steering) -> T) -> Result<T, DenyError> {
        let steering: Arc<Mutex<Steering>> = self
            .steering
            .as_ref()
            .ok_or(DenyError::KernelServes)?
            .upgrade()
            .ok_or(DenyError::Ending)?;
        let steering = steering.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(act(&steering))
    }
}

/// A network as people write it.
pub fn told(network: Prefix) -> String {
    format!("{}/{}", network.address(), network.length())
}
