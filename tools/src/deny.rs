//! `pw deny`: sources that a running server does not hear, changed while it runs.

use std::io::{self, Write};

use clap::{Args, Subcommand};

use crate::control::{Client, ControlError, Which};

/// What to do with the deny list of which server
#[derive(Clone, Debug, Args)]
pub struct DenyArgs {
    #[command(flatten)]
    which: Which,
    #[command(subcommand)]
    action: Action,
}

/// What to do with the list.
#[derive(Clone, Debug, Subcommand)]
enum Action {
    /// Drop from now on what comes from these networks
    Add(Networks),
    /// Take networks off the list, each exactly as it was put there
    Remove(Networks),
    /// Print the list, one network a line
    List,
}

#[derive(Clone, Debug, Args)]
struct Networks {
    /// An address, or a network such as 192.0.2.0/24
    #[arg(required = true, value_name = "ADDR[/LEN]")]
    networks: Vec<String>,
}

/// Does what `args` say.
///
/// # Errors
///
/// Any [`ControlError`].
pub fn run(args: &DenyArgs) -> Result<(), ControlError> {
    let mut client = Client::connect(&args.which.find()?)?;
    match &args.action {
        Action::Add(Networks { networks }) => {
            for network in networks {
                if !client.deny(network.clone(), true)? {
                    eprintln!("pw: {network} is denied already");
                }
            }
        }
        Action::Remove(Networks { networks }) => {
            for network in networks {
                if !client.deny(network.clone(), false)? {
                    eprintln!("pw: {network} is not on the list; `pw deny list` shows what is");
                }
            }
        }
        Action::List => {
            let mut out = io::stdout().lock();
            let told = client.denied()?.iter().try_for_each(|network| writeln!(out, "{network}"));
            return match told.and_then(|()| out.flush()) {
                // A reader that has seen enough is no failure.
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
                _ => Ok(()),
            };
        }
    }
    Ok(())
}
