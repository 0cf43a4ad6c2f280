//! Many stacks in one process, each with thousands of live timers: does a timer cost more than if all of
//! them were one stack's?
//!
//! Every connection has an answer outstanding that its client never acknowledges, so that its timers run
//! out again and again. Time goes on a millisecond at a time, and every stack has its turn each
//! millisecond, whether something is due or not: what those turns cost is shared out to the timers.

use std::time::Duration;

use pagewire_driver::{BURST, Instant};

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

/// Measures `timers` timers on each of these numbers of stacks.
pub fn measure(counts: &[usize], timers: usize) -> Result<Vec<Figure>, EngineError> {
    let mut figures = Vec::new();
    for &count in counts {
        let (busy, seen) = measure_one(count, timers / count)?;
        let name = format!("engine/timers/{count} stacks of {}/time", timers / count);
        let value = busy.as_secs_f64() * 1e9 / seen as f64;
        figures.push(Figure { name, value, unit: "ns/timer" });
    }
    if let [first, .., last] = &figures[..] {
        let name = "engine/timers/most stacks over one".to_owned();
        figures.push(Figure { name, value: last.value / first.value, unit: "ratio" });
    }
    Ok(figures)
}

/// Lets each timer run out once. Returns what that took, and how many ran out.
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
    let expired = |stacks: &[(Answers, Clients)]| -> u64 {
        stacks.iter().map(|(app, _)| app.stack().counters().timers).sum()
    };
    let before = expired(&stacks);
    let turns = (LINK * SPREAD_MS / timers).clamp(1, 20);
    let mut busy = Duration::ZERO;
    for _ in 0..PATIENCE_MS / turns {
        let start = Stopwatch::start();
        for _ in 0..turns {
            for (app, _) in &mut stacks {
                app.turn(now);
            }
            now += Duration::from_millis(1);
        }
        busy += start.elapsed();
        for (_, clients) in &mut stacks {
            clients.collect(now);
        }
        let seen = expired(&stacks) - before;
        if seen >= (count * timers) as u64 {
            return Ok((busy, seen));
        }
    }
    Err(EngineError::Broken("timers do not run out".to_owned()))
}
