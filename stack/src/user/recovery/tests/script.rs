//! A sender, and what is sent and comes back, step by step.

use std::{ops::Range, time::Duration};

use pagewire_driver::Instant;

use crate::user::recovery::{
    Ack, Cause, Chance, Expired, FlightPool, RecoverySnapshot, Sender, Terms,
    acknowledge::Acknowledged,
};

pub const MSS: u32 = 1_000;
pub const RTT_MS: u64 = 100;
/// The peer's window.
pub const WINDOW: u32 = 1 << 20;

/// The segments from `first` to the one before `end`.
pub fn seg(first: u64, end: u64) -> Range<u64> {
    first..end
}

pub struct Script {
    pub sender: Sender,
    pub pool: FlightPool,
    pub now: Instant,
}

impl Script {
    pub fn new(has_sack: bool) -> Self {
        let now = Instant::from_millis(10_000);
        let rtt = Some(Duration::from_millis(RTT_MS));
        let terms =
            Terms { mss: MSS, has_sack, window: WINDOW, window_sequence: 0, rtt, timeouts: 0 };
        Self { sender: Sender::new(now, &terms), pool: FlightPool::default(), now }
    }

    pub fn wait(&mut self, ms: u64) -> Expired {
        self.now += Duration::from_millis(ms);
        self.sender.expire(self.now, false, &mut self.pool)
    }

    /// Goes to the next timer. Returns how long that was from `since`, and what it meant.
    pub fn timer(&mut self, since: Instant) -> (u64, Expired) {
        self.now = self.sender.timer(false).expect("a timer");
        ((self.now - since).as_millis() as u64, self.sender.expire(self.now, false, &mut self.pool))
    }

    /// Sends whole segments afresh as far as `most` goes and is allowed, pacing aside. Returns how many.
    pub fn fresh(&mut self, most: u64) -> u64 {
        let mut sent = 0;
        while sent < most {
            match self.sender.next(self.now, (most - sent) * u64::from(MSS)) {
                Chance::Fresh { len } => {
                    self.sender.sent_fresh(self.now, len, false, &mut self.pool);
                    sent += len / u64::from(MSS);
                }
                Chance::Later(at) => self.now = at,
                _ => break,
            }
        }
        sent
    }

    /// Sends again what is to be. Returns the segments' numbers and why.
    pub fn again(&mut self) -> Vec<(u64, Cause)> {
        let mut sent = Vec::new();
        loop {
            match self.sender.next(self.now, 0) {
                Chance::Again { offset, cause, .. } => {
                    self.sender.sent_again(self.now, self.now.millis() as u32);
                    sent.push((offset / u64::from(MSS), cause));
                }
                Chance::Later(at) => self.now = at,
                _ => return sent,
            }
        }
    }

    /// An acknowledgement of so many segments, and of these besides.
    pub fn ack(&mut self, segments: u64, blocks: &[Range<u64>]) -> Acknowledged {
        self.ack_with(segments, blocks, None, false)
    }

    pub fn ack_with(
        &mut self,
        segments: u64,
        blocks: &[Range<u64>],
        echo: Option<u32>,
        is_marked: bool,
    ) -> Acknowledged {
        let bytes = |segment: u64| segment * u64::from(MSS);
        let blocks: Vec<_> =
            blocks.iter().map(|block| bytes(block.start)..bytes(block.end)).collect();
        let ack = Ack {
            offset: bytes(segments),
            window: WINDOW,
            sequence: 0,
            blocks: &blocks,
            echo,
            has_data: false,
            is_marked,
        };
        self.sender.on_ack(self.now, &ack, &mut self.pool)
    }

    pub fn state(&self) -> RecoverySnapshot {
        self.sender.snapshot()
    }
}
