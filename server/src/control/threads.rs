//! What the kernel knows of a thread of this process, from its `/proc/self/task/*/stat` (proc(5)).

use std::fs;

use pagewire_stack::Figure;

/// Where `majflt` stands behind the name, which is in brackets and may hold anything.
const MAJOR_FAULTS_AT: usize = 9;

/// Pages that a thread had to wait for, since it began. None if it is gone, or /proc is.
fn major_faults(thread: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/self/task/{thread}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    fields.split_whitespace().nth(MAJOR_FAULTS_AT)?.parse().ok()
}

/// What there is to tell of the thread that is a shard.
pub(super) fn figures(thread: i32) -> impl Iterator<Item = (Figure, u64)> {
    let help = "Pages that the core had to wait for while they came from a disk; should stay at 0.";
    let figure = Figure::counter("major_page_faults", help);
    major_faults(thread).map(|faults| (figure, faults)).into_iter()
}

#[cfg(test)]
mod tests {
    use nix::sys::resource::{UsageWho, getrusage};

    use super::*;

    #[test]
    fn faults_are_those_that_the_thread_itself_is_told() {
        let me = rustix::thread::gettid().as_raw_nonzero().get();
        let told =
            || getrusage(UsageWho::RUSAGE_THREAD).unwrap().major_page_faults().cast_unsigned();
        let (before, read, after) = (told(), major_faults(me).unwrap(), told());
        assert!((before..=after).contains(&read), "{before}, {read}, {after}");
    }

    #[test]
    fn a_thread_that_is_gone_has_none() {
        assert_eq!(major_faults(-1), None);
        assert_eq!(figures(-1).count(), 0);
    }
}
