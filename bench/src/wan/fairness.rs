//! Flows that share one bottleneck: how evenly.

use std::{io, thread, time::Duration};

use super::{
    cell::Fairness,
    crew::Crew,
    download,
    scene::{BULK_FILE, Scene, Sender, Stage},
};
use crate::error::BenchError;

/// How long the flows are watched.
const TIME: Duration = Duration::from_mins(1);

/// What the flows of one run had.
#[derive(Clone, Debug)]
pub struct Shares {
    /// Bytes of each flow.
    pub bytes: Vec<(Sender, u64)>,
}

impl Shares {
    /// Jain's index: 1 if all have the same, one over their number if one has all.
    pub fn jain(&self) -> f64 {
        let sum: f64 = self.bytes.iter().map(|(_, bytes)| *bytes as f64).sum();
        let squares: f64 = self.bytes.iter().map(|(_, bytes)| (*bytes as f64).powi(2)).sum();
        sum * sum / (self.bytes.len() as f64 * squares).max(1e-9)
    }

    /// What all flows of a sender had together, in Mbit/s.
    pub fn mbit_per_s(&self, sender: Sender) -> f64 {
        let bytes: u64 =
            self.bytes.iter().filter(|(of, _)| *of == sender).map(|(_, bytes)| bytes).sum();
        bytes as f64 * 8.0 / TIME.as_secs_f64() / 1e6
    }
}

/// Measures all cells, several runs of each.
pub fn measure(
    crew: &Crew<'_>,
    cells: &[Fairness],
    rounds: u32,
) -> Result<Vec<(Fairness, Vec<Shares>)>, BenchError> {
    let mut all: Vec<_> = cells.iter().map(|cell| (*cell, Vec::new())).collect();
    let jobs: Vec<_> = (0..rounds)
        .flat_map(|round| (0..cells.len()).map(move |index| (index, u64::from(round) + 1)))
        .collect();
    let count = cells.len();
    let work = |&(index, seed): &(usize, u64), core| run(crew.stage, &cells[index], seed, core);
    crew.work("fairness", jobs, work, &mut |number, shares| {
        all[number % count].1.push(shares);
        Ok(())
    })?;
    Ok(all)
}

fn run(stage: &Stage, cell: &Fairness, seed: u64, core: usize) -> Result<Shares, BenchError> {
    let flows: Vec<Sender> = [(Sender::Linux, cell.linux), (Sender::Ours, cell.ours)]
        .into_iter()
        .flat_map(|(sender, count)| std::iter::repeat_n(sender, count))
        .collect();
    let senders: Vec<_> = Sender::ALL.into_iter().filter(|sender| flows.contains(sender)).collect();
    let scene = Scene::up(stage, cell.link, seed, &senders, core)?;
    let receive = |sender| download::for_a_time(sender, BULK_FILE, TIME, &stage.interrupted);
    let received: io::Result<Vec<_>> = scene.at_receiver(|| {
        thread::scope(|scope| {
            let threads: Vec<_> = flows
                .iter()
                .map(|&sender| (sender, scope.spawn(move || receive(sender))))
                .collect();
            let mut all = Vec::new();
            for (sender, thread) in threads {
                let result = thread.join().map_err(|_| io::Error::other("a receiver has panicked"));
                all.push((sender, result??));
            }
            Ok(all)
        })
    })?;
    stage.check()?;
    let bytes = received.map_err(BenchError::system("receive from the servers"))?;
    scene.down()?;
    Ok(Shares { bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jain(bytes: &[u64]) -> f64 {
        Shares { bytes: bytes.iter().map(|&bytes| (Sender::Ours, bytes)).collect() }.jain()
    }

    #[test]
    fn jain_is_one_for_equals_and_one_over_the_number_for_a_glutton() {
        assert!((jain(&[5, 5, 5]) - 1.0).abs() < 1e-9);
        assert!((jain(&[9, 0, 0]) - 1.0 / 3.0).abs() < 1e-9);
        // Two to one: (2 + 1)^2 / (2 * (4 + 1)).
        assert!((jain(&[2, 1]) - 0.9).abs() < 1e-9);
    }
}
