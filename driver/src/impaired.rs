//! A bad link in front of any port: what arrives is lost, delayed, reordered, and so on, by a seed.
//!
//! Only the receive side is touched, so a link that is bad in both directions has one of these at each
//! end. Time is the `now` of the calls alone: the same calls and the same seed give the same frames at
//! the same instants. Frames under way keep their chunk of the port's pool, so the pool must hold the
//! link's queue and bandwidth-delay product besides what the stack needs.

use crate::{
    BURST, Burst, DelayLine, Flush, Frame, Impairment, Instant, LinkCounters, LinkModel, Occupancy,
    Port, PortCapabilities, PortCounters, Waker,
};

/// Most bursts taken from the port below in one call, so that a flood cannot hold the caller.
const BURSTS_PER_RECEIVE: usize = 64;

/// What an [`Impaired`] port has done to frames.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ImpairmentCounters {
    /// What was decided about those that came from the port below.
    pub link: LinkCounters,
    /// Frames handed on.
    pub delivered: u64,
    /// Frames not made twice because the pool had no chunk.
    pub not_duplicated: u64,
}

/// A port whose received frames pass a bad link first.
#[derive(Debug)]
pub struct Impaired<P> {
    port: P,
    link: LinkModel,
    underway: DelayLine<Frame>,
    arrivals: Burst,
    delivered: u64,
    not_duplicated: u64,
}

impl<P: Port> Impaired<P> {
    /// Puts a link with this `impairment` in front of `port`; `seed` decides all its random choices.
    pub fn new(port: P, impairment: Impairment, seed: u64) -> Self {
        Self {
            port,
            link: LinkModel::new(impairment, seed),
            underway: DelayLine::default(),
            arrivals: Burst::new(),
            delivered: 0,
            not_duplicated: 0,
        }
    }

    /// Changes the link from now on. Frames under way arrive as they were going to.
    pub fn set_impairment(&mut self, impairment: Impairment) {
        self.link.set_impairment(impairment);
    }

    /// What the link has done so far.
    pub const fn impairment_counters(&self) -> ImpairmentCounters {
        ImpairmentCounters {
            link: self.link.counters(),
            delivered: self.delivered,
            not_duplicated: self.not_duplicated,
        }
    }

    /// When the next frame under way is due. What the port below holds is not known here: it starts
    /// its way at the next [`receive`](Port::receive).
    pub fn next_release(&self) -> Option<Instant> {
        self.underway.next_due()
    }

    /// How many frames are under way.
    pub fn underway(&self) -> usize {
        self.underway.len()
    }

    /// The port below.
    pub const fn port(&self) -> &P {
        &self.port
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
        let arrival = self.link.pass(now, frame.bytes_mut());
        if let Some(due) = arrival.twin {
            match self.port.allocate() {
                Some(mut twin) => {
                    twin.copy_from(frame.bytes());
                    self.underway.push(due, twin);
                }
                None => self.not_duplicated += 1,
            }
        }
        if let Some(due) = arrival.frame {
            self.underway.push(due, frame);
        }
    }
}

impl<P: Port> Port for Impaired<P> {
    fn capabilities(&self) -> &PortCapabilities {
        self.port.capabilities()
    }

    fn counters(&self) -> PortCounters {
        self.port.counters()
    }

    fn occupancy(&self) -> Occupancy {
        self.port.occupancy()
    }

    fn receive(&mut self, now: Instant, burst: &mut Burst) {
        self.take_arrivals(now);
        while burst.room() > 0 {
            let Some(frame) = self.underway.pop(now) else { return };
            self.delivered += 1;
            let Ok(()) = burst.push(frame) else { return };
        }
    }

    fn credits(&self) -> usize {
        self.port.credits()
    }

    fn prefetch(&self, ahead: usize) {
        self.port.prefetch(ahead);
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
