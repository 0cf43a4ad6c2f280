//! Objects of 64 KiB, each by a connection of its own: how long they take.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{
    cell::Objects,
    crew::Crew,
    download,
    scene::{OBJECT_BYTES, OBJECT_FILE, Scene, Sender, Stage},
};
use crate::error::BenchError;

/// The longest that a run takes, however few samples it has by then.
const LONGEST: Duration = Duration::from_mins(1);
/// Labs over which the samples of a sender are spread, each with a seed of its own.
const LABS: usize = 2;

/// Completion times by [`Sender`], in ascending order, and how many fetches failed.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// In milliseconds.
    pub times_ms: [Vec<f64>; 2],
    /// Fetches that failed.
    pub failures: [usize; 2],
}

impl Samples {
    /// The time that so many percent of a sender's objects did not exceed.
    pub fn quantile(&self, sender: Sender, percent: usize) -> f64 {
        let times = &self.times_ms[sender as usize];
        let rank = (times.len() * percent).div_ceil(100);
        times.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }
}

/// Measures all cells, at least so many samples of each sender.
pub fn measure(
    crew: &Crew<'_>,
    cells: &[Objects],
    samples: usize,
) -> Result<Vec<(Objects, Samples)>, BenchError> {
    let mut all: Vec<_> = cells.iter().map(|cell| (*cell, Samples::default())).collect();
    let mut jobs = Vec::new();
    for index in 0..cells.len() {
        for lab in 0..LABS {
            let mut order = Sender::ALL;
            order.rotate_left(lab % 2);
            jobs.extend(order.map(|sender| (index, lab as u64 + 1, sender)));
        }
    }
    let share = samples.div_ceil(LABS);
    let of_job = jobs.clone();
    let work = |&(index, seed, sender): &(usize, u64, Sender), core| {
        run(crew.stage, &cells[index], seed, sender, share, core)
    };
    crew.work("64 KiB objects", jobs, work, &mut |number, (times, failures)| {
        let (index, _, sender) = of_job[number];
        let samples = &mut all[index].1;
        samples.times_ms[sender as usize].extend(times);
        samples.failures[sender as usize] += failures;
        Ok(())
    })?;
    for (_, samples) in &mut all {
        samples.times_ms.iter_mut().for_each(|times| times.sort_by(f64::total_cmp));
    }
    Ok(all)
}

fn run(
    stage: &Stage,
    cell: &Objects,
    seed: u64,
    sender: Sender,
    samples: usize,
    core: usize,
) -> Result<(Vec<f64>, usize), BenchError> {
    let scene = Scene::up(stage, cell.link, seed, &[sender], core)?;
    let (begun, deadline) = (AtomicUsize::new(0), Instant::now() + LONGEST);
    let fetch_some = || {
        let (mut times, mut failures) = (Vec::new(), 0);
        while begun.fetch_add(1, Ordering::Relaxed) < samples && Instant::now() < deadline {
            match download::whole(sender, OBJECT_FILE, OBJECT_BYTES, &stage.interrupted) {
                Ok(time) => times.push(time.as_secs_f64() * 1e3),
                Err(_) => failures += 1,
            }
        }
        (times, failures)
    };
    let received = scene.at_receiver(|| {
        thread::scope(|scope| {
            let threads: Vec<_> = (0..cell.receivers).map(|_| scope.spawn(fetch_some)).collect();
            threads.into_iter().filter_map(|thread| thread.join().ok()).collect::<Vec<_>>()
        })
    })?;
    stage.check()?;
    scene.down()?;
    let failures = received.iter().map(|(_, failures)| failures).sum();
    Ok((received.into_iter().flat_map(|(times, _)| times).collect(), failures))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_least_time_that_enough_objects_keep() {
        let times: Vec<f64> = (1..=200).map(f64::from).collect();
        let samples = Samples { times_ms: [times, vec![]], failures: [0; 2] };
        assert!((samples.quantile(Sender::Linux, 99) - 198.0).abs() < 1e-9);
        assert!((samples.quantile(Sender::Linux, 50) - 100.0).abs() < 1e-9);
        assert!(samples.quantile(Sender::Ours, 50).is_nan());
    }
}
