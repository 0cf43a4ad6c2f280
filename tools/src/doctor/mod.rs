//! `pw doctor`: what is wrong with an interface and its machine, why it matters, and how to put it right.
//!
//! - `facts`: what there is to know; `look`: how it is found out.
//! - `finding`: what there is to say; `checks`: from facts to findings, without asking the system.
//! - `treat`: does what is safe, and takes it back.
//! - `text`: for people.

mod checks;
mod facts;
mod finding;
mod look;
mod text;
mod treat;

use std::{
    io::{self, IsTerminal, Write},
    net::IpAddr,
    path::PathBuf,
    process::ExitCode,
};

use pagewire::settings::{NumberList, Settings, Sources, parse_list};
use serde_json::{Value, json};

use self::{
    facts::Wanted,
    finding::{Finding, Verdict},
};

/// What to look at.
#[derive(Clone, Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags that are given or not")]
pub struct DoctorArgs {
    /// The interface, in this network namespace [default: that of --config]
    #[arg(value_name = "IF", required_unless_present = "config")]
    interface: Option<String>,

    /// Configuration of pagewire, which says what is to be served, and on what
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Address that is to be served; may be given several times
    #[arg(long = "address", value_name = "ADDR")]
    addresses: Vec<IpAddr>,

    /// TCP port that is to be served [default: 80]
    #[arg(long)]
    port: Option<u16>,

    /// Queues that are to be served: `0-3` [default: all of the interface]
    #[arg(long, value_name = "LIST", value_parser = parse_list)]
    queues: Option<NumberList>,

    /// Cores of the shards: `0-3` [default: all that this process may use]
    #[arg(long, value_name = "LIST", value_parser = parse_list)]
    cores: Option<NumberList>,

    /// Do what is safe and can be undone
    #[arg(long)]
    fix: bool,

    /// Take back what --fix has done
    #[arg(long, conflicts_with = "fix")]
    undo: bool,

    /// Show what is as it should be, too
    #[arg(long)]
    all: bool,

    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Exit status when something does not work as it is.
const FAULTS: u8 = 1;

/// Runs `pw doctor` and says how it ended: 1 if there is a fault.
pub fn main(args: &DoctorArgs) -> ExitCode {
    match run(args) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("pw: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &DoctorArgs) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let settings = args.settings()?;
    let configured = settings.as_ref().and_then(|settings| settings.interface.value.clone());
    let Some(interface) = args.interface.clone().or(configured) else {
        return Err("the configuration names no interface: give one".into());
    };
    let mut out = io::stdout();
    if args.undo {
        for action in treat::undo(&interface)? {
            writeln!(out, "done: {action}")?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let wanted = args.wanted(settings.as_ref());
    let mut findings = checks::examine(&look::look(&interface)?, &wanted);
    if args.fix {
        for (action, result) in treat::fix(&interface, &findings)? {
            match result {
                Ok(()) if args.json => {}
                Ok(()) => writeln!(out, "done: {action}")?,
                Err(error) => eprintln!("pw: {error}"),
            }
        }
        findings = checks::examine(&look::look(&interface)?, &wanted);
    }
    if args.json {
        writeln!(out, "{:#}", json_of(&interface, &findings))?;
    } else {
        let colour = out.is_terminal();
        out.write_all(text::report(&interface, &findings, args.all, colour).as_bytes())?;
    }
    let has_fault = findings.iter().any(|finding| finding.verdict == Verdict::Fault);
    Ok(if has_fault { ExitCode::from(FAULTS) } else { ExitCode::SUCCESS })
}

impl DoctorArgs {
    /// What the configuration says, if there is one.
    fn settings(&self) -> Result<Option<Settings>, String> {
        let Some(file) = &self.config else { return Ok(None) };
        let sources = Sources { file: Some(file.clone()), ..Sources::default() };
        let lines = |problems: Vec<_>| {
            problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\npw: ")
        };
        sources.read().map(Some).map_err(lines)
    }

    /// What is to be served: by the flags, and where they say nothing by the configuration.
    fn wanted(&self, settings: Option<&Settings>) -> Wanted {
        let mut wanted = Wanted { port: 80, ..Wanted::default() };
        let numbers = |list: &NumberList| list.0.clone();
        let mut cores = None;
        if let Some(settings) = settings {
            let prefixes = &settings.address.value;
            wanted.addresses = prefixes.iter().map(pagewire_stack::Prefix::address).collect();
            wanted.port = u16::try_from(settings.port.value.0).unwrap_or(80);
            wanted.queues = settings.queues.value.as_ref().map(numbers);
            cores = settings.cores.value.as_ref().map(numbers);
        }
        if !self.addresses.is_empty() {
            wanted.addresses.clone_from(&self.addresses);
        }
        wanted.port = self.port.unwrap_or(wanted.port);
        wanted.queues = self.queues.as_ref().map(numbers).or(wanted.queues);
        cores = self.cores.as_ref().map(numbers).or(cores);
        wanted.cores = cores.map(|cores| cores.into_iter().map(|core| core as usize).collect());
        wanted
    }
}

fn json_of(interface: &str, findings: &[Finding]) -> Value {
    let all: Vec<Value> = findings
        .iter()
        .map(|finding| {
            json!({
                "check": finding.check,
                "verdict": finding.verdict,
                "found": finding.found,
                "reason": finding.reason,
                "fix": finding.fix.as_ref().map(finding::Fix::lines),
                "safe": finding.fix.as_ref().is_some_and(finding::Fix::is_safe),
            })
        })
        .collect();
    json!({ "interface": interface, "findings": all })
}
