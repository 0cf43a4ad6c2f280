//! What the service manager is told: ready, reloading, stopping, alive. Nothing where there is none.
//!
//! The protocol is that of `sd_notify(3)` for `Type=notify-reload`. "Alive" is said only while every shard
//! makes turns: one that is stuck ends the watchdog's messages, and with that the service.

use std::time::Duration;

use crossbeam_channel::{Receiver, never, tick};
use sd_notify::NotifyState;

use crate::serve::Server;

/// How often shards are looked at within the watchdog's time. Two looks have to pass without a turn before a
/// shard counts as stuck.
const LOOKS: u32 = 4;

/// What the service manager's watchdog hears, if it has one.
#[derive(Debug)]
pub struct Watchdog {
    looks: Receiver<std::time::Instant>,
    pulses: Vec<Pulse>,
    was_alive: bool,
}

/// What was last seen of a shard.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Pulse {
    turns: u64,
    /// Looks since it last made a turn.
    missed: u32,
}

impl Pulse {
    /// Whether a shard that has made `turns` so far still makes turns. None has ended, as each does in a
    /// drain: it is not stuck.
    fn is_alive(&mut self, turns: Option<u64>) -> bool {
        let Some(turns) = turns else { return true };
        self.missed = if turns == self.turns { self.missed + 1 } else { 0 };
        self.turns = turns;
        self.missed < 2
    }
}

impl Watchdog {
    /// The one that the environment names.
    pub fn of_environment() -> Self {
        let looks = sd_notify::watchdog_enabled()
            .map_or_else(never, |time| tick((time / LOOKS).max(Duration::from_millis(1))));
        Self { looks, pulses: Vec::new(), was_alive: true }
    }

    /// When it is time to call [`look`](Self::look).
    pub fn looks(&self) -> &Receiver<std::time::Instant> {
        &self.looks
    }

    /// Says that all is well with a server that has nothing to do until its interface is back.
    pub fn rest(&mut self) {
        self.pulses.clear();
        tell(&[NotifyState::Watchdog]);
    }

    /// Says that the server is alive, if it is, and wakes shards that sleep, so that they show it.
    pub fn look(&mut self, server: &Server) {
        let turns: Vec<_> = server.turns().collect();
        self.pulses.resize(turns.len(), Pulse::default());
        let alive = self.pulses.iter_mut().zip(turns).map(|(pulse, turns)| pulse.is_alive(turns));
        // All of them, so that each has its look.
        let is_alive = alive.fold(true, |all, is_alive| all & is_alive);
        if is_alive {
            tell(&[NotifyState::Watchdog]);
        } else if self.was_alive {
            tracing::error!("a shard is stuck; the watchdog is not told that all is well");
        }
        self.was_alive = is_alive;
        server.wake();
    }
}

/// Says that the server is ready, also after a reload.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Says that a reload has begun.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!("cannot read the clock for the service manager: {error}"),
    }
}

/// Says how things are.
pub fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// Says that the server is ending.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("the service manager cannot be told {states:?}: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_stuck_if_it_makes_no_turn_between_two_looks() {
        let mut pulse = Pulse::default();
        let seen = [5, 5, 6, 6, 6, 6, 7].map(|turns| pulse.is_alive(Some(turns)));
        assert_eq!(seen, [true, true, true, true, false, false, true]);
    }

    #[test]
    fn a_shard_that_has_ended_is_not_stuck() {
        let mut pulse = Pulse::default();
        let seen = [Some(5), Some(5), None, None, None].map(|turns| pulse.is_alive(turns));
        assert_eq!(seen, [true; 5]);
    }
}
