//! `pw`: the operators' tools.

#![expect(
    clippy::doc_markdown,
    reason = "doc comments here are help texts, which know no markdown"
)]

use std::{
    io,
    os::unix::process::CommandExt,
    process::{ExitCode, exit},
};

use clap::{Args, Parser, Subcommand};
use pagewire_tools::{
    connections::{self, ConnectionsArgs},
    control::ControlError,
    demo::{self, DemoConfig, DemoError, Ending},
    deny::{self, DenyArgs},
    doctor::{self, DoctorArgs},
    lab::{self, EmulateConfig, Lab, LabConfig, LabError, Prefix, Side},
    load::{self, LoadArgs},
    top::{self, TopArgs},
};

/// Tools around pagewire, a file server on a user-level or the kernel's TCP.
#[derive(Parser)]
#[command(name = "pw", version, after_help = EXIT_STATUSES)]
struct Cli {
    #[command(subcommand)]
    tool: Tool,
}

const EXIT_STATUSES: &str = "Exit statuses: 0 done; 1 failed, or the lab is not up; 2 wrong usage; \
3 not enough privilege; \
130 ended by a signal; \
`pw lab run` ends with the status of what it ran, 126 or 127 if that cannot be run; \
`pw load` has its own, see its help.";

#[derive(Subcommand)]
enum Tool {
    /// A server, a client and the wire between them, in network namespaces of this machine
    #[command(subcommand)]
    Lab(LabCommand),
    /// Serve real files in a lab over AF_XDP and over the kernel, fetch them all, and compare
    ///
    /// Every file is fetched by curl, eight processes at a time, over IPv4 and over IPv6, and its SHA-256
    /// compared with the disk's. Nothing is left behind, also after Ctrl-C. Needs root.
    Demo(Box<DemoConfig>),
    /// Load a server with HTTP/1.1 requests and measure: rate, latencies, failures by cause
    ///
    /// Every response's status and length are checked. A run is always bounded: it ends after
    /// --duration, and waits for answers no longer than --timeout.
    Load(Box<LoadArgs>),
    /// Look at an interface and its machine: what is wrong, why it matters, and what puts it right
    ///
    /// Exit status 1 if something does not work as it is. Give the flags that `pagewire serve` will be given;
    /// what would be served decides what is wrong.
    Doctor(DoctorArgs),
    /// Watch a running server: its cores, connections, drops and latencies, once a second
    ///
    /// 1 and 2 switch between cores and connections, q ends. Needs to run as the server's user or as root.
    Top(TopArgs),
    /// List the connections of a running server, as text or JSON
    ///
    /// Needs to run as the server's user or as root.
    Connections(ConnectionsArgs),
    /// Choose sources that a running server does not hear: they are dropped before they cost it anything
    ///
    /// For a server on the XDP transport. Of what comes to the served address and port from a denied
    /// source, nothing is answered, neither in the handshake nor later; what else comes from there is the
    /// kernel's affair as before. Connections that it has already time out. The list outlives a reload
    /// and the loss of the interface, and ends with the process; --metrics counts what was dropped. Needs
    /// to run as the server's user or as root.
    Deny(DenyArgs),
    /// Emulate the link of a lab until it goes; `pw lab up` starts this
    #[command(hide = true)]
    Emulate(EmulateConfig),
}

#[derive(Subcommand)]
enum LabCommand {
    /// Build the lab, after removing what an earlier run left
    ///
    /// Makes the namespaces pw-server and pw-client and a veth pair between them. The interface is
    /// called pw0 on both sides; the server is 10.77.0.1 and fd77::1, the client 10.77.0.2 and
    /// fd77::2. MAC addresses are always the same, and IPv6 addresses usable at once.
    Up(Box<LabConfig>),
    /// Run a command on one side, and end with its exit status
    Run {
        #[command(flatten)]
        names: Names,
        /// Where to run it
        #[arg(value_enum)]
        side: Side,
        /// The command and its arguments
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// End what runs in the lab and remove it; succeeds if there is none
    Down(Names),
    /// Show what is up; exit status 1 if nothing is
    Status(Names),
}

#[derive(Args)]
struct Names {
    /// What the names of the lab's namespaces begin with
    #[arg(long, env = "PW_LAB_PREFIX", default_value_t = Prefix::default())]
    prefix: Prefix,
}

fn main() -> ExitCode {
    let result = match Cli::parse().tool {
        Tool::Lab(command) => run_lab(command).map_err(DemoError::Lab),
        Tool::Load(args) => return load::main(&args),
        Tool::Doctor(args) => return doctor::main(&args),
        Tool::Top(args) => return watched(top::run(&args)),
        Tool::Connections(args) => return watched(connections::run(&args)),
        Tool::Deny(args) => return watched(deny::run(&args)),
        Tool::Emulate(config) => {
            lab::emulate(&config).map(|()| ExitCode::SUCCESS).map_err(DemoError::Lab)
        }
        Tool::Demo(config) => demo::run(&config).map(|ending| match ending {
            Ending::Equal => ExitCode::SUCCESS,
            Ending::Different => ExitCode::FAILURE,
            Ending::Interrupted => ExitCode::from(INTERRUPTED),
        }),
    };
    result.unwrap_or_else(|error| {
        eprintln!("pw: {error}");
        match error {
            DemoError::Lab(LabError::NotRoot) => ExitCode::from(NO_PRIVILEGE),
            _ => ExitCode::FAILURE,
        }
    })
}

/// The end of a tool that looks at a server.
fn watched(result: Result<(), ControlError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pw: {error}");
            let denied = matches!(&error, ControlError::Unreachable { source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied);
            if denied { ExitCode::from(NO_PRIVILEGE) } else { ExitCode::FAILURE }
        }
    }
}

/// As pagewire has it.
const NO_PRIVILEGE: u8 = 3;

/// What a shell reports for a process that SIGINT ended.
const INTERRUPTED: u8 = 130;

fn run_lab(command: LabCommand) -> Result<ExitCode, LabError> {
    match command {
        LabCommand::Up(config) => {
            Lab::up(&config)?.keep()?;
            print!("{}", lab::status(&config.prefix)?);
        }
        LabCommand::Run { names, side, command } => {
            let error = lab::run(&names.prefix, side, &command)?.exec();
            eprintln!("pw: cannot run `ip`: {error}");
            exit(126);
        }
        LabCommand::Down(names) => lab::down(&names.prefix)?,
        LabCommand::Status(names) => {
            let status = lab::status(&names.prefix)?;
            if status.is_empty() {
                eprintln!("pw: there is no lab `{}`; `pw lab up` builds one", names.prefix);
                return Ok(ExitCode::FAILURE);
            }
            print!("{status}");
        }
    }
    Ok(ExitCode::SUCCESS)
}
