//! What is done about what happens to an interface that is served on.
//!
//! Most of it the kernel announces by netlink. It does not announce that somebody has detached the steering
//! program, or has changed the number of queues: these are looked at every [`PULSE`].

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crossbeam_channel::Sender;
use pagewire_driver::{Interface, Steering, XdpError};

use super::{
    Loss, Trouble,
    link_watch::{Happening, LinkWatch},
};
use crate::{failure::Failure, privilege::Keeper};

/// How often to look at what nobody announces.
pub(super) const PULSE: Duration = Duration::from_secs(1);

/// An interface under care.
pub(super) struct Upkeep {
    /// Its name.
    pub(super) interface: String,
    /// What was last seen of it.
    pub(super) link: LinkWatch,
    /// How many queues it has to have; none if it does not matter.
    pub(super) queues: Option<usize>,
    /// The program on it.
    pub(super) steering: Arc<Mutex<Steering>>,
    /// Who may change the program.
    pub(super) keeper: Keeper,
    /// Where everything is counted.
    pub(super) trouble: Arc<Trouble>,
    /// Who is told that the server cannot go on.
    pub(super) report: Sender<Loss>,
}

impl Upkeep {
    /// Does what follows from something that has happened.
    pub(super) fn draw(&mut self, happening: Happening) {
        let interface = &self.interface;
        match happening {
            Happening::Down => {
                self.trouble.link_went_down();
                tracing::warn!("the link of {interface} is down");
            }
            Happening::Up => {
                self.trouble.link_is(true);
                tracing::info!("the link of {interface} is up again");
            }
            Happening::Lost => self.give_up(Loss::Vanished),
            Happening::Owner { address, alone } => {
                let owner = if alone { "pagewire alone" } else { "the kernel as well" };
                tracing::info!("{address} belongs to {owner} now");
                let steering = Arc::clone(&self.steering);
                let own = move || {
                    steering.lock().unwrap_or_else(PoisonError::into_inner).own(address, alone)
                };
                if let Err(error) = self.keeper.run(own).map(|owned| owned.map_err(Failure::from)) {
                    tracing::warn!("{error}");
                }
            }
        }
    }

    /// Looks at what nobody announces.
    pub(super) fn look(&mut self) {
        // If the interface is gone or another, netlink says so.
        let Ok(found) = Interface::find(&self.interface) else { return };
        if self.link.is_lost() || found.index != self.link.index() {
            return;
        }
        let (interface, queues) = (&self.interface, found.queues());
        if let Some(before) = self.queues.filter(|before| *before != queues as usize) {
            tracing::warn!(
                "{interface} has {queues} queues now and had {before}: all are served anew"
            );
            self.give_up(Loss::Queues);
            return;
        }
        let (steering, name) = (Arc::clone(&self.steering), interface.clone());
        let attach = move || {
            let mut steering = steering.lock().unwrap_or_else(PoisonError::into_inner);
            // A kernel that does not say is not one that has detached it.
            if steering.is_attached().unwrap_or(true) {
                return Ok(None);
            }
            steering.attach(&name).map(Some)
        };
        match self.keeper.run(attach) {
            Ok(Ok(None) | Err(XdpError::NoInterface { .. })) => {}
            Ok(Ok(Some(attached))) => {
                self.trouble.reattached();
                tracing::warn!(
                    "somebody has detached the steering program; attached again: {attached}"
                );
            }
            Ok(Err(error)) => {
                tracing::error!(
                    "somebody has detached the steering program, and it cannot be attached again: {error}"
                );
                self.give_up(Loss::Program);
            }
            Err(failure) => tracing::warn!("{failure}"),
        }
    }

    /// Says that the server cannot go on, once.
    fn give_up(&mut self, loss: Loss) {
        self.link.lose();
        self.trouble.lost(loss);
        let _ = self.report.try_send(loss);
    }
}
