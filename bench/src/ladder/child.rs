//! A rung in a process of its own: this program, executed again with `rung NAME`.
//!
//! Whoever starts it puts it into its control group, then sends a line; when it listens, it answers
//! `ready` and its address. It and all that it starts end with whoever started it.

use std::{
    io::{self, BufRead, BufReader, Write},
    net::SocketAddr,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sched::{CpuSet, sched_setaffinity},
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use pagewire_tools::lab::{Lab, Side};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{
        Resource, Rlimit, Signal as DeathSignal, getrlimit, set_parent_process_death_signal,
        setrlimit,
    },
};

use super::{
    account::Group,
    rung::{self, Rung, Setting},
};

/// How long a rung may take to listen.
const PATIENCE: Duration = Duration::from_secs(20);

/// The command line of the process.
#[derive(Debug, clap::Args)]
pub struct RungOptions {
    name: String,
    directory: PathBuf,
    #[arg(long)]
    address: SocketAddr,
    #[arg(long, value_delimiter = ',')]
    cores: Vec<usize>,
    #[arg(long)]
    connections: usize,
}

/// The process.
pub fn run(options: RungOptions) -> io::Result<()> {
    end_with_parent()?;
    if io::stdin().lock().read_line(&mut String::new())? == 0 {
        return Err(io::Error::other("a rung is only started by `pagewire-bench ladder`"));
    }
    let rung = rung::find(&options.name)
        .ok_or_else(|| io::Error::other(format!("there is no rung {}", options.name)))?;
    raise_descriptor_limit();
    let mut cores = CpuSet::new();
    for &core in &options.cores {
        cores.set(core)?;
    }
    sched_setaffinity(Pid::from_raw(0), &cores)?;
    let announce = |address| {
        writeln!(io::stdout(), "ready {address}")?;
        io::stdout().flush()
    };
    let RungOptions { directory, address, cores, connections, .. } = options;
    (rung.serve)(&Setting { directory, address, cores, connections, announce })
}

/// Ends this process when the thread that has started it ends.
pub fn end_with_parent() -> io::Result<()> {
    Ok(set_parent_process_death_signal(Some(DeathSignal::KILL))?)
}

/// Allows as many descriptors as the system lets us have.
pub fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    // Refused only where it is the same already, or not ours to raise: then cells that need more say so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// A rung that runs. Dropping it ends it and all that it has started.
#[derive(Debug)]
pub struct Running {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    /// What it spends; nothing where control groups cannot be had.
    pub group: Option<Group>,
}

impl Running {
    /// Starts `rung`, on the server's side of `lab` if there is one.
    pub fn start(
        rung: &Rung,
        setting: &Setting,
        lab: Option<&Lab>,
        group: Option<Group>,
    ) -> io::Result<Self> {
        let program = std::env::current_exe()?;
        let mut command = match lab {
            Some(lab) => lab.command(Side::Server, &program.to_string_lossy()),
            None => Command::new(program),
        };
        let cores: Vec<_> = setting.cores.iter().map(usize::to_string).collect();
        command.arg("rung").arg(rung.name).arg(&setting.directory);
        command.args(["--address", &setting.address.to_string(), "--cores", &cores.join(",")]);
        command.args(["--connections", &setting.connections.to_string()]);
        // In a group of its own it does not hear of a Ctrl-C in the terminal, which is ours to act on.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let child = command.spawn()?;
        let mut running = Self { child, address: setting.address, group };
        running.wait_ready()?;
        Ok(running)
    }

    fn wait_ready(&mut self) -> io::Result<()> {
        if let Some(group) = &self.group {
            group.add(self.child.id())?;
        }
        // Kept open until it ends.
        let stdin = self.child.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        writeln!(stdin, "go")?;
        let stdout = self.child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let patience = Timespec::try_from(PATIENCE).map_err(io::Error::other)?;
        if poll(&mut [PollFd::new(&stdout, PollFlags::IN)], Some(&patience))? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line.trim().strip_prefix("ready ").and_then(|text| text.parse().ok());
        self.address = address.ok_or_else(|| io::Error::other("it has ended"))?;
        Ok(())
    }

    /// The first of its processes.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether its first process still runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The first process has not been waited for, so no other group can have its number.
        let _ = killpg(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGKILL);
        let deadline = Instant::now() + Duration::from_secs(5);
        let _ = self.child.wait();
        if let Some(group) = self.group.take() {
            group.remove(deadline);
        }
    }
}
