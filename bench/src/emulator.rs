//! `pagewire-bench emulator`: what one core of the lab's link emulator carries.
//!
//! Two kernels send to each other as fast as TCP lets them, through a link that only delays. Senders,
//! receivers and the emulator share the cores of this machine, so what passes is one figure, and what would
//! pass if the emulator had a core for itself is the other: by its own CPU time.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use clap::Parser;
use pagewire_tools::{
    emulator::{LinkConfig, LinkReport, WayCounters},
    lab::{Lab, LabConfig, SERVER, Side, Switch},
};

use crate::{cpu, error::BenchError, figures::Figure, interrupt, options::Common, output::print};

/// What one core of the link emulator should carry.
const GOAL_GBIT_PER_S: f64 = 1.0;

/// What the lab's link emulator carries on one core, in both directions at once
///
/// TCP of two kernels sends through it, wire-like: 1,514-byte frames without offloads. Needs root.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    common: Common,
}

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    link: LinkConfig,
}

/// Links, and what is on them: a delay alone, and all of it.
const LINKS: [(&str, &str); 2] = [
    ("delay", "--delay 1ms --seed 1"),
    (
        "delay, rate, loss, reordering",
        "--delay 1ms --rate 10gbit --queue 4000p --loss 0.01% --reorder 0.01% --seed 1",
    ),
];

/// Where the client's kernel is.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 2));

const PORT: u16 = 9_000;

/// How long it runs before it counts.
const WARM_UP: Duration = Duration::from_millis(500);

/// How long the emulator takes to make known what it has counted.
const REPORT_TIME: Duration = Duration::from_millis(150);

const NOTES: &str = "
carried: Ethernet frames in both directions together, on cores that senders and receivers share with the
emulator. a core: carried, divided by the CPU time that the emulator's thread took for it. lost: frames that
nobody asked it to lose, of 1,000 that came.";

/// Measures and prints.
///
/// # Errors
///
/// Without privileges, or when interrupted.
pub fn run(options: &Options) -> Result<(), BenchError> {
    let interrupted = interrupt::flag()?;
    let time = Duration::from_secs(if options.common.quick { 2 } else { 6 });
    let mut figures = Vec::new();
    for (name, flags) in LINKS {
        let words = ["link"].into_iter().chain(flags.split_whitespace());
        let link = Flags::try_parse_from(words)
            .map_err(|error| BenchError::Nothing(error.to_string()))?
            .link;
        let config =
            LabConfig { queues: Some(1), txrehash: Switch::Off, link, ..LabConfig::unique() };
        let lab = Lab::up(&config)?;
        let carried = carry(&lab, time, &interrupted)?;
        for (what, value, unit) in carried.figures() {
            let name = format!("emulator/{name}/{what}");
            print(&format!("{name:<56} {value:>8.2} {unit}"))?;
            figures.push(Figure { name, value, unit });
        }
        let met = if carried.per_core() >= GOAL_GBIT_PER_S { "met" } else { "not met" };
        print(&format!("goal ≥ {GOAL_GBIT_PER_S} Gbit/s a core: {met}"))?;
    }
    print(NOTES)?;
    options.common.write(&figures)
}

/// What passed.
#[derive(Clone, Copy, Debug)]
struct Carried {
    time: Duration,
    cpu: Duration,
    bytes: f64,
    frames: u64,
    lost: u64,
}

impl Carried {
    fn gigabits(&self) -> f64 {
        self.bytes * 8.0 / 1e9
    }

    fn per_core(&self) -> f64 {
        self.gigabits() / self.cpu.as_secs_f64().max(1e-9)
    }

    fn figures(&self) -> [(&'static str, f64, &'static str); 5] {
        let each_us = self.cpu.as_secs_f64() * 1e6 / self.frames.max(1) as f64;
        let lost = self.lost as f64 * 1e3 / (self.frames + self.lost).max(1) as f64;
        [
            ("carried", self.gigabits() / self.time.as_secs_f64(), "Gbit/s"),
            ("of a core", self.cpu.as_secs_f64() / self.time.as_secs_f64(), "cores"),
            ("a core", self.per_core(), "Gbit/s"),
            ("a frame", each_us, "us"),
            ("lost", lost, "of 1,000"),
        ]
    }
}

/// Lets both sides send to each other through the lab's link.
fn carry(lab: &Lab, time: Duration, interrupted: &AtomicBool) -> Result<Carried, BenchError> {
    let failed = BenchError::system("send through the link");
    let (over, received) = (AtomicBool::new(false), AtomicU64::new(0));
    let address = |side| match side {
        Side::Client => SocketAddr::new(CLIENT, PORT),
        _ => SocketAddr::new(SERVER[0], PORT),
    };
    let ends = [(Side::Server, Side::Client), (Side::Client, Side::Server)];
    let listen = |(_, to)| lab.within(to, || TcpListener::bind(address(to)));
    let mut listeners = Vec::new();
    for end in ends {
        listeners.push(listen(end)?.map_err(&failed)?);
    }
    let mut streams = Vec::new();
    for (from, to) in ends {
        streams.push(lab.within(from, || TcpStream::connect(address(to)))?.map_err(&failed)?);
    }
    thread::scope(|scope| {
        let _end = End(&over);
        let mut threads = Vec::new();
        for (stream, listener) in streams.iter().zip(&listeners) {
            threads.push(scope.spawn(|| send(stream, &over)));
            threads.push(scope.spawn(|| receive(listener, &received)));
        }
        thread::sleep(WARM_UP);
        let before = Sample::take(lab, &received)?;
        let start = Instant::now();
        while start.elapsed() < time && !interrupted.load(Relaxed) {
            thread::sleep(Duration::from_millis(20));
        }
        let after = Sample::take(lab, &received)?;
        over.store(true, Relaxed);
        for stream in &streams {
            // The other end may have gone already.
            let _ = stream.shutdown(Shutdown::Both);
        }
        for thread in threads {
            let outcome = thread.join().unwrap_or_else(|_| Err(io::Error::other("it panicked")));
            outcome.map_err(&failed)?;
        }
        if interrupted.load(Relaxed) {
            return Err(BenchError::Interrupted);
        }
        Ok(after.since(&before))
    })
}

/// Ends the senders, whatever happens.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Counts at one moment.
struct Sample {
    at: Instant,
    cpu: Duration,
    payload: u64,
    report: LinkReport,
}

impl Sample {
    fn take(lab: &Lab, received: &AtomicU64) -> Result<Self, BenchError> {
        thread::sleep(REPORT_TIME);
        let report = lab
            .link_report()
            .ok_or_else(|| BenchError::Nothing("the lab has no link emulator".to_owned()))?;
        let cpu = cpu::own_thread_time("pw-link");
        let cpu = cpu.map_err(BenchError::system("read the emulator's CPU time"))?;
        Ok(Self { at: Instant::now(), cpu, payload: received.load(Relaxed), report })
    }

    fn since(&self, before: &Self) -> Carried {
        /// Headers of a full frame beside its TCP data: Ethernet, IPv4, TCP with timestamps.
        const HEADERS: f64 = 1_514.0 / 1_448.0;
        let sum = |of: fn(&WayCounters) -> u64| {
            let count = |report: &LinkReport| report.iter().map(of).sum::<u64>();
            count(&self.report) - count(&before.report)
        };
        let payload = (self.payload - before.payload) as f64;
        Carried {
            time: self.at - before.at,
            cpu: self.cpu.saturating_sub(before.cpu),
            bytes: payload * HEADERS,
            frames: sum(|way| way.delivered),
            lost: sum(WayCounters::failures),
        }
    }
}

fn send(mut stream: &TcpStream, over: &AtomicBool) -> io::Result<()> {
    let block = vec![0x5a; 256 << 10];
    while !over.load(Relaxed) {
        match stream.write(&block) {
            Err(_) if over.load(Relaxed) => break,
            outcome => outcome.map(drop)?,
        }
    }
    Ok(())
}

fn receive(listener: &TcpListener, received: &AtomicU64) -> io::Result<()> {
    let (mut stream, _) = listener.accept()?;
    let mut block = vec![0; 256 << 10];
    loop {
        match stream.read(&mut block) {
            // The sender has ended, in peace or by a reset.
            Ok(0) | Err(_) => return Ok(()),
            Ok(len) => received.fetch_add(len as u64, Relaxed),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ends::{alone, holds, patiently};

    #[test]
    fn what_a_core_carries_is_by_the_emulators_own_time() {
        let carried = Carried {
            time: Duration::from_secs(2),
            cpu: Duration::from_millis(500),
            bytes: 1e9,
            frames: 999_000,
            lost: 1_000,
        };
        assert!((carried.per_core() - 16.0).abs() < 1e-9);
        let [carried, cores, core, frame, lost] = carried.figures().map(|(_, value, _)| value);
        assert!((carried - 4.0).abs() < 1e-9 && (cores - 0.25).abs() < 1e-9);
        assert!(
            (core - 16.0).abs() < 1e-9
                && (frame - 0.5005).abs() < 1e-3
                && (lost - 1.0).abs() < 1e-9
        );
    }

    #[test]
    fn both_directions_pass_the_link_and_are_charged() {
        if !pagewire_tools::lab::privileged() {
            return;
        }
        let _alone = alone();
        let words = ["link", "--delay", "1ms"];
        let link = Flags::try_parse_from(words).unwrap().link;
        let lab = Lab::up(&LabConfig { queues: Some(1), link, ..LabConfig::unique() }).unwrap();
        patiently(|| {
            let carried = carry(&lab, Duration::from_millis(500), &AtomicBool::new(false)).unwrap();
            let charged = carried.cpu > Duration::ZERO && carried.per_core() > 0.0;
            holds(&carried, &[carried.frames > 100, carried.bytes > 1e5, charged])
        });
    }
}
