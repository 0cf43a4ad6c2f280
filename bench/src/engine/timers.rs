//! Many stacks in one process, each with thousands of live timers: does a timer cost more than if all of
//! them were one stack's?
//!
//! Every connection has an answer outstanding that its client never acknowledges, so that its timers run
//! out again and again. Time goes on a millisecond at a time, and every stack has its turn each
//! millisecond, whether something is due or not: what those turns cost is shared out to the timers.
//!
//! What a timer leads to is out of the caches either way, and each of many stacks finds its own state out of them,
//! too. Two more figures tell what that comes to: going through bare memory in the same order, as much of it for
//! each stack and each timer, fetched ahead and with nothing done there, which tells what memory alone costs; and
//! one stack of the smallest ones alone, whose turns do the same with all that they need in the caches.
//!
//! A timer that has run out comes back after twice the time, so half of the turns that are measured find nothing
//! due.

use std::time::Duration;

use pagewire_driver::{BURST, Instant, prefetch};

use super::{
    EngineError,
    app::{Answers, App, stack_on_link},
    clients::Clients,
    keep_alive::PLAIN_REQUEST,
};
use crate::{cpu::Stopwatch, figures::Figure};

/// Timers of all stacks together.
pub const TIMERS: usize = 400_000;
/// Segments that the link of a stack holds until its clients look.
const LINK: usize = 800;
/// Milliseconds over which the requests are spread, and the timers with them.
const SPREAD_MS: usize = 1_000;
/// Milliseconds within which every timer must have run out.
const PATIENCE_MS: usize = 5_000;
/// How often one small stack is measured, whose timers have run out in a moment.
const TRIES_ALONE: u32 = 40;

/// Bytes of a cache line.
const LINE: usize = 64;
/// Lines that a turn touches of its stack's own.
const OF_STACK: usize = 64;
/// Lines of a connection, and of what it leads to: the answer, what is known of it in flight, the wheel's entry.
const OF_CONNECTION: usize = 7;
const LED_TO: usize = 9;
/// How far ahead of the timer at hand its memory is fetched.
const AHEAD: usize = 8;

/// What a timer took, in ns.
#[derive(Clone, Copy)]
struct Cost {
    all: f64,
    /// The same memory without anything done there.
    memory: f64,
}

/// Measures `timers` timers on each of these numbers of stacks.
pub fn measure(counts: &[usize], timers: usize) -> Result<Vec<Figure>, EngineError> {
    let (mut figures, mut costs) = (Vec::new(), Vec::new());
    for &count in counts {
        let cost = cost(count, timers / count, 1)?;
        costs.push(cost);
        figures.extend(rows(&format!("{count} stacks of {}", timers / count), cost));
    }
    let [first, .., last] = costs[..] else { return Ok(figures) };
    let small = timers / counts[counts.len() - 1];
    let alone = cost(1, small, TRIES_ALONE)?;
    figures.extend(rows(&format!("one stack of {small} alone"), alone));
    let ratio = |what: &str, value| {
        let name = format!("engine/timers/most stacks over {what}");
        Figure { name, value, unit: "ratio" }
    };
    figures.push(ratio("one", last.all / first.all));
    figures.push(ratio("one, the same memory alone", last.memory / first.memory));
    figures.push(ratio("a small one alone", last.all / alone.all));
    figures.push(ratio("a small one alone, the same memory", last.memory / alone.memory));
    Ok(figures)
}

fn rows(of: &str, cost: Cost) -> [Figure; 2] {
    [("time", cost.all), ("the same memory alone", cost.memory)].map(|(what, value)| {
        let name = format!("engine/timers/{of}/{what}");
        Figure { name, value, unit: "ns/timer" }
    })
}

/// Measures `count` stacks of `timers` each, `tries` times.
fn cost(count: usize, timers: usize, tries: u32) -> Result<Cost, EngineError> {
    let (mut busy, mut seen, mut memory) = (Duration::ZERO, 0, Duration::ZERO);
    for _ in 0..tries {
        let (time, expired) = measure_one(count, timers)?;
        busy += time;
        seen += expired;
        memory += bare_memory(count, timers);
    }
    let memory = memory.as_secs_f64() * 1e9 / (count * timers) as f64 / f64::from(tries);
    Ok(Cost { all: busy.as_secs_f64() * 1e9 / seen as f64, memory })
}

/// Goes once through memory as timers do of `count` stacks with `timers` each. Returns what that took.
fn bare_memory(count: usize, timers: usize) -> Duration {
    type Line = [u64; LINE / size_of::<u64>()];
    fn touch(lines: &mut [Line]) {
        for line in lines {
            line[0] += 1;
        }
    }
    let mut own = vec![[Line::default(); OF_STACK]; count];
    let mut connections = vec![[Line::default(); OF_CONNECTION]; count * timers];
    let mut led_to = vec![[Line::default(); LED_TO]; count * timers];
    // So that it is there.
    touch(own.as_flattened_mut());
    touch(connections.as_flattened_mut());
    touch(led_to.as_flattened_mut());
    let start = Stopwatch::start();
    for millisecond in 0..SPREAD_MS {
        for (stack, own) in own.iter_mut().enumerate() {
            touch(own);
            let due = (millisecond..timers).step_by(SPREAD_MS).map(|timer| stack * timers + timer);
            let mut ahead = due.clone();
            for timer in ahead.by_ref().take(AHEAD) {
                prefetch(&connections[timer]);
                prefetch(&led_to[timer]);
            }
            for timer in due {
                if let Some(next) = ahead.next() {
                    prefetch(&connections[next]);
                    prefetch(&led_to[next]);
                }
                touch(&mut connections[timer]);
                touch(&mut led_to[timer]);
            }
        }
    }
    let elapsed = start.elapsed();
    std::hint::black_box((own, connections, led_to));
    elapsed
}

/// Lets each timer run out twice: at first what a connection needs for that is put in place, which takes longer
/// than the timer. Returns what the second time took, and how many ran out.
fn measure_one(count: usize, timers: usize) -> Result<(Duration, u64), EngineError> {
    let mut stacks: Vec<(Answers, Clients)> = Vec::with_capacity(count);
    let mut now = Instant::from_millis(1);
    for _ in 0..count {
        let (stack, far, _) = stack_on_link(timers, false)?;
        let mut app = Answers::new(stack, vec![b'x'; 128], None);
        let mut clients = Clients::new(far, timers, false);
        clients.open(&mut app, &mut now)?;
        stacks.push((app, clients));
    }
    for millisecond in 0..SPREAD_MS {
        for (app, clients) in &mut stacks {
            let due: Vec<usize> = (millisecond..timers).step_by(SPREAD_MS).collect();
            for batch in due.chunks(BURST / 2) {
                for &index in batch {
                    clients.request(index, &PLAIN_REQUEST);
                }
                clients.flush(now);
                app.turn(now);
                app.turn(now);
                clients.collect(now);
            }
        }
        now += Duration::from_millis(1);
    }
    run_out(&mut stacks, timers, &mut now)?;
    run_out(&mut stacks, timers, &mut now)
}

/// Goes on until as many timers have run out as there are. Returns what that took, and how many did.
fn run_out(
    stacks: &mut [(Answers, Clients)],
    timers: usize,
    now: &mut Instant,
) -> Result<(Duration, u64), EngineError> {
    let expired = |stacks: &[(Answers, Clients)]| -> u64 {
        stacks.iter().map(|(app, _)| app.stack().counters().timers).sum()
    };
    let before = expired(stacks);
    let turns = (LINK * SPREAD_MS / timers).clamp(1, 20);
    let mut busy = Duration::ZERO;
    for _ in 0..PATIENCE_MS / turns {
        let start = Stopwatch::start();
        for _ in 0..turns {
            for (app, _) in &mut *stacks {
                app.turn(*now);
            }
            *now += Duration::from_millis(1);
        }
        busy += start.elapsed();
        for (_, clients) in &mut *stacks {
            clients.collect(*now);
        }
        let seen = expired(stacks) - before;
        if seen >= (stacks.len() * timers) as u64 {
            return Ok((busy, seen));
        }
    }
    Err(EngineError::Broken("timers do not run out".to_owned()))
}
