//! Two ends of the link and what moves frames between them.

use std::{os::fd::AsFd, thread, time::Duration};

use pagewire_driver::{
    BURST, Burst, Clock, DelayLine, Flush, Impairment, Instant, Interface, LinkModel, Port,
    Steering, VETH_IN_FLIGHT, XdpConfig, XdpPort,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{EmulatorError, bystander::Bystander, counters::WayCounters, narrow, units::PathMtu};

/// The longest sleep, after which a wish to stop is seen.
const LONGEST_SLEEP: Duration = Duration::from_millis(50);

/// The longest sleep while frames are due that the far side has no room for.
const NAP: Duration = Duration::from_micros(50);

/// How long it rests after frames were moved, unless there is more work than that: moving those of this
/// time together saves most system calls, and makes a frame late by as much at most.
const REST: Duration = Duration::from_micros(25);

/// Frames that may come on each queue while the core is busy with others: 100 ms at a gigabit per second.
const BUFFERED: u32 = 8_192;

/// Most bytes under way in one direction: 200 ms at 20 Gbit/s.
const MOST_HELD_BYTES: usize = 512 << 20;

/// One interface with all its queues, every frame of which comes here.
struct End {
    queues: Vec<XdpPort>,
    /// Frames are staged, or were not all taken.
    unflushed: bool,
    /// Detaches when dropped.
    _steering: Steering,
}

/// A frame under way. In memory of its own, so that no queue of the interfaces need have the room for
/// all that is under way.
struct Carried {
    /// It leaves by the queue with the number of that by which it came: the spread over queues that the
    /// sender chose reaches the receiver.
    queue: usize,
    bytes: Box<[u8]>,
}

/// One direction.
struct Way {
    link: LinkModel,
    /// What it carries at most.
    path_mtu: Option<PathMtu>,
    /// What it has to say to senders, for the way back.
    complaints: Vec<Carried>,
    line: DelayLine<Carried>,
    held_bytes: usize,
    /// Due, but the far side had no room.
    stuck: Option<Carried>,
    bystander: Bystander,
    counters: WayCounters,
}

/// Both ends and both directions.
pub(super) struct Wire {
    clock: Clock,
    /// Frames that come by end `i` go the way `i`, to the other end.
    ends: [End; 2],
    ways: [Way; 2],
    burst: Burst,
}

impl Wire {
    /// Takes over two interfaces of this thread's network namespace.
    pub(super) fn open(
        interfaces: [&str; 2],
        impairment: Impairment,
        path_mtu: Option<PathMtu>,
        seeds: [u64; 2],
    ) -> Result<Self, EmulatorError> {
        let [one, other] = interfaces;
        Ok(Self {
            clock: Clock::start(),
            ends: [End::open(one)?, End::open(other)?],
            ways: seeds.map(|seed| Way::new(impairment, path_mtu, seed)),
            burst: Burst::new(),
        })
    }

    /// Now, on the link's own clock.
    pub(super) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Moves what has come and what is due, then sleeps until there is more, but never long.
    pub(super) fn turn(&mut self) -> Result<(), EmulatorError> {
        let mut most = 0;
        for (end, way) in self.ends.iter_mut().zip(&mut self.ways) {
            most = most.max(way.take(self.clock.now(), end, &mut self.burst));
        }
        let [there, back] = &mut self.ways;
        there.complain(self.clock.now(), back);
        back.complain(self.clock.now(), there);
        let [one, other] = &mut self.ends;
        for (way, to) in self.ways.iter_mut().zip([other, one]) {
            let now = self.clock.now();
            most = most.max(way.give(now, to));
            to.flush(now)?;
        }
        match most {
            0 => self.sleep(),
            1..BURST => {
                thread::sleep(REST);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Sleeps until a frame comes or is due.
    fn sleep(&self) -> Result<(), EmulatorError> {
        let now = self.clock.now();
        let next_due = self.ways.iter().filter_map(|way| way.line.next_due()).min();
        let mut time = next_due.map_or(LONGEST_SLEEP, |due| (due - now).min(LONGEST_SLEEP));
        if self.ways.iter().any(|way| way.stuck.is_some())
            || self.ends.iter().any(|end| end.unflushed)
        {
            time = NAP;
        }
        let ports = self.ends.iter().flat_map(|end| &end.queues);
        let mut descriptors: Vec<_> =
            ports.map(|port| PollFd::from_borrowed_fd(port.as_fd(), PollFlags::IN)).collect();
        let timeout = Timespec { tv_sec: 0, tv_nsec: time.subsec_nanos().into() };
        match poll(&mut descriptors, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(EmulatorError::Wait(error.into())),
        }
        let gone = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
        if descriptors.iter().any(|descriptor| descriptor.revents().intersects(gone)) {
            return Err(EmulatorError::Gone);
        }
        Ok(())
    }

    /// What each direction has done. Asks the kernel for its part.
    pub(super) fn counters(&self) -> [WayCounters; 2] {
        [0, 1].map(|i| {
            let (way, from, to) = (&self.ways[i], &self.ends[i], &self.ends[1 - i]);
            let mut counters = way.counters;
            counters.link = way.link.counters();
            counters.underway = way.line.len() as u64;
            counters.data_bytes = way.bystander.data_bytes;
            counters.repeated_bytes = way.bystander.repeated_bytes;
            for port in &from.queues {
                let port = port.counters();
                counters.not_taken += port.no_memory + port.ring_full;
            }
            counters.kick_lost = to.queues.iter().map(|port| port.counters().kick_lost).sum();
            counters
        })
    }
}

impl End {
    fn open(interface: &str) -> Result<Self, EmulatorError> {
        let mut steering = Steering::load_for_all()?;
        let queues = (0..Interface::find(interface)?.queues())
            .map(|queue| {
                let config = XdpConfig {
                    ring: BUFFERED,
                    fill: BUFFERED,
                    chunks: BUFFERED + VETH_IN_FLIGHT as u32,
                    // The server shall have them.
                    hugepages: false,
                    ..XdpConfig::new(interface, queue)
                };
                let port = XdpPort::open(&config)?;
                steering.register(queue, port.as_fd())?;
                Ok(port)
            })
            .collect::<Result<_, EmulatorError>>()?;
        steering.attach(interface)?;
        Ok(Self { queues, unflushed: false, _steering: steering })
    }

    fn flush(&mut self, now: Instant) -> Result<(), EmulatorError> {
        if !std::mem::take(&mut self.unflushed) {
            return Ok(());
        }
        for port in &mut self.queues {
            match port.flush(now) {
                Flush::Taken => {}
                Flush::BackPressure => self.unflushed = true,
                Flush::Down => return Err(EmulatorError::Gone),
            }
        }
        Ok(())
    }
}

impl Way {
    fn new(impairment: Impairment, path_mtu: Option<PathMtu>, seed: u64) -> Self {
        Self {
            link: LinkModel::new(impairment, seed),
            path_mtu,
            complaints: Vec::new(),
            line: DelayLine::default(),
            held_bytes: 0,
            stuck: None,
            bystander: Bystander::new(),
            counters: WayCounters::default(),
        }
    }

    /// Takes a burst from every queue of `from`. Says how many frames there were on the fullest.
    fn take(&mut self, now: Instant, from: &mut End, burst: &mut Burst) -> usize {
        let mut most = 0;
        for (queue, port) in from.queues.iter_mut().enumerate() {
            port.receive(now, burst);
            most = most.max(burst.len());
            for mut frame in burst.drain() {
                self.bystander.see(frame.bytes());
                let limit =
                    self.path_mtu.filter(|&limit| narrow::is_too_large(frame.bytes(), limit));
                if let Some(limit) = limit {
                    self.counters.too_large += 1;
                    let complaint = narrow::complaint(frame.bytes(), limit);
                    self.complaints
                        .extend(complaint.map(|bytes| Carried { queue, bytes: bytes.into() }));
                    continue;
                }
                self.pass(now, queue, frame.bytes_mut());
            }
        }
        most
    }

    /// Sends a frame on its way.
    fn pass(&mut self, now: Instant, queue: usize, frame: &mut [u8]) {
        let arrival = self.link.pass(now, frame);
        for due in [arrival.twin, arrival.frame].into_iter().flatten() {
            self.carry(due, Carried { queue, bytes: frame[..].into() });
        }
    }

    /// Says what there is to say to the senders, by the way back.
    fn complain(&mut self, now: Instant, back: &mut Self) {
        for mut complaint in self.complaints.drain(..) {
            back.pass(now, complaint.queue, &mut complaint.bytes);
        }
    }

    fn carry(&mut self, due: Instant, carried: Carried) {
        let len = carried.bytes.len();
        if self.held_bytes + len > MOST_HELD_BYTES {
            self.counters.not_held += 1;
            return;
        }
        self.held_bytes += len;
        self.line.push(due, carried);
    }

    /// Gives what is due to `to`, up to a burst. Says how many frames.
    fn give(&mut self, now: Instant, to: &mut End) -> usize {
        for given in 0..BURST {
            let Some(carried) = self.stuck.take().or_else(|| self.line.pop(now)) else {
                return given;
            };
            if !to.send(&carried) {
                self.stuck = Some(carried);
                return given;
            }
            self.held_bytes -= carried.bytes.len();
            self.counters.delivered += 1;
        }
        BURST
    }
}

impl End {
    /// Stages a frame for the next flush, unless there is no room.
    fn send(&mut self, carried: &Carried) -> bool {
        // Both ends have the same number of queues unless somebody changes that meanwhile.
        let queue = carried.queue % self.queues.len();
        let port = &mut self.queues[queue];
        let Some(mut frame) = port.allocate() else { return false };
        frame.copy_from(&carried.bytes);
        let sent = port.transmit(frame).is_ok();
        self.unflushed |= sent;
        sent
    }
}
