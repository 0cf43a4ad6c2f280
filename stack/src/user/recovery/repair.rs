//! Losses are found, and the window is reduced for them once.

use pagewire_driver::Instant;

use super::{Ack, Flight, Probe, Sender, Stage, flight::Undo, prr::Prr};
use crate::user::sequence::ahead;

impl Sender {
    /// Finds losses, beside a hole that is known already, and begins to repair them. `delivered` is what the
    /// acknowledgement has brought. Says whether there were any.
    pub(super) fn repair(&mut self, now: Instant, delivered: u64, hole: bool) -> bool {
        let mut found = hole;
        if self.has_sack
            && let Some(flight) = &mut self.flight
        {
            flight.reorder_at = None;
            if overtaken_at(flight).is_some() {
                let recovering = matches!(flight.stage, Stage::Recovery | Stage::Timeout);
                let received = flight.board.received_records();
                let window = self.reordering.window(recovering, received, &self.rtt);
                while let Some(at) = overtaken_at(flight).map(|at| at + window) {
                    if at > now {
                        flight.reorder_at = Some(at);
                        break;
                    }
                    flight.board.lose_oldest();
                    found = true;
                }
            }
        }
        let Some(flight) = &self.flight else { return false };
        if found && matches!(flight.stage, Stage::Open | Stage::Reduced) {
            self.reduce(Stage::Recovery, delivered);
        }
        found
    }

    /// Reduces the window, but for a loss that follows a mark within the same round trip.
    pub(super) fn reduce(&mut self, stage: Stage, delivered: u64) {
        let (mss, next, una) = (self.mss(), self.next, self.una);
        let window = self.window;
        let Some(flight) = &mut self.flight else { return };
        if flight.stage == Stage::Open {
            // RFC 6937's RecoverFS, counted as its successor does: with what this acknowledgement brought,
            // without what had arrived before it.
            let before = flight.board.received_bytes();
            let outstanding = (next - una).saturating_sub(before) + delivered;
            flight.prr = Prr::begin(outstanding);
            flight.undo = Some(Undo { window, unneeded: 0, first: None });
            self.window.reduce(mss);
        }
        flight.stage = stage;
        flight.stage_end = next;
        self.probe = None;
    }

    /// RFC 8985 section 7.4: a probe that has filled a hole was a loss, of which nobody else will tell.
    pub(super) fn settle_probe(&mut self, ack: &Ack<'_>, bytes: u64, duplicate: bool) {
        let Some(Probe { end, again }) = self.probe else { return };
        let beyond = ahead(ack.offset as u32, end);
        if beyond < 0 {
            return;
        }
        if !again || duplicate || (bytes == 0 && ack.blocks.is_empty() && !ack.has_data) {
            self.probe = None;
        } else if beyond > 0 {
            self.probe = None;
            if self.stage() == Stage::Open {
                let mss = self.mss();
                self.window.reduce(mss);
                self.window.cwnd = self.window.cwnd.min(self.window.threshold);
            }
        }
    }
}

/// When the oldest segment in flight should have been delivered, if it has been overtaken.
fn overtaken_at(flight: &Flight) -> Option<Instant> {
    let oldest = flight.board.oldest_flying()?;
    flight.rack.overtaken_at(&oldest)
}
