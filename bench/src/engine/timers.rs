//! Many stacks in one process, each with thousands of live timers: does a timer cost more than if all of
//! them were one stack's?
//!
//! Every connection has an answer outstanding that its client never acknowledges, so that its timers run
//! out again and again. Time goes on a millisecond at a time, and every stack has its turn each
//! millisecond, whether something is due or not: what those turns cost is shared out to the timers.
//!
//! Beside them one of the smallest stacks alone: it does as much in a turn as each of many does. What many cost
//! beyond that is the caches' part. Each finds what its last turn has used out of the core's own cache, and what it
//! has fetched ahead as well; with one or two timers in a turn there is little to do while it comes. What one
//! large stack saves beyond that is turns: it has hundreds of timers in each.
//!
//! A timer that has run out comes back after twice the time, so half of the turns that are measured find nothing
//! due.

use std::time::Duration;

use pagewire_driver::{BURST, Instant};

use super::{
    EngineError,
    app::{Answers, App, stack_on_link},
    clients::Clients,
    keep_alive::PLAIN_REQUEST,
};
use crate::{cpu::Stopwatch, figures::Figure};

/// Segments that the link of a stack holds until its clients look.
const LINK: usize = 800;
/// Milliseconds over which the requests are spread, and the timers with them.
const SPREAD_MS: usize = 1_000;
/// Milliseconds within which every timer must have run out.
const PATIENCE_MS: usize = 5_000;
/// How often one small stack is measured, whose timers have run out in a moment.
const TRIES_ALONE: u32 = 40;

/// Measures `timers` timers on each of these numbers of stacks.
pub fn measure(counts: &[usize], timers: usize) -> Result<Vec<Figure>, EngineError> {
    let (mut figures, mut costs) = (Vec::new(), Vec::new());
    for &count in counts {
        let cost = cost(count, timers / count, 1)?;
        costs.push(cost);
        figures.push(figure(&format!("{count} stacks of {}", timers / count), cost));
    }
    let ([first, .., last], [.., most]) = (&costs[..], counts) else { return Ok(figures) };
    let small = timers / most;
    let alone = cost(1, small, TRIES_ALONE)?;
    figures.push(figure(&format!("one stack of {small} alone"), alone));
    for (than, cost) in [("one", first), ("a small one alone", &alone)] {
        let name = format!("engine/timers/most stacks over {than}");
        figures.push(Figure { name, value: last / cost, unit: "ratio" });
    }
    Ok(figures)
}

fn figure(of: &str, value: f64) -> Figure {
    Figure { name: format!("engine/timers/{of}/time"), value, unit: "ns/timer" }
}

/// Nanoseconds that a timer takes on `count` stacks of `timers` each, measured `tries` times.
fn cost(count: usize, timers: usize, tries: u32) -> Result<f64, EngineError> {
    let (mut busy, mut seen) = (Duration::ZERO, 0);
    for _ in 0..tries {
        let (time, expired) = measure_one(count, timers)?;
        busy += time;
        seen += expired;
    }
    Ok(busy.as_secs_f64() * 1e9 / seen as f64)
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
    // Enough at once that asking for the time costs a small stack nothing.
    let turns = (LINK * SPREAD_MS / timers).clamp(1, 40);
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
