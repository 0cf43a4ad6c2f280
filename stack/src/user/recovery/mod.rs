//! The sender: what is sent when, what is taken for lost, and how fast it goes. Pure logic: no I/O, no
//! clock, nothing of smoltcp; `now` is an argument.
//!
//! A [`Sender`] counts a stream's bytes in 64 bits from its first; a FIN counts as one more. Whoever owns
//! it asks [`next`](Sender::next) what may be sent, says what was, passes on acknowledgements and looks at
//! [`timer`](Sender::timer). Parts, each by its RFC:
//!
//! - `scoreboard`: what is in flight (RFC 6675); `rack`: what of it is lost (RFC 8985);
//! - `rtt`: round-trip times and the timeout (RFC 6298);
//! - `repair`, `prr`: how a loss is repaired (RFC 6937); `undo`: repairs that were not needed, by
//!   timestamps (RFC 3522, 4015), duplicates reported (RFC 3708) and F-RTO (RFC 5682);
//! - `controller`, `cubic`, `hystart`: the window (RFC 6928, 9438, 9406, 7661); `pacing`: when;
//! - `path`: the segment size (RFC 1191, 8201, and RFC 8899's idea of black holes).
//!
//! A single segment in flight, as most answers are, is told by `una`, `next` and `last_sent` alone. A
//! `Flight` with a scoreboard is taken only when there is more to know: a second segment, a timer that has
//! run out, an acknowledgement of a part.
//!
//! Invariants: what is sent afresh never exceeds the congestion window or the peer's, but for one probe of
//! a closed window; nothing is allocated for a connection with nothing in flight; the work for an
//! acknowledgement is O(log n) plus a constant for each segment whose fate it changes.

mod acknowledge;
mod controller;
mod cubic;
mod flight;
mod hystart;
mod pacing;
mod path;
mod prr;
mod rack;
mod repair;
mod rtt;
mod scoreboard;
mod send;
mod timer;
mod undo;

#[cfg(test)]
mod tests;

use std::time::Duration;

use pagewire_driver::{Instant, prefetch};

use self::{
    controller::Window,
    flight::{Flight, Stage},
    pacing::Pacing,
    path::PathLimit,
    rack::Reordering,
    rtt::RoundTrip,
};

pub use self::{
    acknowledge::Ack,
    flight::FlightPool,
    send::{Cause, Chance},
    timer::Expired,
};

/// What a handshake has settled for the sender.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Largest payload of a segment, options already taken off.
    pub mss: u32,
    /// Whether the peer sends SACK blocks.
    pub has_sack: bool,
    /// The peer's window, in bytes.
    pub window: u32,
    /// The peer's sequence number with which it was offered.
    pub window_sequence: u32,
    /// How long the handshake took, if no part of it was sent twice.
    pub rtt: Option<Duration>,
    /// How often its timer has run out.
    pub timeouts: u8,
}

/// Something to be sent next although the windows may say otherwise.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Forced {
    /// A tail loss probe (RFC 8985 section 7).
    Tail,
    /// A probe of a closed window (RFC 9293 section 3.8.6.1).
    Window,
}

/// A tail loss probe: what was sent next behind it, modulo 2^32, and whether it was a retransmission.
#[derive(Clone, Copy, Debug)]
struct Probe {
    end: u32,
    again: bool,
}

/// One connection's sender. See the module.
#[derive(Debug)]
pub struct Sender {
    /// Everything before is acknowledged.
    una: u64,
    /// Everything before has been sent.
    next: u64,
    /// The peer's window ends here.
    window_end: u64,
    /// The largest window that the peer has offered.
    most_window: u32,
    /// The peer's sequence number with the last window update (SND.WL1).
    window_sequence: u32,
    window: Window,
    rtt: RoundTrip,
    pacing: Pacing,
    /// The retransmission timer runs from here.
    timer_from: Instant,
    /// When fresh data was last sent. Without a `flight` all that is in flight is one segment of that time.
    last_sent: Instant,
    /// A tail loss probe in flight.
    probe: Option<Probe>,
    path: PathLimit,
    reordering: Reordering,
    /// Segments sent again.
    retransmits: u32,
    /// How often the timer has run out without anything new.
    backoff: u8,
    has_sack: bool,
    forced: Option<Forced>,
    flight: Option<Box<Flight>>,
}

/// A sender's state for people and metrics.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RecoverySnapshot {
    /// Congestion window in bytes.
    pub cwnd: u64,
    /// Slow start threshold in bytes; `u64::MAX` before any congestion.
    pub threshold: u64,
    /// Bytes thought to be on the way.
    pub in_flight: u64,
    /// Offset of the first byte that is not acknowledged.
    pub una: u64,
    /// Offset of the first byte never sent.
    pub next: u64,
    /// How much the peer lets us send beyond what it has acknowledged.
    pub peer_window: u64,
    /// Smoothed round-trip time, once there is one.
    pub srtt: Option<Duration>,
    /// Its mean deviation.
    pub rttvar: Duration,
    /// The present retransmission timeout.
    pub timeout: Duration,
    /// Segment size in bytes.
    pub mss: u32,
    /// Pacing rate in bytes a second, once there is a round-trip time.
    pub pacing_bytes_per_s: Option<u64>,
    /// Segments sent again so far.
    pub retransmits: u32,
    /// Whether losses are being repaired.
    pub is_recovering: bool,
}

impl Default for Sender {
    fn default() -> Self {
        let terms = Terms {
            mss: 536,
            has_sack: false,
            window: 0,
            window_sequence: 0,
            rtt: None,
            timeouts: 0,
        };
        Self::new(Instant::ZERO, &terms)
    }
}

impl Sender {
    /// A sender that has sent nothing but its SYN, which is acknowledged.
    pub fn new(now: Instant, terms: &Terms) -> Self {
        let mut rtt =
            if terms.timeouts == 0 { RoundTrip::default() } else { RoundTrip::cautious() };
        let mut window = Window::new(terms.mss);
        if terms.timeouts > 1 {
            // RFC 6928 section 2: one may be an accident.
            window.cwnd = terms.mss.into();
        }
        if let Some(measured) = terms.rtt {
            rtt.sample(now, measured);
        }
        Self {
            una: 0,
            next: 0,
            window_end: terms.window.into(),
            most_window: terms.window,
            window_sequence: terms.window_sequence,
            window,
            rtt,
            pacing: Pacing::default(),
            timer_from: now,
            last_sent: now,
            probe: None,
            path: PathLimit::new(terms.mss),
            reordering: Reordering::default(),
            retransmits: 0,
            backoff: 0,
            has_sack: terms.has_sack,
            forced: None,
            flight: None,
        }
    }

    /// Largest payload of a segment in bytes.
    pub fn mss(&self) -> u32 {
        self.path.mss()
    }

    /// The largest window that the peer has offered, in bytes.
    pub fn most_window(&self) -> u32 {
        self.most_window
    }

    /// Offset of the first byte not acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.una
    }

    /// Offset of the first byte never sent.
    pub fn sent(&self) -> u64 {
        self.next
    }

    /// Whether something is to be sent again as soon as it may.
    pub fn has_lost(&self) -> bool {
        self.forced.is_some()
            || self.flight.as_ref().is_some_and(|flight| flight.board.next_lost().is_some())
    }

    /// Brings what is known of segments in flight towards the core's cache.
    pub fn prefetch(&self) {
        if let Some(flight) = &self.flight {
            prefetch(&**flight);
        }
    }

    /// The same for the first segments themselves, once that has arrived.
    pub fn prefetch_records(&self) {
        if let Some(flight) = &self.flight {
            flight.board.prefetch();
        }
    }

    /// Forgets everything in flight.
    pub fn clear(&mut self, pool: &mut FlightPool) {
        if let Some(flight) = self.flight.take() {
            pool.give(flight);
        }
        *self = Self::default();
    }

    /// The state for people and metrics.
    pub fn snapshot(&self) -> RecoverySnapshot {
        RecoverySnapshot {
            cwnd: self.window.cwnd,
            threshold: self.window.threshold,
            in_flight: self.in_flight(),
            una: self.una,
            next: self.next,
            peer_window: self.window_end.saturating_sub(self.una),
            srtt: self.rtt.smoothed(),
            rttvar: self.rtt.variation(),
            timeout: self.rtt.timeout(self.backoff),
            mss: self.mss(),
            pacing_bytes_per_s: self.rate().map(pacing::Rate::bytes_per_s),
            retransmits: self.retransmits,
            is_recovering: self.stage() != Stage::Open,
        }
    }

    fn stage(&self) -> Stage {
        self.flight.as_ref().map_or(Stage::Open, |flight| flight.stage)
    }

    /// Bytes thought to be in flight. Without SACK each duplicate acknowledgement stands for a segment.
    fn in_flight(&self) -> u64 {
        let Some(flight) = &self.flight else { return self.next - self.una };
        let flying = flight.board.flying_bytes();
        let arrived = u64::from(flight.duplicates) * u64::from(self.mss());
        flying.saturating_sub(arrived)
    }

    /// Takes a box for what is in flight, if anything is.
    fn unfold(&mut self, pool: &mut FlightPool) {
        if self.flight.is_none() && self.una < self.next {
            let mut flight = pool.take();
            let len = (self.next - self.una) as u32;
            flight.board.push(self.last_sent, self.una, len, len, false);
            flight.most = u64::from(len);
            self.flight = Some(flight);
        }
    }

    /// The pacing rate, once there is a round-trip time. A repair, during which the window follows what is
    /// in flight, is no slower than what it repairs (Linux: `tcp_update_pacing_rate`).
    fn rate(&self) -> Option<pacing::Rate> {
        let rtt = self.rtt.smoothed_us()?;
        let window = self.window.cwnd.max(self.next - self.una);
        Some(pacing::Rate::of(window, rtt, self.window.is_slow_start()))
    }

    /// Whether the peer's window is closed to anything new.
    fn is_shut(&self) -> bool {
        self.window_end <= self.una
    }
}
