//! Two stacks on two cores against one: cores share nothing but the machine's memory and caches.

use std::{
    sync::Barrier,
    thread::{self, ScopedJoinHandle},
    time::Duration,
};

use core_affinity::CoreId;

use super::{EngineError, keep_alive::plain_load, load::Spent};
use crate::figures::Figure;

/// How often alone and together take turns.
const ROUNDS: usize = 3;

/// Measures each core alone and both together, `count` connections and `time` of turns each. Without two
/// cores there is nothing to measure.
pub fn measure(cores: &[CoreId], count: usize, time: Duration) -> Result<Vec<Figure>, EngineError> {
    let [first, second, ..] = *cores else { return Ok(Vec::new()) };
    let phase = Barrier::new(2);
    let results = thread::scope(|scope| {
        let shard = |number, core| {
            let phase = &phase;
            scope.spawn(move || shard(number, core, count, time / ROUNDS as u32, phase))
        };
        [shard(0, first), shard(1, second)].map(ScopedJoinHandle::join)
    });
    let (mut alone, mut together, mut alone_wall, mut together_wall) = (0.0, 0.0, 0.0, 0.0);
    for result in results {
        let broken = |_| EngineError::Broken("a shard's thread panicked".to_owned());
        let Phases { by_itself, beside } = result.map_err(broken)??;
        alone += by_itself.rate() / 2.0;
        together += beside.rate();
        alone_wall += by_itself.wall_rate() / 2.0;
        together_wall += beside.wall_rate();
    }
    let figure = |what: &str, value, unit| {
        let name = format!("engine/two shards/{count} connections each/{what}");
        Figure { name, value, unit }
    };
    Ok(vec![
        figure("one", alone, "1/s"),
        figure("both", together, "1/s"),
        figure("both over one", together / alone, "ratio"),
        figure("both over one by the clock, with clients", together_wall / alone_wall, "ratio"),
    ])
}

#[derive(Default)]
struct Phases {
    by_itself: Spent,
    beside: Spent,
}

/// One shard's thread. Alone, then both: whoever has no turn sleeps at the barrier.
fn shard(
    number: usize,
    core: CoreId,
    count: usize,
    time: Duration,
    phase: &Barrier,
) -> Result<Phases, EngineError> {
    core_affinity::set_for_current(core);
    let mut load = plain_load(count).and_then(|mut load| load.warm_up().map(|()| load));
    // A shard that fails goes on to meet the other one at the barrier.
    let mut run = |into: &mut Spent| {
        let Ok(working) = &mut load else { return };
        match working.run(time) {
            Ok(spent) => into.add(spent),
            Err(error) => load = Err(error),
        }
    };
    let mut phases = Phases::default();
    for _ in 0..ROUNDS {
        for turn in 0..2 {
            phase.wait();
            if turn == number {
                run(&mut phases.by_itself);
            }
        }
        phase.wait();
        run(&mut phases.beside);
    }
    load.map(|_| phases)
}
