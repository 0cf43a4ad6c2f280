//! Who is measured when, and whose figures belong together.

use crate::statistics::Estimate;

/// What is measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Subject {
    /// The server on the kernel's TCP.
    Kernel,
    /// The server on the user-level stack.
    User,
    /// As many frames of the same size as the user-level stack exchanged, with nothing above the driver.
    Raw,
}

impl Subject {
    /// All, in the order of a first round.
    pub const ALL: [Self; 3] = [Self::Kernel, Self::User, Self::Raw];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel mode",
            Self::User => "user stack",
            Self::Raw => "raw AF_XDP",
        }
    }
}

/// Rounds of runs, every other one backwards (A B C, C B A), so that what drifts steadily weighs on all
/// alike.
pub fn order(rounds: usize) -> impl Iterator<Item = Subject> {
    (0..rounds).flat_map(|round| {
        let mut subjects = Subject::ALL;
        if round % 2 == 1 {
            subjects.reverse();
        }
        subjects
    })
}

/// The runs of one cell by subject, in the order in which they were made.
#[derive(Clone, Debug)]
pub struct Ledger<T> {
    runs: [Vec<T>; 3],
}

impl<T> Default for Ledger<T> {
    fn default() -> Self {
        Self { runs: [const { Vec::new() }; 3] }
    }
}

impl<T> Ledger<T> {
    /// Enters a run.
    pub fn enter(&mut self, subject: Subject, run: T) {
        self.runs[subject as usize].push(run);
    }

    /// A subject's runs.
    pub fn of(&self, subject: Subject) -> &[T] {
        &self.runs[subject as usize]
    }

    /// What a subject's runs come to.
    pub fn estimate(&self, subject: Subject, value: impl Fn(&T) -> f64) -> Option<Estimate> {
        Estimate::of(&self.of(subject).iter().map(value).collect::<Vec<_>>())
    }

    /// How many times `over` has what `subject` has. Runs of the same round are held against each other.
    pub fn ratio(
        &self,
        subject: Subject,
        over: Subject,
        value: impl Fn(&T) -> f64,
    ) -> Option<Estimate> {
        let pairs = self.of(subject).iter().zip(self.of(over));
        Estimate::of(&pairs.map(|(one, other)| value(one) / value(other)).collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_other_round_runs_backwards() {
        use Subject::{Kernel, Raw, User};
        let two: Vec<_> = order(2).collect();
        assert_eq!(two, [Kernel, User, Raw, Raw, User, Kernel]);
        assert_eq!(order(3).count(), 9);
        for subject in Subject::ALL {
            assert_eq!(order(4).filter(|it| *it == subject).count(), 4);
        }
    }

    #[test]
    fn a_drift_that_rises_steadily_weighs_on_all_alike() {
        let at = |subject| order(2).enumerate().filter(move |(_, it)| *it == subject);
        let sums = Subject::ALL.map(|subject| at(subject).map(|(time, _)| time).sum::<usize>());
        assert_eq!(sums, [5, 5, 5]);
    }

    #[test]
    fn runs_of_the_same_round_are_held_against_each_other() {
        let mut ledger = Ledger::default();
        for (subject, cost) in order(2).zip([10.0, 4.0, 2.0, 4.0, 8.0, 20.0]) {
            ledger.enter(subject, cost);
        }
        assert_eq!(ledger.of(Subject::User), [4.0, 8.0]);
        let ratio = ledger.ratio(Subject::User, Subject::Kernel, |cost| *cost).unwrap();
        assert!((ratio.median - 0.4).abs() < 1e-9 && (ratio.high - 0.4).abs() < 1e-9, "{ratio:?}");
        let limit = ledger.ratio(Subject::User, Subject::Raw, |cost| *cost).unwrap();
        assert!((limit.median - 2.0).abs() < 1e-9, "{limit:?}");
    }
}
