//! What one thread does with one queue.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{
        atomic::{AtomicU8, Ordering},
        mpsc::Sender,
    },
    thread,
    time::Duration,
};

use core_affinity::CoreId;
use pagewire_driver::{
    BURST, Burst, Clock, Flush, Port, PortCounters, XdpConfig, XdpError, XdpPort,
};

use super::packet::{Template, turn_back};
use crate::cpu;

/// The longest sleep of a queue on which nothing arrives.
const NAP: Duration = Duration::from_millis(1);

/// What the thread does.
#[derive(Clone, Copy, Debug)]
pub enum Role {
    /// Sends as many frames as are taken, and drops what arrives.
    Generate(Template),
    /// Drops what arrives.
    Receive,
    /// Sends back what arrives.
    Echo,
}

/// Which part of a cell it is. Set by the one who measures.
#[derive(Debug, Default)]
pub struct Phase(AtomicU8);

impl Phase {
    const WARM_UP: u8 = 0;
    const MEASURE: u8 = 1;
    const END: u8 = 2;

    /// From now on it counts.
    pub fn measure(&self) {
        self.0.store(Self::MEASURE, Ordering::Relaxed);
    }

    /// It is over.
    pub fn end(&self) {
        self.0.store(Self::END, Ordering::Relaxed);
    }
}

/// What a thread did while it counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    /// What its port counted.
    pub counters: PortCounters,
    /// The thread's CPU time.
    pub time: Duration,
}

/// Opens the queue of `config` on `core`, announces its socket, and works until the end.
pub fn work(
    config: &XdpConfig,
    core: CoreId,
    role: Role,
    phase: &Phase,
    opened: &Sender<Result<(u32, OwnedFd), XdpError>>,
) -> Done {
    core_affinity::set_for_current(core);
    let duplicate = |port: XdpPort| match port.as_fd().try_clone_to_owned() {
        Ok(socket) => Ok((port, socket)),
        Err(source) => {
            Err(XdpError::System { action: "duplicate an AF_XDP socket".into(), source })
        }
    };
    match XdpPort::open(config).and_then(duplicate) {
        Ok((mut port, socket)) => {
            // Nobody listens any more if another queue could not be opened; then it is the end.
            let _ = opened.send(Ok((config.queue, socket)));
            turn_until_end(&mut port, role, phase).unwrap_or_default()
        }
        Err(error) => {
            let _ = opened.send(Err(error));
            Done::default()
        }
    }
}

fn turn_until_end(port: &mut XdpPort, role: Role, phase: &Phase) -> io::Result<Done> {
    let clock = Clock::start();
    let mut burst = Burst::new();
    let mut start = None;
    loop {
        match phase.0.load(Ordering::Relaxed) {
            Phase::WARM_UP => {}
            Phase::END => break,
            _ if start.is_some() => {}
            _ => start = Some((port.counters(), cpu::thread_time()?)),
        }
        let now = clock.now();
        port.receive(now, &mut burst);
        let mut idle = burst.is_empty();
        if let Role::Echo = role {
            for mut frame in burst.drain() {
                turn_back(&mut frame);
                // Dropped if it is refused; the far end misses it.
                let _ = port.transmit(frame);
            }
        } else {
            drop(burst.drain());
        }
        if let Role::Generate(template) = role {
            idle &= template.send(port, BURST) == 0;
        }
        let flushed = port.flush(now);
        match role {
            _ if !idle => {}
            Role::Receive | Role::Echo if flushed == Flush::Taken => {
                port.wait(now, Some(now + NAP));
            }
            // Without sleeping: what makes room is not announced. The core may be shared, though.
            _ => thread::yield_now(),
        }
    }
    let (before, time) = start.unwrap_or_default();
    let counters = difference(&port.counters(), &before);
    Ok(Done { counters, time: cpu::thread_time()?.saturating_sub(time) })
}

fn difference(after: &PortCounters, before: &PortCounters) -> PortCounters {
    PortCounters {
        received: after.received - before.received,
        sent: after.sent - before.sent,
        received_bytes: after.received_bytes - before.received_bytes,
        sent_bytes: after.sent_bytes - before.sent_bytes,
        kicks: after.kicks - before.kicks,
        back_pressure: after.back_pressure - before.back_pressure,
        kick_lost: after.kick_lost - before.kick_lost,
        link_down: after.link_down - before.link_down,
        no_memory: after.no_memory - before.no_memory,
        fill_empty: after.fill_empty - before.fill_empty,
        ring_full: after.ring_full - before.ring_full,
    }
}
