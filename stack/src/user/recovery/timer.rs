//! When a sender is to be looked at although nothing has arrived: retransmission timeouts, tail loss
//! probes, reordering windows and closed windows.

use std::time::Duration;

use pagewire_driver::Instant;

use super::{
    FlightPool, Forced, Sender, Stage,
    flight::{Doubt, Undo},
    rtt::LEAST_TIMEOUT_NANOS,
};

/// Time allowed for a delayed acknowledgement of a single segment (RFC 8985 section 7.2: `WCDelAckT`).
/// In nanoseconds, as all times here.
const DELAYED_ACKNOWLEDGEMENT: u64 = 200_000_000;
const _: () = assert!(DELAYED_ACKNOWLEDGEMENT <= LEAST_TIMEOUT_NANOS);
/// Allowance for timers' grain, ours and the peer's.
const GRAIN: u64 = 2_000_000;

/// What a timer that has run out meant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Expired {
    /// Nothing was due yet.
    Nothing,
    /// A reordering window is over.
    Reordering,
    /// A tail loss probe is to be sent.
    Tail,
    /// A closed window is to be probed.
    Window,
    /// All that is in flight is taken for lost.
    Timeout,
}

/// Longest time between two probes of a closed window: well within the silence that a peer is allowed, so
/// that one who answers them keeps its connection (RFC 9293 section 3.8.6.1).
const PROBE_WITHIN: u64 = 10_000_000_000;

impl Sender {
    /// When [`expire`](Self::expire) is to be called. `unsent` says whether there is fresh data.
    pub fn timer(&self, unsent: bool) -> Option<Instant> {
        let wait = self.rtt.timeout_nanos(self.backoff);
        let wait = if self.is_shut() { wait.min(PROBE_WITHIN) } else { wait };
        let timeout = Instant::from_nanos(self.timer_from.nanos() + wait);
        if self.una == self.next {
            return (unsent && self.is_shut()).then_some(timeout);
        }
        let reorder_at = self.flight.as_ref().and_then(|flight| flight.reorder_at);
        let others = [self.tail_at(), reorder_at];
        others.into_iter().flatten().chain([timeout]).min()
    }

    /// A time before which [`timer`](Self::timer) is not, found without working that out: a single segment's
    /// probe and its timeout both allow for a delayed acknowledgement.
    pub fn timer_after(&self) -> Instant {
        if self.flight.is_some() || self.is_shut() {
            return Instant::ZERO;
        }
        Instant::from_nanos(self.timer_from.nanos().saturating_add(DELAYED_ACKNOWLEDGEMENT))
    }

    /// When a tail loss probe is due (RFC 8985 section 7.2). It comes before the retransmission timer, and
    /// in its place if that would be due first.
    fn tail_at(&self) -> Option<Instant> {
        let may = self.has_sack && self.probe.is_none() && self.forced.is_none() && !self.is_shut();
        let smoothed = self.rtt.smoothed_us().filter(|_| may)?;
        let mut slack = DELAYED_ACKNOWLEDGEMENT;
        if let Some(flight) = &self.flight {
            let board = &flight.board;
            let is_clean = board.received_records() == 0 && board.next_lost().is_none();
            if !matches!(flight.stage, Stage::Open | Stage::Reduced) || !is_clean {
                return None;
            }
            if !board.is_single() {
                slack = GRAIN;
            }
        }
        let from = self.last_sent.max(self.timer_from).nanos();
        Some(Instant::from_nanos(from + u64::from(smoothed) * 2_000 + slack))
    }

    /// Does what is due.
    pub fn expire(&mut self, now: Instant, unsent: bool, pool: &mut FlightPool) -> Expired {
        if self.timer(unsent).is_none_or(|at| at > now) || self.forced.is_some() {
            return Expired::Nothing;
        }
        self.unfold(pool);
        if let Some(flight) = &mut self.flight
            && flight.reorder_at.is_some_and(|at| at <= now)
        {
            flight.reorder_at = None;
            self.repair(now, 0, false);
            return Expired::Reordering;
        }
        if self.is_shut() {
            self.forced = Some(Forced::Window);
            self.backoff = self.backoff.saturating_add(1);
            self.timer_from = now;
            return Expired::Window;
        }
        if self.tail_at().is_some() {
            self.forced = Some(Forced::Tail);
            self.timer_from = now;
            return Expired::Tail;
        }
        self.time_out(now);
        Expired::Timeout
    }

    /// The retransmission timer has run out (RFC 6298 section 5, RFC 5681 section 3.1).
    fn time_out(&mut self, now: Instant) {
        let (mss, next, una) = (self.mss(), self.next, self.una);
        let Some(flight) = &mut self.flight else { return };
        let is_first = flight.stage != Stage::Timeout || self.backoff == 0;
        if is_first {
            let undo = flight.undo.take().filter(|_| flight.stage == Stage::Recovery);
            let window = undo.map_or(self.window, |undo| undo.window);
            if flight.stage != Stage::Recovery {
                self.window.reduce(mss);
            }
            flight.undo = Some(Undo { window, unneeded: 0, first: None });
            flight.stage_end = next;
            flight.doubt = Doubt::First;
        } else {
            flight.doubt = Doubt::None;
        }
        self.window.time_out();
        flight.stage = Stage::Timeout;
        flight.duplicates = 0;
        flight.reorder_at = None;
        // RFC 8985 section 6.3: what may still be on its way, as far as reordering is known, is not lost.
        let window = self.reordering.window(true, flight.board.received_records(), &self.rtt);
        let recent = (flight.rack.rtt() + window).max(Duration::from_nanos(1));
        let until = now.nanos().saturating_sub(recent.as_nanos() as u64);
        flight.board.lose_older(Instant::from_nanos(until));
        let front = flight.board.front().map_or(0, |front| front.len);
        self.window.cwnd = flight.board.flying_bytes() + u64::from(mss).max(front.into());
        self.probe = None;
        self.backoff = self.backoff.saturating_add(1);
        self.timer_from = now;
        debug_assert!(una < next);
        if self.path.suspect(now, self.backoff, front) {
            self.window.cwnd = self.window.cwnd.max(front.into());
            // Nothing as long as a segment has ever arrived.
            if una < mss.into() {
                flight.unlike_congestion = flight.undo.map(|undo| undo.window.threshold);
            }
        }
    }

    /// Somebody on the path has said, believably, that it carries no segments with more payload than this.
    /// What is longer is sent again in pieces; that is no congestion (RFC 8201 section 5.4).
    pub fn limit_segments(&mut self, now: Instant, mss: u32, pool: &mut FlightPool) -> bool {
        self.unfold(pool);
        let lowered = self.path.limit(now, mss);
        let mss = self.mss();
        if let Some(flight) = &mut self.flight
            && lowered
        {
            flight.board.lose_longer(mss);
            self.timer_from = now;
        }
        lowered
    }
}
