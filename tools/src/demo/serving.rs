//! A pagewire process in the lab's server namespace, and the CPU time that it takes.

use std::{
    fs::{self, File},
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::DemoError;
use crate::lab::{INTERFACE, Lab, SERVER, Side};

/// Clock ticks that `/proc` counts CPU time in (`USER_HZ`, see proc(5)).
const TICKS_PER_SECOND: u32 = 100;

/// A way to serve.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Transport {
    /// The user-level stack on AF_XDP
    Xdp,
    /// The kernel's TCP
    Kernel,
}

impl Transport {
    /// Its name on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::Kernel => "kernel",
        }
    }

    fn arguments(self) -> Vec<String> {
        let [v4, v6] = SERVER;
        let words = match self {
            Self::Xdp => {
                format!("--require-xdp --interface {INTERFACE} --address {v4}/24 --address {v6}/64")
            }
            Self::Kernel => {
                format!("--listen {v4}:80 --listen [{v6}]:80 --congestion-control cubic")
            }
        };
        words.split(' ').map(str::to_owned).collect()
    }
}

/// A server that runs. Dropping it ends it.
pub(super) struct Serving {
    child: Child,
    log: PathBuf,
}

impl Serving {
    /// Starts `pagewire` and waits until it answers the client.
    pub(super) fn start(
        lab: &Lab,
        pagewire: &Path,
        root: &Path,
        transport: Transport,
        scratch: &Path,
    ) -> Result<Self, DemoError> {
        const PATIENCE: Duration = Duration::from_secs(15);
        let log = scratch.join(format!("{}.log", transport.name()));
        let output = File::create(&log)?;
        let mut command = lab.command(Side::Server, &pagewire.to_string_lossy());
        command.arg("serve").arg(root).args(["--dotfiles", "serve"]).args(transport.arguments());
        // A Ctrl-C in the terminal is ours to act on.
        command.process_group(0);
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let mut serving = Self { child: command.spawn()?, log };
        let deadline = Instant::now() + PATIENCE;
        for server in SERVER {
            while !answers(lab, server)? {
                serving.check()?;
                if Instant::now() > deadline {
                    return Err(DemoError::NoAnswer { address: server, said: serving.said() });
                }
                thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(serving)
    }

    /// An error if it has ended.
    pub(super) fn check(&mut self) -> Result<(), DemoError> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(DemoError::ServerEnded { status, said: self.said() }),
        }
    }

    /// What it has said so far.
    pub(super) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default().trim().to_owned()
    }

    /// What it has said so far, indented and without dates.
    pub(super) fn introduction(&self) -> String {
        let said = self.said();
        let lines =
            said.lines().map(|line| line.split_once(" INFO ").map_or(line, |(_, text)| text));
        lines.map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
    }

    /// User and system time of all its threads since it started.
    pub(super) fn cpu_time(&self) -> io::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        Ok(process_time(&stat).unwrap_or_default())
    }

    /// Ends it, gently at first.
    pub(super) fn stop(mut self) -> Result<(), DemoError> {
        self.end(Signal::SIGQUIT)?;
        Ok(())
    }

    fn end(&mut self, signal: Signal) -> io::Result<()> {
        const PATIENCE: Duration = Duration::from_secs(5);
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        kill(Pid::from_raw(self.child.id().cast_signed()), signal)?;
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                self.child.kill()?;
                self.child.wait()?;
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.end(Signal::SIGKILL);
    }
}

/// Whether an HTTP server answers the client there.
fn answers(lab: &Lab, server: std::net::IpAddr) -> io::Result<bool> {
    let host = if server.is_ipv4() { server.to_string() } else { format!("[{server}]") };
    let mut curl = lab.command(Side::Client, "curl");
    curl.args(["--silent", "--head", "--output", "/dev/null", "--max-time", "1"]);
    Ok(curl.arg(format!("http://{host}/")).stdin(Stdio::null()).status()?.success())
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
pub(super) fn softirq_time() -> io::Result<Duration> {
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
