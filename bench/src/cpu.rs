//! Cores: which side gets which, what they and single threads have spent, and where kernel threads run.

use std::{fs, io, path::Path, time::Duration};

use core_affinity::CoreId;
use nix::{
    sched::{CpuSet, sched_setaffinity},
    time::{ClockId, clock_gettime},
    unistd::Pid,
};

/// A tick of `/proc/stat`: `USER_HZ` is 100 on every architecture that Linux still supports.
const TICK: Duration = Duration::from_millis(10);

/// The cores of this process in two halves, for the two ends of a link. With a single core both ends
/// share it.
pub fn halves() -> (Vec<CoreId>, Vec<CoreId>) {
    let mut near = core_affinity::get_core_ids().unwrap_or_default();
    if near.is_empty() {
        near.push(CoreId { id: 0 });
    }
    let far = near.split_off(near.len().div_ceil(2));
    let far = if far.is_empty() { near.clone() } else { far };
    (near, far)
}

/// How long these cores have been busy since they started: all that is not idle or waiting for a disk.
pub fn busy(cores: &[CoreId]) -> io::Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let mut ticks = 0;
    for core in cores {
        let name = format!("cpu{} ", core.id);
        let line = stat.lines().find_map(|line| line.strip_prefix(&name));
        let fields = line.into_iter().flat_map(str::split_whitespace);
        // user nice system idle iowait irq softirq; what follows is not ours or counted already.
        let counts = fields.take(7).enumerate().filter(|(index, _)| !matches!(index, 3 | 4));
        ticks += counts.filter_map(|(_, count)| count.parse::<u32>().ok()).sum::<u32>();
    }
    Ok(TICK * ticks)
}

/// The CPU time of the calling thread.
pub fn thread_time() -> io::Result<Duration> {
    schedule_time("/proc/thread-self/schedstat")
}

/// Measures the CPU time of the calling thread, to the nanosecond: for short pieces of work on a machine
/// that has other things to do as well. Each reading is a system call.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Duration);

impl Stopwatch {
    /// One that starts now.
    pub fn start() -> Self {
        Self(Self::read())
    }

    /// What the thread has spent since.
    pub fn elapsed(self) -> Duration {
        Self::read().saturating_sub(self.0)
    }

    fn read() -> Duration {
        clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
    }
}

/// The CPU time of the threads with these ids, as far as they still exist.
pub fn threads_time(ids: &[i32]) -> Duration {
    ids.iter().filter_map(|id| schedule_time(format!("/proc/{id}/schedstat")).ok()).sum()
}

/// The CPU time of all threads that this process has and had.
pub fn own_time() -> io::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?.into())
}

/// The CPU time of all threads that a process has now.
pub fn process_time(id: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    let ids = threads.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    threads_time(&ids.collect::<Vec<_>>())
}

/// The CPU time of the threads of this process that are called `name`.
pub fn own_thread_time(name: &str) -> io::Result<Duration> {
    let mut sum = Duration::ZERO;
    for thread in fs::read_dir("/proc/self/task")? {
        let path = thread?.path();
        // One that ends meanwhile has no name any more.
        if fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim_end() == name) {
            sum += schedule_time(path.join("schedstat"))?;
        }
    }
    Ok(sum)
}

/// Keeps the calling thread on the last core, where the first may have the interrupts of all.
pub fn keep_to_last_core() {
    if let Some(&core) = core_affinity::get_core_ids().unwrap_or_default().last() {
        core_affinity::set_for_current(core);
    }
}

/// The kernel threads that do what a core's software interrupts leave undone.
pub fn softirq_threads(cores: &[CoreId]) -> io::Result<Vec<i32>> {
    named_threads(|name| cores.iter().any(|core| name == format!("ksoftirqd/{}", core.id)))
}

/// How often these cores have received packets in software interrupts: not in kernel threads.
pub fn receive_interrupts(cores: &[CoreId]) -> io::Result<u64> {
    let table = fs::read_to_string("/proc/softirqs")?;
    let row = table.lines().find_map(|line| line.trim_start().strip_prefix("NET_RX:"));
    let counts: Vec<u64> = row
        .into_iter()
        .flat_map(str::split_whitespace)
        .filter_map(|word| word.parse().ok())
        .collect();
    Ok(cores.iter().filter_map(|core| counts.get(core.id)).sum())
}

fn schedule_time(path: impl AsRef<Path>) -> io::Result<Duration> {
    let text = fs::read_to_string(path)?;
    let nanos = text.split_whitespace().next().and_then(|word| word.parse().ok());
    Ok(Duration::from_nanos(nanos.unwrap_or(0)))
}

/// The kernel threads that receive for `interface`, oldest first. The name must be one of its kind on
/// this machine, since namespaces do not show here.
pub fn receive_threads(interface: &str) -> io::Result<Vec<i32>> {
    let prefix = format!("napi/{interface}-");
    named_threads(|name| name.starts_with(&prefix))
}

/// Threads that are their own processes, as the kernel's are, by their name; oldest first.
fn named_threads(is_one: impl Fn(&str) -> bool) -> io::Result<Vec<i32>> {
    let mut ids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(id) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let name = fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
        if is_one(name.trim_end()) {
            ids.push(id);
        }
    }
    ids.sort_unstable();
    Ok(ids)
}

/// Keeps the threads with these ids on these cores, one each in turn.
pub fn pin(ids: &[i32], cores: &[CoreId]) -> io::Result<()> {
    for (id, core) in ids.iter().zip(cores.iter().cycle()) {
        let mut set = CpuSet::new();
        set.set(core.id)?;
        sched_setaffinity(Pid::from_raw(*id), &set)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_of_this_process_are_known_by_their_names() {
        let work = || {
            let before = thread_time().unwrap();
            while thread_time().unwrap() < before + Duration::from_millis(5) {}
            own_thread_time("a-named-thread").unwrap()
        };
        let thread = std::thread::Builder::new().name("a-named-thread".to_owned()).spawn(work);
        assert!(thread.unwrap().join().unwrap() >= Duration::from_millis(5));
        assert_eq!(own_thread_time("no-such-thread").unwrap(), Duration::ZERO);
    }

    #[test]
    fn each_end_gets_a_core() {
        let (near, far) = halves();
        assert!(!near.is_empty() && !far.is_empty());
    }

    #[test]
    fn work_shows_in_the_time_of_its_thread() {
        let before = thread_time().unwrap();
        let mut sum = 0u64;
        while thread_time().unwrap() < before + Duration::from_millis(1) {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(busy(&halves().0).unwrap() > Duration::ZERO);
    }
}
