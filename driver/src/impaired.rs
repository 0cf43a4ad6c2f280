//! A bad link in front of any port: what arrives is lost, delayed, reordered, and so on, by a seed.
//!
//! Only the receive side is touched, so a link that is bad in both directions has one of these at each
//! end. A frame passes, in this order: loss, corruption, duplication, a queue that drains at the
//! link's rate, delay. Time is the `now` of the calls alone: the same calls and the same seed give the
//! same frames at the same instants. Frames under way keep their chunk of the port's pool, so the pool
//! must hold the link's queue and bandwidth-delay product besides what the stack needs.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
    time::Duration,
};

use crate::{
    BURST, Burst, Flush, Frame, Instant, Port, PortCapabilities, PortCounters, Random, Waker,
};

/// Most bursts taken from the port below in one call, so that a flood cannot hold the caller.
const BURSTS_PER_RECEIVE: usize = 64;

/// What a link does to frames. The default does nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Impairment {
    /// Probability that a frame is lost.
    pub loss: f64,
    /// Probability that one bit of a frame, anywhere in it, is flipped.
    pub corruption: f64,
    /// Probability that a frame arrives twice.
    pub duplication: f64,
    /// How fast the link's queue drains, in bits of L2 frame per second; `None` is at once.
    pub rate_bits_per_s: Option<u64>,
    /// What the queue holds in front of the rate, in bytes of L2 frame; a frame that does not fit is
    /// dropped. `None` is without bound. Means nothing without a rate.
    pub queue_bytes: Option<u64>,
    /// How long every frame is under way.
    pub delay: Duration,
    /// Up to how much longer, evenly spread: frames closer than this may overtake each other.
    pub jitter: Duration,
    /// Probability that a frame is held back by [`reorder_delay`](Self::reorder_delay) besides.
    pub reorder: f64,
    /// How long a reordered frame is held back.
    pub reorder_delay: Duration,
}

/// What an [`Impaired`] port has done to frames.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ImpairmentCounters {
    /// Frames that came from the port below.
    pub arrived: u64,
    /// Frames handed on.
    pub delivered: u64,
    /// Frames lost at random.
    pub lost: u64,
    /// Frames with a bit flipped.
    pub corrupted: u64,
    /// Frames that were made twice.
    pub duplicated: u64,
    /// Frames not made twice because the pool had no chunk.
    pub not_duplicated: u64,
    /// Frames that found the queue full.
    pub queue_full: u64,
    /// Frames held back.
    pub reordered: u64,
}

/// A frame under way. Ordered by when it is due, then by when it came.
#[derive(Debug)]
struct Underway {
    due: Instant,
    number: u64,
    frame: Frame,
}

impl Underway {
    const fn key(&self) -> (Instant, u64) {
        (self.due, self.number)
    }
}

impl PartialEq for Underway {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Underway {}

impl PartialOrd for Underway {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Underway {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// A port whose received frames pass a bad link first.
#[derive(Debug)]
pub struct Impaired<P> {
    port: P,
    impairment: Impairment,
    random: Random,
    underway: BinaryHeap<Reverse<Underway>>,
    /// When the queue in front of the rate will be empty.
    drained: Instant,
    next_number: u64,
    arrivals: Burst,
    counters: ImpairmentCounters,
}

impl<P: Port> Impaired<P> {
    /// Puts a link with this `impairment` in front of `port`; `seed` decides all its random choices.
    pub fn new(port: P, impairment: Impairment, seed: u64) -> Self {
        Self {
            port,
            impairment,
            random: Random::new(seed),
            underway: BinaryHeap::new(),
            drained: Instant::ZERO,
            next_number: 0,
            arrivals: Burst::new(),
            counters: ImpairmentCounters::default(),
        }
    }

    /// Changes the link from now on. Frames under way arrive as they were going to.
    pub fn set_impairment(&mut self, impairment: Impairment) {
        self.impairment = impairment;
    }

    /// What the link has done so far.
    pub const fn impairment_counters(&self) -> ImpairmentCounters {
        self.counters
    }

    /// When the next frame under way is due. What the port below holds is not known here: it starts
    /// its way at the next [`receive`](Port::receive).
    pub fn next_release(&self) -> Option<Instant> {
        self.underway.peek().map(|Reverse(underway)| underway.due)
    }

    /// How many frames are under way.
    pub fn underway(&self) -> usize {
        self.underway.len()
    }

    /// The port below.
    pub const fn port(&self) -> &P {
        &self.port
    }

    /// The port below.
    pub const fn port_mut(&mut self) -> &mut P {
        &mut self.port
    }

    fn take_arrivals(&mut self, now: Instant) {
        for _ in 0..BURSTS_PER_RECEIVE {
            let mut arrivals = std::mem::take(&mut self.arrivals);
            self.port.receive(now, &mut arrivals);
            let full = arrivals.len() == BURST;
            for frame in arrivals.drain() {
                self.impair(now, frame);
            }
            self.arrivals = arrivals;
            if !full {
                return;
            }
        }
    }

    fn impair(&mut self, now: Instant, mut frame: Frame) {
        self.counters.arrived += 1;
        if self.random.chance(self.impairment.loss) {
            self.counters.lost += 1;
            return;
        }
        if self.random.chance(self.impairment.corruption) {
            self.counters.corrupted += 1;
            let bit = self.random.below(frame.len() as u64 * 8) as usize;
            frame.bytes_mut()[bit / 8] ^= 1 << (bit % 8);
        }
        if self.random.chance(self.impairment.duplication) {
            match self.port.allocate() {
                Some(mut twin) => {
                    twin.copy_from(frame.bytes());
                    self.counters.duplicated += 1;
                    self.queue(now, twin);
                }
                None => self.counters.not_duplicated += 1,
            }
        }
        self.queue(now, frame);
    }

    /// Lets `frame` drain at the link's rate, then puts it under way.
    fn queue(&mut self, now: Instant, frame: Frame) {
        let departure = match self.impairment.rate_bits_per_s {
            None => now,
            Some(rate_bits_per_s) => {
                let waiting = bytes_in(rate_bits_per_s, self.drained - now);
                let limit = self.impairment.queue_bytes.unwrap_or(u64::MAX);
                if waiting.saturating_add(frame.len() as u64) > limit {
                    self.counters.queue_full += 1;
                    return;
                }
                self.drained = now.max(self.drained) + time_of(rate_bits_per_s, frame.len());
                self.drained
            }
        };
        let jitter = u64::try_from(self.impairment.jitter.as_nanos()).unwrap_or(u64::MAX);
        let jitter = Duration::from_nanos(self.random.below(jitter));
        let mut due = departure + self.impairment.delay + jitter;
        if self.random.chance(self.impairment.reorder) {
            self.counters.reordered += 1;
            due += self.impairment.reorder_delay;
        }
        let number = self.next_number;
        self.next_number += 1;
        self.underway.push(Reverse(Underway { due, number, frame }));
    }
}

/// How long `bytes` take at this rate, rounded up to a nanosecond. A rate of nothing takes for ever.
fn time_of(rate_bits_per_s: u64, bytes: usize) -> Duration {
    let bit_nanos = bytes as u128 * 8 * 1_000_000_000;
    let nanos = bit_nanos.div_ceil(u128::from(rate_bits_per_s.max(1)));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// How many bytes drain in `time` at this rate, rounded down.
fn bytes_in(rate_bits_per_s: u64, time: Duration) -> u64 {
    let bits = time.as_nanos().saturating_mul(u128::from(rate_bits_per_s)) / 1_000_000_000;
    u64::try_from(bits / 8).unwrap_or(u64::MAX)
}

impl<P: Port> Port for Impaired<P> {
    fn capabilities(&self) -> &PortCapabilities {
        self.port.capabilities()
    }

    fn counters(&self) -> PortCounters {
        self.port.counters()
    }

    fn receive(&mut self, now: Instant, burst: &mut Burst) {
        self.take_arrivals(now);
        while burst.room() > 0 && self.next_release().is_some_and(|due| due <= now) {
            let Some(Reverse(underway)) = self.underway.pop() else { return };
            self.counters.delivered += 1;
            let Ok(()) = burst.push(underway.frame) else { return };
        }
    }

    fn credits(&self) -> usize {
        self.port.credits()
    }

    fn allocate(&mut self) -> Option<Frame> {
        self.port.allocate()
    }

    fn transmit(&mut self, frame: Frame) -> Result<(), Frame> {
        self.port.transmit(frame)
    }

    fn flush(&mut self, now: Instant) -> Flush {
        self.port.flush(now)
    }

    fn wait(&mut self, now: Instant, deadline: Option<Instant>) {
        let earliest = [deadline, self.next_release()].into_iter().flatten().min();
        self.port.wait(now, earliest);
    }

    fn waker(&self) -> Waker {
        self.port.waker()
    }
}

#[cfg(test)]
#[path = "impaired_tests.rs"]
mod tests;
