//! The link emulator of a lab: a thread of whoever holds the lab, or a process of its own for a lab that
//! is kept.

use std::{
    io::{self, BufRead, BufReader, Read},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Command, Stdio},
};

use super::{FAR_INTERFACE, INTERFACE, LabConfig, LabError, Prefix, Side, enter, host};
use crate::emulator::{self, Emulator, EmulatorError, LinkConfig, LinkReport, Plan};

/// What the process says once frames cross.
const READY: &str = "ready";

/// The emulator of a lab that somebody holds.
#[derive(Debug)]
pub(super) struct Link {
    job: EmulateConfig,
    emulator: Emulator,
}

/// Which lab's link to emulate, and how. For the process.
#[derive(Clone, Debug, clap::Args)]
pub struct EmulateConfig {
    #[arg(long)]
    prefix: Prefix,
    #[arg(long)]
    mtu: u32,
    #[command(flatten)]
    link: LinkConfig,
}

/// What a lab's configuration asks for; nothing if it asks for no link.
pub(super) fn wanted(config: &LabConfig) -> Result<Option<EmulateConfig>, LabError> {
    if !config.link.is_wanted() {
        return Ok(None);
    }
    if config.offloads.is_on() {
        return Err(LabError::LinkNeedsFrames("leave --offloads off"));
    }
    if config.mtu as usize > pagewire_driver::MAX_MTU {
        return Err(LabError::LinkNeedsFrames("choose an --mtu of at most 3506"));
    }
    let (prefix, mtu, link) = (config.prefix.clone(), config.mtu, config.link.clone());
    let job = EmulateConfig { prefix, mtu, link };
    job.plan()?;
    Ok(Some(job))
}

impl Link {
    /// Starts the emulator on a thread.
    pub(super) fn start(job: EmulateConfig) -> Result<Self, LabError> {
        let prefix = job.prefix.clone();
        let emulator = Emulator::start(job.plan()?, move || enter(&prefix, Side::Link))?;
        Ok(Self { job, emulator })
    }

    pub(super) fn report(&self) -> LinkReport {
        self.emulator.report()
    }

    /// Goes on in a process of its own, which ends with its namespace's other processes.
    pub(super) fn hand_over(self) -> Result<(), LabError> {
        let Self { job, emulator } = self;
        drop(emulator);
        let start = |source| LabError::Link(EmulatorError::Start(source));
        let mut command = Command::new(this_program().map_err(start)?);
        command.args(["emulate", "--prefix", &job.prefix.to_string()]);
        command.args(["--mtu", &job.mtu.to_string()]).args(job.link.flags());
        // A Ctrl-C in the terminal is not meant for it.
        command.process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(start)?;
        let mut said = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut said).map_err(start)?;
        }
        if said.trim() == READY {
            return Ok(());
        }
        said.clear();
        if let Some(mut stderr) = child.stderr.take() {
            stderr.read_to_string(&mut said).map_err(start)?;
        }
        child.wait().map_err(start)?;
        Err(EmulatorError::Process(said.trim().trim_start_matches("pw: ").to_owned()).into())
    }
}

/// `pw`, which can be told to emulate.
fn this_program() -> io::Result<PathBuf> {
    let program = std::env::current_exe()?;
    if program.file_name().is_some_and(|name| name == "pw") {
        Ok(program)
    } else {
        Err(io::Error::other("only `pw` can keep a lab that has a link emulator"))
    }
}

/// Emulates until the lab goes. What the hidden command of `pw` does.
///
/// # Errors
///
/// When the lab has no link, or its interfaces cannot be taken over.
pub fn emulate(config: &EmulateConfig) -> Result<(), LabError> {
    let plan = config.plan()?;
    enter(&config.prefix, Side::Link)?;
    emulator::emulate(&plan, || println!("{READY}"))?;
    Ok(())
}

impl EmulateConfig {
    fn plan(&self) -> Result<Plan, LabError> {
        Ok(Plan {
            interfaces: [INTERFACE, FAR_INTERFACE],
            impairment: self.link.impairment(self.mtu)?,
            config: self.link.clone(),
            report: host::link_report(&self.prefix),
        })
    }
}
