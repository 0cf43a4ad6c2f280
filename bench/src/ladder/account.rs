//! What a rung spends, all its processes and threads together, also those that have ended.
//!
//! A control group (version 2) of its own adds up CPU time, and tells a rung's system calls from others'.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Where the hierarchy of version 2 may be.
const HIERARCHIES: [&str; 2] = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];

/// What the kernel keeps for a thread: `THREAD_SIZE` of x86-64 and arm64.
const KERNEL_STACK_BYTES: u64 = 16 << 10;

/// Processes of which the memory is looked at; of more, a sample.
const MOST_LOOKED_AT: usize = 64;

/// A control group.
#[derive(Debug)]
pub struct Group {
    path: PathBuf,
}

impl Group {
    /// A new control group.
    pub fn new() -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let hierarchy = HIERARCHIES
            .iter()
            .map(Path::new)
            .find(|path| path.join("cgroup.procs").exists())
            .ok_or_else(|| io::Error::other("no control groups of version 2 are mounted"))?;
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = hierarchy.join(format!("pagewire-ladder-{}-{count}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self { path })
    }

    /// The id by which the kernel's programs know it.
    pub fn id(&self) -> io::Result<u64> {
        Ok(fs::metadata(&self.path)?.ino())
    }

    /// Puts a process into it, and so what that will start.
    pub fn add(&self, process: u32) -> io::Result<()> {
        fs::write(self.path.join("cgroup.procs"), process.to_string())
    }

    /// The CPU time of all that is or was in it.
    pub fn cpu_time(&self) -> io::Result<Duration> {
        let stat = fs::read_to_string(self.path.join("cpu.stat"))?;
        let micros = stat.lines().find_map(|line| line.strip_prefix("usage_usec ")?.parse().ok());
        micros.map(Duration::from_micros).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// The CPU time of each thread, with its id.
    pub fn threads(&self) -> io::Result<Vec<(u32, Duration)>> {
        let ids = ids(&self.path.join("cgroup.threads"))?;
        let time = |id: u32| {
            let stat = fs::read_to_string(format!("/proc/{id}/schedstat")).ok()?;
            let nanos = stat.split_whitespace().next()?.parse().ok()?;
            Some((id, Duration::from_nanos(nanos)))
        };
        Ok(ids.into_iter().filter_map(time).collect())
    }

    /// Memory of its processes in bytes: their own share of pages, page tables, and the kernel's stacks.
    /// Sockets and what the kernel keeps else are not in it.
    pub fn memory_bytes(&self) -> io::Result<u64> {
        let processes = ids(&self.path.join("cgroup.procs"))?;
        let threads = ids(&self.path.join("cgroup.threads"))?.len() as u64;
        let step = processes.len().div_ceil(MOST_LOOKED_AT).max(1);
        let (mut looked_at, mut bytes) = (0, 0);
        for process in processes.iter().step_by(step) {
            let read = |file| fs::read_to_string(format!("/proc/{process}/{file}"));
            if let (Ok(maps), Ok(status)) = (read("smaps_rollup"), read("status")) {
                looked_at += 1;
                bytes += kibibytes(&maps, "Pss:") + kibibytes(&status, "VmPTE:");
            }
        }
        let all = bytes * 1024 * processes.len() as u64 / looked_at.max(1);
        Ok(all + threads * KERNEL_STACK_BYTES)
    }

    /// Removes it, as soon as all that was in it has ended.
    pub fn remove(self, deadline: Instant) {
        while fs::remove_dir(&self.path).is_err() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Gone already, unless the rung could not be started.
        let _ = fs::remove_dir(&self.path);
    }
}

fn ids(path: &Path) -> io::Result<Vec<u32>> {
    Ok(fs::read_to_string(path)?.lines().filter_map(|line| line.parse().ok()).collect())
}

fn kibibytes(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    value.and_then(|value| value.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Jain's index of how evenly work is shared: 1 if all do the same, 1/n if one of n does all.
pub fn evenness(shares: &[Duration]) -> Option<f64> {
    let sum: f64 = shares.iter().map(Duration::as_secs_f64).sum();
    let squares: f64 = shares.iter().map(|share| share.as_secs_f64().powi(2)).sum();
    (squares > 0.0).then(|| sum * sum / (shares.len() as f64 * squares))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evenness_is_one_for_equals_and_a_part_for_one_of_many() {
        let second = Duration::from_secs(1);
        assert_eq!(evenness(&[second; 4]), Some(1.0));
        assert_eq!(evenness(&[second, Duration::ZERO]), Some(0.5));
        assert_eq!(evenness(&[]), None);
    }

    #[test]
    fn kibibytes_are_found_by_their_name() {
        assert_eq!(kibibytes("VmPeak:\t 7 kB\nVmPTE:\t     44 kB\n", "VmPTE:"), 44);
        assert_eq!(kibibytes("", "VmPTE:"), 0);
    }
}
