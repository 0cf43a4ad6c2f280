//! What labs share with the rest of the machine: a lock, a record of owners, and one setting that is
//! changed for a moment.
//!
//! The record lies in files under [`DIRECTORY`], so that what a killed run left can be put right by the
//! next: `owner-<prefix>` and `allowed-congestion-control` (the value to put back). The link emulator
//! writes what it has done to `link-<prefix>`. The directory goes
//! with the last of them.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use super::{LabError, Prefix};

const PARENT: &str = "/run";
const DIRECTORY: &str = "/run/pagewire-lab";
const AVAILABLE: &str = "/proc/sys/net/ipv4/tcp_available_congestion_control";
const ALLOWED: &str = "/proc/sys/net/ipv4/tcp_allowed_congestion_control";
const SAVED: &str = "allowed-congestion-control";
const OWNER: &str = "owner-";

/// Who takes a lab down.
pub(super) enum Owner {
    /// This process; when it is gone, whoever comes next.
    ThisProcess,
    /// Only a command.
    Nobody,
}

/// The right to build or remove labs. One at a time on a machine.
pub(super) struct Lock {
    directory: &'static Path,
    _parent: File,
}

impl Lock {
    /// Waits for the right.
    pub(super) fn take() -> Result<Self, LabError> {
        // Not a lock file, which could not be removed without a race.
        let parent = Path::new(PARENT);
        let lock = File::open(parent).map_err(|source| refused(parent, source))?;
        lock.lock().map_err(|source| refused(parent, source))?;
        let directory = Path::new(DIRECTORY);
        fs::create_dir_all(directory).map_err(|source| refused(directory, source))?;
        Ok(Self { directory, _parent: lock })
    }

    /// Records who takes a lab down.
    pub(super) fn claim(&self, prefix: &Prefix, owner: &Owner) -> Result<(), LabError> {
        let text = match owner {
            Owner::ThisProcess => this_process(),
            Owner::Nobody => String::new(),
        };
        write(&self.owner(prefix), &text)
    }

    /// Forgets a lab that is gone.
    pub(super) fn release(&self, prefix: &Prefix) -> Result<(), LabError> {
        remove_if_there(&link_report(prefix))?;
        remove_if_there(&self.owner(prefix))
    }

    fn owner(&self, prefix: &Prefix) -> PathBuf {
        self.directory.join(format!("{OWNER}{prefix}"))
    }

    /// Labs whose owner is gone.
    pub(super) fn abandoned(&self) -> Result<Vec<Prefix>, LabError> {
        let entries =
            fs::read_dir(self.directory).map_err(|source| refused(self.directory, source))?;
        let mut prefixes = Vec::new();
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let prefix = name.strip_prefix(OWNER).and_then(|prefix| prefix.parse().ok());
            let owner = fs::read_to_string(entry.path()).unwrap_or_default();
            if let Some(prefix) = prefix
                && !owner.is_empty()
                && !is_running(&owner)
            {
                prefixes.push(prefix);
            }
        }
        Ok(prefixes)
    }

    /// Does `work` while every namespace may choose the congestion control `name`, then puts the
    /// host's setting back.
    ///
    /// Only the choice needs the permission: a namespace keeps what it has chosen.
    pub(super) fn while_allowed(
        &self,
        name: &str,
        work: impl FnOnce() -> Result<(), LabError>,
    ) -> Result<(), LabError> {
        let available = read(Path::new(AVAILABLE))?;
        if !lists(&available, name) {
            let available = available.trim().to_owned();
            return Err(LabError::CongestionControl { name: name.to_owned(), available });
        }
        let allowed = read(Path::new(ALLOWED))?;
        if lists(&allowed, name) {
            return work();
        }
        write(&self.directory.join(SAVED), &allowed)?;
        write(Path::new(ALLOWED), &format!("{} {name}", allowed.trim()))?;
        let result = work();
        self.restore()?;
        result
    }

    /// Puts back what [`while_allowed`](Self::while_allowed) changed and could not put back.
    pub(super) fn restore(&self) -> Result<(), LabError> {
        let saved = self.directory.join(SAVED);
        match fs::read_to_string(&saved) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(refused(&saved, source)),
            // Killed before the value was written: then nothing was changed either.
            Ok(value) if value.trim().is_empty() => remove_if_there(&saved),
            Ok(value) => {
                write(Path::new(ALLOWED), &value)?;
                remove_if_there(&saved)
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Fails as long as there is something to remember.
        let _ = fs::remove_dir(self.directory);
    }
}

/// Where the link emulator of a lab writes what it has done.
pub(super) fn link_report(prefix: &Prefix) -> PathBuf {
    Path::new(DIRECTORY).join(format!("link-{prefix}"))
}

fn lists(names: &str, name: &str) -> bool {
    names.split_whitespace().any(|listed| listed == name)
}

/// This process's id and start time, which together are never used twice.
fn this_process() -> String {
    let id = std::process::id();
    format!("{id} {}", start_time(&id.to_string()).unwrap_or_default())
}

fn is_running(owner: &str) -> bool {
    let Some((id, start)) = owner.split_once(' ') else { return false };
    start_time(id).is_some_and(|time| time == start)
}

/// Field 22 of `/proc/<id>/stat` (see proc(5)).
fn start_time(id: &str) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let after_name = stat.rsplit_once(')')?.1;
    after_name.split_whitespace().nth(19).map(str::to_owned)
}

fn read(path: &Path) -> Result<String, LabError> {
    fs::read_to_string(path).map_err(|source| refused(path, source))
}

fn write(path: &Path, text: &str) -> Result<(), LabError> {
    fs::write(path, text).map_err(|source| refused(path, source))
}

fn remove_if_there(path: &Path) -> Result<(), LabError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(refused(path, error)),
        _ => Ok(()),
    }
}

fn refused(path: &Path, source: io::Error) -> LabError {
    LabError::File { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_runs_is_told_from_one_that_does_not() {
        assert!(is_running(&this_process()));
        let id = std::process::id();
        assert!(!is_running(&format!("{id} 1")), "another start time is another process");
        assert!(!is_running("4294967295 1"));
        assert!(!is_running("nonsense"));
    }
}
