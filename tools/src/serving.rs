//! A `pagewire serve` process on the server's side of a lab.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use thiserror::Error;

use crate::lab::{Lab, Side};

/// How long it may take to start.
const PATIENCE: Timespec = Timespec { tv_sec: 15, tv_nsec: 0 };

/// How long it may take to act on a signal before it gets the next.
const GRACE: Duration = Duration::from_secs(1);

/// Clock ticks that `/proc` counts CPU time in (`USER_HZ`, see proc(5)).
const TICKS_PER_SECOND: u32 = 100;

/// A server that runs. Dropping it ends it.
#[derive(Debug)]
pub struct Serving {
    child: Child,
    log: PathBuf,
}

/// Why there is no server.
#[derive(Debug, Error)]
pub enum ServingError {
    /// It cannot be started, asked or ended.
    #[error("cannot run the server: {0}")]
    System(#[from] io::Error),
    /// It has not become ready.
    #[error("the server did not start; it said:\n{said}")]
    NotReady {
        /// What it has said about itself.
        said: String,
    },
    /// It has ended by itself.
    #[error("the server ended ({status}); it said:\n{said}")]
    Ended {
        /// How.
        status: ExitStatus,
        /// What it has said about itself.
        said: String,
    },
}

impl Serving {
    /// Starts `program`, which writes its log to the file `log`, and waits until it accepts connections.
    ///
    /// # Errors
    ///
    /// If it cannot be started, or is not ready after 15 seconds.
    pub fn start(
        lab: &Lab,
        program: &Path,
        arguments: &[String],
        log: &Path,
    ) -> Result<Self, ServingError> {
        let mut command = lab.command(Side::Server, &program.to_string_lossy());
        // In a group of its own it does not hear of a Ctrl-C in the terminal, which is ours to act on.
        command.args(arguments).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(log)?);
        let mut serving = Self { child: command.spawn()?, log: log.to_owned() };
        if serving.is_ready()? {
            return Ok(serving);
        }
        serving.end(Signal::SIGKILL)?;
        Err(ServingError::NotReady { said: serving.said() })
    }

    fn is_ready(&mut self) -> io::Result<bool> {
        let stdout = self.child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        if poll(&mut [PollFd::new(&stdout, PollFlags::IN)], Some(&PATIENCE))? == 0 {
            return Ok(false);
        }
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        Ok(line.starts_with("ready"))
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// An error if it has ended.
    ///
    /// # Errors
    ///
    /// [`ServingError::Ended`], or whatever the system says.
    pub fn check(&mut self) -> Result<(), ServingError> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(ServingError::Ended { status, said: self.said() }),
        }
    }

    /// What it has said about itself so far.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default().trim().to_owned()
    }

    /// User and system time of all its threads since it started.
    ///
    /// # Errors
    ///
    /// Whatever the system says.
    pub fn cpu_time(&self) -> io::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        Ok(process_time(&stat).unwrap_or_default())
    }

    /// Ends it in order, and returns what it has said about itself.
    ///
    /// # Errors
    ///
    /// Whatever the system says.
    pub fn stop(mut self) -> Result<String, ServingError> {
        self.end(Signal::SIGQUIT)?;
        Ok(self.said())
    }

    /// Asks it to end; again after a second, which ends it at once; and at last forces it.
    fn end(&mut self, signal: Signal) -> io::Result<()> {
        let process = Pid::from_raw(self.child.id().cast_signed());
        for signal in [signal, signal, Signal::SIGKILL] {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            kill(process, signal)?;
            let deadline = Instant::now() + GRACE;
            while self.child.try_wait()?.is_none() && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(2));
            }
        }
        self.child.wait().map(|_| ())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.end(Signal::SIGKILL);
    }
}

/// Fields 14 and 15 of `/proc/<id>/stat`.
fn process_time(stat: &str) -> Option<Duration> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some(Duration::from_secs(u64::from(user + system)) / TICKS_PER_SECOND)
}

/// CPU time that the whole machine has spent in software interrupts, field 7 of `/proc/stat`.
///
/// # Errors
///
/// Whatever the system says.
pub fn softirq_time() -> io::Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let ticks = stat.split_whitespace().nth(7).and_then(|ticks| ticks.parse().ok());
    Ok(Duration::from_secs(ticks.unwrap_or_default()) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_time_is_read_past_any_name() {
        let stat = "7 (a) b) S 1 1 1 0 -1 4194560 100 0 0 0 250 150 0 0 20 0 3 0 99 1 1 1";
        assert_eq!(process_time(stat), Some(Duration::from_secs(4)));
        assert_eq!(process_time("7 (x"), None);
    }
}
