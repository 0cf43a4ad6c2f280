//! One cell of the table: one kind of work, one frame size, one number of queues.

use std::{
    net::IpAddr,
    os::fd::AsFd,
    sync::mpsc::channel,
    thread,
    time::{Duration, Instant},
};

use pagewire_driver::{Served, Steering, XdpConfig};

use super::{
    link::Link,
    packet::{Fate, Template},
    worker::{self, Done, Phase, Role},
};
use crate::{cpu, ends::End, error::BenchError};

/// The TCP port that steering serves.
const PORT: u16 = 80;

/// How long a cell runs before it counts.
const WARM_UP: Duration = Duration::from_millis(200);

/// What the near end does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Work {
    /// Sends frames that the far end's kernel drops.
    Generate,
    /// Drops what the far end sends.
    Receive,
    /// Sends back what the far end sends.
    Echo,
}

impl Work {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Generate, Self::Receive, Self::Echo];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Generate => "generate",
            Self::Receive => "receive",
            Self::Echo => "echo",
        }
    }
}

/// One cell.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    /// What the near end does.
    pub work: Work,
    /// The frames' length.
    pub bytes: usize,
    /// How many queues take part.
    pub queues: u32,
}

/// What one end spent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// All that its cores were busy with.
    pub cores: Duration,
    /// The threads that own its queues.
    pub application: Duration,
    /// The kernel's receive threads, where there are any.
    pub receive: Duration,
}

/// What was measured.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// For how long.
    pub time: Duration,
    /// Frames that did all of their way, by queue.
    pub packets: Vec<u64>,
    /// Frames that were lost in kicks, at either end.
    pub kick_lost: u64,
    /// Frames that were dropped for want of memory or room in the RX ring, at either end.
    pub dropped: u64,
    /// What the near end spent.
    pub near: Cost,
    /// What the far end spent.
    pub far: Cost,
    /// What the cores of both ends could have spent.
    pub capacity: Duration,
}

impl Measured {
    /// Frames of all queues.
    pub fn total(&self) -> u64 {
        self.packets.iter().sum()
    }

    /// Which share of the cores went to other programs.
    pub fn others(&self) -> f64 {
        let others = |cost: &Cost| cost.cores.saturating_sub(cost.application + cost.receive);
        (others(&self.near) + others(&self.far)).as_secs_f64() / self.capacity.as_secs_f64()
    }
}

impl Cell {
    /// Runs the cell for `time` besides warming up.
    pub fn measure(&self, link: &Link, time: Duration) -> Result<Measured, BenchError> {
        let (near, far) = (&link.near, &link.far);
        let there = |from: &End, to: &End, fate| {
            let at = |end: &End| (end.mac, link.address(end));
            Role::Generate(Template::new(self.bytes, at(from), at(to), PORT, fate))
        };
        let roles = match self.work {
            Work::Generate => [Some(there(near, far, Fate::Dropped)), None],
            Work::Receive => [Some(Role::Receive), Some(there(far, near, Fate::Steered))],
            Work::Echo => [Some(Role::Echo), Some(there(far, near, Fate::Steered))],
        };
        let mut steerings = match self.work {
            Work::Generate => [None, None],
            Work::Receive => [Some(steer(link, near)?), None],
            Work::Echo => [Some(steer(link, near)?), Some(steer(link, far)?)],
        };
        let phase = Phase::default();
        thread::scope(|scope| {
            // Whatever happens, the threads are told to end before the scope waits for them.
            let _end = EndPhase(&phase);
            let mut threads = [vec![], vec![]];
            for (index, end) in [near, far].into_iter().enumerate() {
                let Some(role) = roles[index] else { continue };
                let (opened, sockets) = channel();
                for queue in 0..self.queues {
                    let (opened, phase) = (opened.clone(), &phase);
                    let core = end.cores[queue as usize % end.cores.len()];
                    let config = XdpConfig::new(&end.interface, queue);
                    let work = move || worker::work(&config, core, role, phase, &opened);
                    threads[index].push(
                        scope.spawn(move || link.lab().within(end.side, work).unwrap_or_default()),
                    );
                }
                for _ in 0..self.queues {
                    let (queue, socket) = sockets.recv().map_err(|_| LOST_THREAD())??;
                    if let Some(steering) = &mut steerings[index] {
                        steering.register(queue, socket.as_fd())?;
                    }
                }
            }
            for (steering, end) in steerings.iter_mut().zip([near, far]) {
                if let Some(steering) = steering {
                    link.lab().within(end.side, || steering.attach(&end.interface))??;
                }
            }
            let mut measured = observe(link, &phase, time)?;
            phase.end();
            let [near, far] = threads.map(|threads| {
                let done = threads.into_iter().map(|thread| thread.join().unwrap_or_default());
                done.collect::<Vec<_>>()
            });
            self.add_up(&mut measured, &near, &far);
            Ok(measured)
        })
    }

    fn add_up(&self, measured: &mut Measured, near: &[Done], far: &[Done]) {
        let received = |done: &Done| done.counters.received;
        measured.packets = match self.work {
            Work::Generate => {
                let sent = |done: &Done| done.counters.sent - done.counters.kick_lost;
                near.iter().map(sent).collect()
            }
            Work::Receive => near.iter().map(received).collect(),
            Work::Echo => far.iter().map(received).collect(),
        };
        for Done { counters, .. } in near.iter().chain(far) {
            measured.kick_lost += counters.kick_lost;
            measured.dropped += counters.no_memory + counters.ring_full;
        }
        measured.near.application = near.iter().map(|done| done.time).sum();
        measured.far.application = far.iter().map(|done| done.time).sum();
    }
}

/// The error for a thread that ended without a word.
const LOST_THREAD: fn() -> BenchError = || BenchError::System {
    action: "start a thread in the lab",
    source: std::io::Error::other("it ended"),
};

struct EndPhase<'a>(&'a Phase);

impl Drop for EndPhase<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

fn steer(link: &Link, end: &End) -> Result<Steering, BenchError> {
    let address = IpAddr::V4(link.address(end));
    let served = [Served { address, port: PORT, owned_alone: true }];
    Ok(link.lab().within(end.side, || Steering::load(&served))??)
}

/// Lets the cell warm up and run, and reads what the machine spent meanwhile.
fn observe(link: &Link, phase: &Phase, time: Duration) -> Result<Measured, BenchError> {
    let threads = link.place()?;
    let ends = [&link.near, &link.far];
    let spent = || -> Result<[Cost; 2], BenchError> {
        let mut costs = [Cost::default(); 2];
        for ((cost, end), threads) in costs.iter_mut().zip(ends).zip(&threads) {
            let action = "read what the cores did";
            cost.cores =
                cpu::busy(&end.cores).map_err(|source| BenchError::System { action, source })?;
            cost.receive = cpu::threads_time(threads);
        }
        Ok(costs)
    };
    thread::sleep(WARM_UP);
    let (start, before) = (Instant::now(), spent()?);
    phase.measure();
    thread::sleep(time);
    let after = spent()?;
    let elapsed = start.elapsed();
    let [near, far] = [0, 1].map(|end| Cost {
        cores: after[end].cores.saturating_sub(before[end].cores),
        receive: after[end].receive.saturating_sub(before[end].receive),
        application: Duration::ZERO,
    });
    let cores = ends.iter().map(|end| end.cores.len() as u32).sum::<u32>();
    Ok(Measured { time: elapsed, near, far, capacity: elapsed * cores, ..Measured::default() })
}

#[cfg(test)]
mod tests {
    use pagewire_tools::lab;

    use super::*;
    use crate::{
        ends::{alone, holds, patiently},
        pps::Placement,
    };

    #[test]
    fn frames_do_all_of_their_way_on_every_queue_in_every_kind_of_work() {
        if !lab::privileged() {
            return;
        }
        let _alone = alone();
        let link = Link::up(Placement::Pinned).unwrap();
        for work in Work::ALL {
            let cell = Cell { work, bytes: 512, queues: 2 };
            patiently(|| {
                let measured = cell.measure(&link, Duration::from_secs(1)).unwrap();
                assert_eq!(measured.packets.len(), 2, "{work:?}");
                let all = measured.packets.iter().all(|&count| count > 100);
                holds(&(work, &measured), &[all, measured.near.application > Duration::ZERO])
            });
        }
    }
}
