//! What has happened to the interface since the process started, counted over all servers that it has had.

use std::{
    fmt,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use pagewire_stack::Figure;

/// Why a server cannot go on with the queues and the program that it has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Loss {
    /// The interface is gone, or another has its name.
    Vanished,
    /// It has another number of queues, and all are to be served.
    Queues,
    /// The steering program was detached, and cannot be attached again.
    Program,
}

impl Loss {
    const ALL: [Self; 3] = [Self::Vanished, Self::Queues, Self::Program];

    /// What it is in metrics.
    const fn cause(self) -> &'static str {
        match self {
            Self::Vanished => "vanished",
            Self::Queues => "queues changed",
            Self::Program => "program detached",
        }
    }
}

const LOSSES: Figure = Figure::counter(
    "interface_losses",
    "Times that serving ended until the interface could be used again.",
);
const DETACHED: Figure = Figure::counter(
    "steering_detachments",
    "Times that somebody detached the steering program, and it was attached again.",
);
const DOWNS: Figure =
    Figure::counter("link_downs", "Times that the link of the interface went down.");
const LINK_UP: Figure = Figure::gauge("link_up", "Whether the interface carries frames.");
const FALLBACK: Figure =
    Figure::gauge("fallback", "Whether the kernel's TCP serves since AF_XDP cannot be had.");

/// See the module. Written by the control threads, read by anybody.
#[derive(Debug, Default)]
pub struct Trouble {
    losses: [AtomicU64; Loss::ALL.len()],
    /// Times that the program was detached and could be attached again.
    detached: AtomicU64,
    /// Times that the link went down.
    downs: AtomicU64,
    /// Whether the link is down.
    is_down: AtomicBool,
    /// Whether the kernel's TCP serves in place of the user-level stack.
    is_fallback: AtomicBool,
}

impl Trouble {
    /// Counts a loss.
    pub fn lost(&self, loss: Loss) {
        self.losses[loss as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a detached program that is attached again.
    pub(super) fn reattached(&self) {
        self.detached.fetch_add(1, Ordering::Relaxed);
    }

    /// Remembers whether the link is up.
    pub(super) fn link_is(&self, is_up: bool) {
        self.is_down.store(!is_up, Ordering::Relaxed);
    }

    /// Counts that it went down.
    pub(super) fn link_went_down(&self) {
        self.link_is(false);
        self.downs.fetch_add(1, Ordering::Relaxed);
    }

    /// Remembers whether the kernel's TCP serves in place of the user-level stack.
    pub(super) fn fallback_is(&self, is_fallback: bool) {
        self.is_fallback.store(is_fallback, Ordering::Relaxed);
    }

    /// All of it, for a server whose user-level stack has an interface or not.
    pub fn figures(&self, has_interface: bool) -> impl Iterator<Item = (Figure, u64)> + '_ {
        let losses = Loss::ALL.into_iter().zip(&self.losses);
        let losses = losses.map(|(loss, count)| (LOSSES.caused_by(loss.cause()), get(count)));
        let is_up =
            has_interface.then(|| (LINK_UP, u64::from(!self.is_down.load(Ordering::Relaxed))));
        let is_fallback = u64::from(self.is_fallback.load(Ordering::Relaxed));
        let rest =
            [(DOWNS, get(&self.downs)), (DETACHED, get(&self.detached)), (FALLBACK, is_fallback)];
        losses.chain(is_up).chain(rest)
    }
}

fn get(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

/// Those counts that are not zero, for people; nothing where all are.
impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [vanished, queues, program] = &self.losses;
        let counts = [
            ("the interface was lost", vanished),
            ("its queues changed", queues),
            ("its program was replaced", program),
            ("its program was detached", &self.detached),
            ("its link was down", &self.downs),
        ];
        let counts = counts.into_iter().filter(|(_, count)| get(count) > 0);
        for (index, (what, count)) in counts.enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            match get(count) {
                1 => write!(f, "{separator}{what} once")?,
                count => write!(f, "{separator}{what} {count} times")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_counted_by_cause_and_told() {
        let trouble = Trouble::default();
        assert_eq!(trouble.to_string(), "");
        trouble.lost(Loss::Vanished);
        trouble.lost(Loss::Vanished);
        trouble.lost(Loss::Program);
        trouble.reattached();
        trouble.link_went_down();
        trouble.link_is(true);
        trouble.link_went_down();
        assert_eq!(
            trouble.to_string(),
            "the interface was lost 2 times, its program was replaced once, \
             its program was detached once, its link was down 2 times"
        );
        let told: Vec<_> =
            trouble.figures(true).map(|(it, count)| (it.name, it.cause, count)).collect();
        assert_eq!(
            told,
            [
                ("interface_losses", Some("vanished"), 2),
                ("interface_losses", Some("queues changed"), 0),
                ("interface_losses", Some("program detached"), 1),
                ("link_up", None, 0),
                ("link_downs", None, 2),
                ("steering_detachments", None, 1),
                ("fallback", None, 0),
            ]
        );
        assert!(trouble.figures(false).all(|(figure, _)| figure.name != "link_up"));
    }
}
