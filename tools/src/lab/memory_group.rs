//! A control group that bounds the memory, and with it the page cache, of a server: cgroup v2 or v1.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

/// Where the hierarchies are mounted as a rule, with the file that sets the limit.
const HIERARCHIES: [(&str, &str); 2] =
    [("/sys/fs/cgroup", "memory.max"), ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")];

/// A group of this run's own. Dropping it removes it; whoever is left in it goes back to the root.
#[derive(Debug)]
pub struct MemoryGroup {
    root: PathBuf,
    path: PathBuf,
}

impl MemoryGroup {
    /// Makes one that may use so many bytes.
    ///
    /// # Errors
    ///
    /// Whatever the system says, such as that there is no memory controller.
    pub fn new(limit_bytes: u64) -> io::Result<Self> {
        // Several in one process have different names.
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        for (root, limit) in HIERARCHIES {
            let root = Path::new(root);
            // In v2 the root has to hand the controller down; where it cannot, the file is missing.
            let _ = fs::write(root.join("cgroup.subtree_control"), "+memory");
            let path = root.join(format!("pagewire-lab-{}-{number}", std::process::id()));
            if fs::create_dir(&path).is_err() {
                continue;
            }
            let group = Self { root: root.to_owned(), path };
            if group.path.join(limit).exists() {
                fs::write(group.path.join(limit), limit_bytes.to_string())?;
                return Ok(group);
            }
        }
        Err(io::Error::other("there is no memory controller that this user may use"))
    }

    /// Puts a process into it. What it has used before is charged elsewhere.
    ///
    /// # Errors
    ///
    /// Whatever the system says, such as that the process has ended.
    pub fn add(&self, process: u32) -> io::Result<()> {
        fs::write(self.path.join("cgroup.procs"), process.to_string())
    }

    /// Bytes of files that are in memory at its expense, if it tells.
    pub fn cached(&self) -> Option<u64> {
        let statistics = fs::read_to_string(self.path.join("memory.stat")).ok()?;
        let of = |name: &str| {
            let mut words = statistics.lines().filter_map(|line| line.split_once(' '));
            words.find(|(key, _)| *key == name)?.1.parse().ok()
        };
        of("file").or_else(|| of("cache"))
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        for process in
            fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default().lines()
        {
            let _ = fs::write(self.root.join("cgroup.procs"), process);
        }
        // A process that has just ended may be in it for a moment.
        for _ in 0..100 {
            if fs::remove_dir(&self.path).is_ok() || !self.path.exists() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}
