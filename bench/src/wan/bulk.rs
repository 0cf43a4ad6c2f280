//! One flow that sends as much as it can: goodput, bytes sent again, and the queue it makes.

use std::{collections::BTreeMap, time::Duration};

use super::{
    cell::Bulk,
    crew::Crew,
    download,
    scene::{BULK_FILE, Scene, Sender, Stage},
};
use crate::error::BenchError;

/// What one sender has come to on one link.
#[derive(Clone, Copy, Debug, Default)]
pub struct Run {
    /// Bytes that the receiver had, over the time.
    pub mbit_per_s: f64,
    /// Which share of the data was sent again.
    pub repeated: f64,
    /// How long a frame waited in the link's queue, in the mean.
    pub queued_ms: f64,
    /// Frames that the emulator lost although nobody asked it to.
    pub disturbed: u64,
}

/// The runs of both senders over one link of one seed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pair {
    /// By [`Sender`].
    pub runs: [Run; 2],
}

impl Pair {
    /// A sender's run.
    pub fn of(&self, sender: Sender) -> &Run {
        &self.runs[sender as usize]
    }

    /// Goodput of ours over that of Linux.
    pub fn ratio(&self) -> f64 {
        self.of(Sender::Ours).mbit_per_s / self.of(Sender::Linux).mbit_per_s.max(1e-9)
    }
}

/// Is told each cell's pairs.
type Told<'a> = dyn FnMut(&Bulk, &[Pair]) -> Result<(), BenchError> + 'a;

/// Measures all cells, and tells `done` each one's pairs, in the order of the cells.
pub fn measure(
    crew: &Crew<'_>,
    cells: &[Bulk],
    rounds: u32,
    time: Duration,
    done: &mut Told<'_>,
) -> Result<(), BenchError> {
    let jobs: Vec<_> =
        cells.iter().flat_map(|cell| (0..rounds).map(move |round| (*cell, round))).collect();
    let mut pairs: BTreeMap<usize, Vec<Pair>> = BTreeMap::new();
    let mut next = 0;
    let work = |(cell, round): &(Bulk, u32), core| pair(crew.stage, cell, *round, time, core);
    crew.work("goodput", jobs, work, &mut |number, pair| {
        pairs.entry(number / rounds as usize).or_default().push(pair);
        while let Some(of_cell) = pairs.get(&next).filter(|pairs| pairs.len() == rounds as usize) {
            done(&cells[next], of_cell)?;
            next += 1;
        }
        Ok(())
    })
}

/// Both senders, one after the other; every other time the other one first.
fn pair(
    stage: &Stage,
    cell: &Bulk,
    round: u32,
    time: Duration,
    core: usize,
) -> Result<Pair, BenchError> {
    let mut pair = Pair::default();
    let mut order = Sender::ALL;
    order.rotate_left(round as usize % 2);
    for sender in order {
        pair.runs[sender as usize] = run(stage, cell, u64::from(round) + 1, sender, time, core)?;
    }
    Ok(pair)
}

fn run(
    stage: &Stage,
    cell: &Bulk,
    seed: u64,
    sender: Sender,
    time: Duration,
    core: usize,
) -> Result<Run, BenchError> {
    let scene = Scene::up(stage, cell.link, seed, &[sender], core)?;
    let bytes = scene
        .at_receiver(|| download::for_a_time(sender, BULK_FILE, time, &stage.interrupted))?
        .map_err(BenchError::system("receive from the server"))?;
    stage.check()?;
    let link = scene.link_report();
    scene.down()?;
    Ok(Run {
        mbit_per_s: bytes as f64 * 8.0 / time.as_secs_f64() / 1e6,
        repeated: link.repeated_share(),
        queued_ms: link.mean_wait().as_secs_f64() * 1e3,
        disturbed: link.failures(),
    })
}

#[cfg(test)]
mod tests {
    use pagewire_tools::lab;

    use super::{super::cell::BULK, *};
    use crate::{
        ends::{alone, holds, patiently},
        interrupt, product,
    };

    #[test]
    fn both_senders_fill_a_link_and_make_its_queue() {
        if !lab::privileged() {
            return;
        }
        let _alone = alone();
        product::build();
        let stage = Stage::set(interrupt::flag().unwrap()).unwrap();
        let cell = Bulk { link: "--delay 5ms --rate 20mbit --queue 4bdp", ..BULK[0] };
        patiently(|| {
            let pair = pair(&stage, &cell, 0, Duration::from_secs(3), 0).unwrap();
            Sender::ALL.into_iter().try_for_each(|sender| {
                let run = pair.of(sender);
                let fills = (10.0..20.0).contains(&run.mbit_per_s);
                holds(run, &[fills, run.queued_ms > 1.0, run.repeated < 0.2])
            })
        });
    }
}
