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
    process::ExitCode,
};

use pagewire::settings::{NumberList, parse_list};
use serde_json::{Value, json};

use self::{
    facts::Wanted,
    finding::{Finding, Verdict},
};

/// What to look at.
#[derive(Clone, Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags that are given or not")]
pub struct DoctorArgs {
    /// The interface, in this network namespace
    #[arg(value_name = "IF")]
    interface: String,

    /// Address that is to be served; may be given several times
    #[arg(long = "address", value_name = "ADDR")]
    addresses: Vec<IpAddr>,

    /// TCP port that is to be served
    #[arg(long, default_value_t = 80)]
    port: u16,

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
    let mut out = io::stdout();
    if args.undo {
        for action in treat::undo(&args.interface)? {
            writeln!(out, "done: {action}")?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let wanted = args.wanted();
    let mut findings = checks::examine(&look::look(&args.interface)?, &wanted);
    if args.fix {
        for (action, result) in treat::fix(&args.interface, &findings)? {
            match result {
                Ok(()) if args.json => {}
                Ok(()) => writeln!(out, "done: {action}")?,
                Err(error) => eprintln!("pw: {error}"),
            }
        }
        findings = checks::examine(&look::look(&args.interface)?, &wanted);
    }
    if args.json {
        writeln!(out, "{:#}", json_of(&args.interface, &findings))?;
    } else {
        let colour = out.is_terminal();
        out.write_all(text::report(&args.interface, &findings, args.all, colour).as_bytes())?;
    }
    let has_fault = findings.iter().any(|finding| finding.verdict == Verdict::Fault);
    Ok(if has_fault { ExitCode::from(FAULTS) } else { ExitCode::SUCCESS })
}

impl DoctorArgs {
    fn wanted(&self) -> Wanted {
        Wanted {
            addresses: self.addresses.clone(),
            port: self.port,
            queues: self.queues.clone().map(|NumberList(queues)| queues),
            cores: self
                .cores
                .clone()
                .map(|NumberList(cores)| cores.into_iter().map(|core| core as usize).collect()),
        }
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
