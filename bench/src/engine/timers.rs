//! Many stacks in one process, each with thousands of live timers: does a timer cost more than if all of
//! them were one stack's?
//!
//! Every connection has an answer outstanding that its client never acknowledges, so that its timers run
//! out again and again. Time goes on a millisecond at a time, and every stack has its turn each
//! millisecond, whether something is due or not: what those turns cost is shared out to the timers.
//!
//! Beside them the same stacks with the same timers, each of which has many turns in a row, for time is its own:
//! nothing differs but what the core's caches hold when a turn begins. Where stacks have their turns one after the
//! other, each finds what its last turn used out of the caches, and what that has fetched ahead as well; with a few
//! timers in a turn there is little to do while it comes. What one large stack saves beyond that is turns: it has
//! hundreds of timers in each.
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
/// Most turns of a stack before its clients look, and the clock is read.
const MOST_TURNS: usize = 40;

/// Whose turn is next.
#[derive(Clone, Copy, Debug)]
enum Order {
    /// Everybody's each millisecond.
    OneAfterTheOther,
    /// The same stack's, up to [`MOST_TURNS`] times.
    InARow,
}

/// Measures `timers` timers on each of these numbers of stacks.
pub fn measure(counts: &[usize], timers: usize) -> Result<Vec<Figure>, EngineError> {
    let (mut figures, mut costs) = (Vec::new(), Vec::new());
    for &count in counts {
        let cost = measure_one(count, timers / count, Order::OneAfterTheOther)?;
        costs.push(cost);
        figures.push(figure(&format!("{count} stacks of {}", timers / count), cost));
    }
    let ([first, .., last], [.., most]) = (&costs[..], counts) else { return Ok(figures) };
    let small = timers / most;
    let in_a_row = measure_one(*most, small, Order::InARow)?;
    figures.push(figure(&format!("{most} stacks of {small}, turns in a row"), in_a_row));
    for (than, cost) in [("one", first), ("the same, turns in a row", &in_a_row)] {
        let name = format!("engine/timers/most stacks over {than}");
        figures.push(Figure { name, value: last / cost, unit: "ratio" });
    }
    Ok(figures)
}

fn figure(of: &str, value: f64) -> Figure {
    Figure { name: format!("engine/timers/{of}/time"), value, unit: "ns/timer" }
}

/// Lets each timer run out twice: at first what a connection needs for that is put in place, which takes longer
/// than the timer. Returns how many nanoseconds each takes the second time.
fn measure_one(count: usize, timers: usize, order: Order) -> Result<f64, EngineError> {
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
    run_out(&mut stacks, timers, &mut now, order)?;
    run_out(&mut stacks, timers, &mut now, order)
}

/// Goes on until as many timers have run out as there are. Returns how many nanoseconds each has taken.
fn run_out(
    stacks: &mut [(Answers, Clients)],
    timers: usize,
    now: &mut Instant,
    order: Order,
) -> Result<f64, EngineError> {
    let expired = |stacks: &[(Answers, Clients)]| -> u64 {
        stacks.iter().map(|(app, _)| app.stack().counters().timers).sum()
    };
    let before = expired(stacks);
    let turns = (LINK * SPREAD_MS / timers).clamp(1, MOST_TURNS);
    let mut busy = Duration::ZERO;
    for _ in 0..PATIENCE_MS / turns {
        let end = *now + Duration::from_millis(turns as u64);
        let start = Stopwatch::start();
        match order {
            Order::OneAfterTheOther => {
                for at in milliseconds(*now, turns) {
                    for (app, _) in &mut *stacks {
                        app.turn(at);
                    }
                }
            }
            Order::InARow => {
                for (app, _) in &mut *stacks {
                    for at in milliseconds(*now, turns) {
                        app.turn(at);
                    }
                }
            }
        }
        busy += start.elapsed();
        *now = end;
        for (_, clients) in &mut *stacks {
            clients.collect(end);
        }
        let seen = expired(stacks) - before;
        if seen >= (stacks.len() * timers) as u64 {
            return Ok(busy.as_secs_f64() * 1e9 / seen as f64);
        }
    }
    Err(EngineError::Broken("timers do not run out".to_owned()))
}

/// So many points in time, the first of which is `from`.
fn milliseconds(from: Instant, count: usize) -> impl Iterator<Item = Instant> {
    (0..count as u64).map(move |after| from + Duration::from_millis(after))
}
