//! How many frames of what size an exchange has, and who may send the next one.

use pagewire_driver::Instant;

use super::trial::Measured;

/// What veth leaves out when it counts the bytes of a frame that NAPI receives: the Ethernet header.
const NOT_COUNTED: f64 = 14.0;
/// Headers that steering looks at: Ethernet, IPv4 and TCP.
const FRAME_LEAST: f64 = 54.0;
/// The largest frame of a wire-like link.
const FRAME_MOST: f64 = 1_514.0;

/// What one request and its response came to on the wire, on average.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exchange {
    /// Frames that the server received.
    pub requests: f64,
    /// The mean length of each, in bytes.
    pub request_bytes: usize,
    /// Frames that it sent.
    pub responses: f64,
    /// The mean length of each, in bytes.
    pub response_bytes: usize,
}

impl Exchange {
    /// The exchange of a run. Nothing if it exchanged nothing.
    pub fn of(measured: &Measured) -> Option<Self> {
        let frames = &measured.spent.frames;
        let one = |(count, bytes): (u64, u64)| {
            if count == 0 || measured.requests == 0 {
                return None;
            }
            let len = bytes as f64 / count as f64 + NOT_COUNTED;
            let len = len.clamp(FRAME_LEAST, FRAME_MOST);
            Some((count as f64 / measured.requests as f64, whole(len.round())))
        };
        let (requests, request_bytes) = one(frames.to_server)?;
        let (responses, response_bytes) = one(frames.to_client)?;
        Some(Self { requests, request_bytes, responses, response_bytes })
    }

    /// Frames that the server sends for each that it receives.
    pub fn answers(&self) -> f64 {
        self.responses / self.requests
    }
}

/// What is whole of a number that is not negative.
#[expect(clippy::cast_sign_loss, reason = "less than nothing is nothing, as the cast has it")]
pub fn whole(number: f64) -> usize {
    number as usize
}

/// Frames that are owed for others, when so many are due for each that need not be a whole number.
#[derive(Clone, Copy, Debug)]
pub struct Debt {
    each: f64,
    owed: f64,
}

impl Debt {
    /// Nothing owed, and `each` frames for every one that comes.
    pub fn new(each: f64) -> Self {
        Self { each, owed: 0.0 }
    }

    /// So many frames have come.
    pub fn incur(&mut self, frames: usize) {
        self.owed += self.each * frames as f64;
    }

    /// Frames that are due now.
    pub fn due(&self) -> usize {
        whole(self.owed)
    }

    /// One of them has been sent.
    pub fn pay(&mut self) {
        self.owed -= 1.0;
    }

    /// Nothing is owed any more.
    pub fn forgive(&mut self) {
        self.owed = 0.0;
    }
}

/// Frames that are due at even distances.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    per_s: f64,
    start: Instant,
    sent: f64,
}

/// What could not be sent in time is made up for up to so many frames: more would be a burst.
const BEHIND_MOST: f64 = 32.0;

impl Pace {
    /// So many frames a second from now on.
    pub fn new(per_s: f64, now: Instant) -> Self {
        Self { per_s, start: now, sent: 0.0 }
    }

    /// Frames that are due now.
    pub fn due(&mut self, now: Instant) -> usize {
        let all = now.since(self.start).as_secs_f64() * self.per_s;
        self.sent = self.sent.max(all - BEHIND_MOST);
        whole(all - self.sent)
    }

    /// So many of them have been sent.
    pub fn sent(&mut self, frames: usize) {
        self.sent += frames as f64;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::compare::{account::Spent, wire::Frames};

    #[test]
    fn an_exchange_is_the_mean_of_a_run() {
        let frames = Frames { to_server: (200, 20_000), to_client: (1_200, 1_380_000) };
        let spent = Spent { frames, ..Spent::default() };
        let measured = Measured { requests: 100, spent, ..Measured::default() };
        let exchange = Exchange::of(&measured).unwrap();
        assert!((exchange.requests - 2.0).abs() < 1e-9 && (exchange.answers() - 6.0).abs() < 1e-9);
        assert_eq!((exchange.request_bytes, exchange.response_bytes), (114, 1_164));
        assert_eq!(Exchange::of(&Measured::default()), None);
    }

    #[test]
    fn frames_are_due_at_even_distances_and_what_was_missed_is_no_burst() {
        let start = Instant::from_nanos(1_000_000);
        let mut pace = Pace::new(1e6, start);
        let mut sent = 0;
        for micros in 1..=1_000 {
            let due = pace.due(start + Duration::from_micros(micros));
            assert!(due <= 2, "{due} at {micros}");
            pace.sent(due);
            sent += due;
        }
        assert!((998..=1_000).contains(&sent), "{sent}");
        assert_eq!(pace.due(start + Duration::from_secs(1)), 32);
    }

    #[test]
    fn parts_of_frames_are_owed_until_they_are_whole() {
        let mut debt = Debt::new(1.5);
        let mut sent = 0;
        for _ in 0..1_000 {
            debt.incur(1);
            while debt.due() > 0 {
                debt.pay();
                sent += 1;
            }
        }
        assert_eq!(sent, 1_500);
    }
}
