//! Repairs that turn out not to have been needed are taken back: by timestamps (RFC 3522, 4015), by what the
//! peer reports as duplicates (RFC 3708), and by F-RTO after a timeout (RFC 5682).

use super::{
    Ack, Sender, Stage,
    acknowledge::News,
    flight::{Doubt, Flight},
};
use crate::user::sequence::ahead;

impl Sender {
    /// Whether the acknowledgement reports something that has come twice (RFC 2883).
    pub(super) fn reports_duplicate(&self, ack: &Ack<'_>) -> bool {
        let [first, rest @ ..] = ack.blocks else { return false };
        let inside = rest
            .first()
            .is_some_and(|second| second.start <= first.start && first.end <= second.end);
        let known = first.end <= ack.offset || inside;
        first.start < first.end && first.end <= self.next && known
    }

    /// What follows from a duplicate that is reported: reordering, or a retransmission too many.
    pub(super) fn duplicates(&mut self, ack: &Ack<'_>, flight: &mut Flight) -> bool {
        let duplicate = self.reports_duplicate(ack);
        if duplicate {
            flight.rack.widen(self.una, self.next, &mut self.reordering);
            self.reordering.seen = true;
            if let Some(undo) = &mut flight.undo {
                undo.unneeded = undo.unneeded.saturating_sub(1);
            }
        }
        duplicate
    }

    /// Takes back a reduction that has turned out to be spurious.
    pub(super) fn undo(&mut self, ack: &Ack<'_>, news: &News, duplicate: bool) -> bool {
        let (una, has_sack) = (self.una, self.has_sack);
        let Some(flight) = &mut self.flight else { return false };
        let Some(undo) = &flight.undo else { return false };
        let by_timestamp = match (undo.first, ack.echo) {
            // RFC 3522: the first retransmission is acknowledged, by the echo of something sent before it.
            (Some((end, timestamp)), Some(echo)) => una >= end && ahead(echo, timestamp) < 0,
            _ => false,
        };
        let by_duplicates = duplicate && undo.unneeded == 0 && undo.first.is_some();
        // RFC 5682 section 3: what was sent before the timeout, and only once, still arrives.
        let by_original = flight.stage == Stage::Timeout
            && match flight.doubt {
                Doubt::First => has_sack && news.original,
                Doubt::Second => news.original && news.bytes > 0,
                Doubt::None => false,
            };
        if !by_timestamp && !by_duplicates && !by_original {
            return false;
        }
        let before = undo.window;
        flight.undo = None;
        flight.stage = Stage::Open;
        flight.doubt = Doubt::None;
        flight.board.find_lost();
        self.window.restore(&before);
        true
    }

    /// F-RTO without SACK: the second acknowledgement tells (RFC 5682 section 2.1).
    pub(super) fn settle_doubt(&mut self, ack: &Ack<'_>, bytes: u64) {
        let has_sack = self.has_sack;
        let mss = u64::from(self.mss());
        let Some(flight) = &mut self.flight else { return };
        if flight.stage != Stage::Timeout || flight.doubt == Doubt::None || has_sack {
            return;
        }
        let goes_on = flight.doubt == Doubt::First && bytes > 0 && ack.offset < flight.stage_end;
        flight.doubt = if goes_on { Doubt::Second } else { Doubt::None };
        if goes_on {
            self.window.cwnd = flight.board.flying_bytes() + 2 * mss;
        }
    }
}
