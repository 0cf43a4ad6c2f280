//! The command line: subcommands, and a flag for every key of the settings.

use std::{collections::HashMap, env, ffi::OsString, path::PathBuf};

use clap::{
    Arg, ArgAction, ArgMatches, ColorChoice, Command, builder::PossibleValuesParser, value_parser,
};
use clap_complete::Shell;

use crate::settings::{DEFAULT_FILE, FILE_VARIABLE, KEYS, Key, PREFIX, Sources};

const EXIT_STATUSES: &str = "\
Exit statuses:
  0  served, and stopped in order
  1  something else failed
  2  wrong usage, or something wrong with the configuration
  3  not enough privilege
  4  the interface or its driver cannot be used
  5  the address cannot be used
  6  the directory cannot be read";

const SIGNALS: &str = "\
Signals:
  SIGHUP           read the configuration again; connections go on, and a broken one changes nothing
  SIGUSR1          open log files again
  SIGQUIT          finish what is being sent, for at most --drain-timeout, then end
  SIGTERM, SIGINT  end at once; connections are cut";

/// One line, which is wrapped as the terminal is wide.
const CONFIGURATION: &str = concat!(
    "Configuration:\n",
    "  Every flag is also a key of the file, and PAGEWIRE_ with its name in capitals is a variable of the ",
    "environment: --head-timeout 5s, PAGEWIRE_HEAD_TIMEOUT=5s, head_timeout = \"5s\". A flag beats the ",
    "environment, and that beats the file. The file is the one of --config or PAGEWIRE_CONFIG; if neither ",
    "is given nor a directory, /etc/pagewire/pagewire.toml, if there is one.",
);

/// The argument that names the file.
const FILE: &str = "config";

/// The argument that is the root without a flag.
const DIRECTORY: &str = "directory";

/// What to do.
#[derive(Debug)]
pub enum Task {
    /// Serve.
    Serve(Sources),
    /// Say what is wrong with the configuration.
    Check(Sources),
    /// Print the effective configuration.
    Show(Sources),
    /// Print completions for a shell.
    Completions(Shell),
    /// Write manual pages to a directory, or print the first.
    Man(Option<PathBuf>),
}

/// The whole command line.
pub fn command() -> Command {
    let shell = Arg::new("shell")
        .value_name("SHELL")
        .required(true)
        .value_parser(value_parser!(Shell))
        .help("Shell to complete for");
    let directory = Arg::new("to")
        .long("to")
        .value_name("DIR")
        .value_parser(value_parser!(PathBuf))
        .help("Write one page for each command into this directory");
    Command::new("pagewire")
        .about("Serves files over HTTP, on a user-level TCP or the kernel's")
        .version(env!("CARGO_PKG_VERSION"))
        .color(ColorChoice::Auto)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .after_help(EXIT_STATUSES)
        .subcommand(
            with_settings(Command::new("serve"))
                .about("Serve the files below a directory over HTTP/1.1")
                .after_help(format!("{CONFIGURATION}\n\n{EXIT_STATUSES}\n\n{SIGNALS}")),
        )
        .subcommand(
            with_settings(Command::new("check"))
                .about("Say what is wrong with the configuration, each with its place and its fix")
                .after_help(format!("{CONFIGURATION}\n\n{EXIT_STATUSES}")),
        )
        .subcommand(
            with_settings(Command::new("config"))
                .about("Print the configuration in effect, as a commented file")
                .after_help(CONFIGURATION),
        )
        .subcommand(
            Command::new("completions")
                .about("Print completions for a shell")
                .after_help(
                    "Example:\n  pagewire completions bash >/etc/bash_completion.d/pagewire",
                )
                .arg(shell),
        )
        .subcommand(
            Command::new("man")
                .about("Print the manual page, or write all of them to a directory")
                .arg(directory),
        )
}

/// `command` with a flag for every key.
fn with_settings(command: Command) -> Command {
    let file = Arg::new(FILE)
        .long(FILE)
        .value_name("PATH")
        .value_parser(value_parser!(PathBuf))
        .help("Configuration file to read");
    let directory = Arg::new(DIRECTORY)
        .value_name("DIR")
        .conflicts_with("root")
        .help("Directory to serve, the same as --root");
    command.arg(directory).arg(file).args(KEYS.iter().map(flag))
}

fn flag(key: &Key) -> Arg {
    let check = key.check;
    let arg = Arg::new(key.field)
        .long(key.flag())
        .help(key.help())
        .help_heading(key.group)
        .value_name(key.placeholder)
        .action(if key.is_list { ArgAction::Append } else { ArgAction::Set });
    if key.is_switch() {
        let arg = arg.num_args(0..=1).require_equals(true).default_missing_value("true");
        return arg.value_parser(PossibleValuesParser::new(key.words)).hide_possible_values(true);
    }
    if !key.words.is_empty() {
        return arg.value_parser(PossibleValuesParser::new(key.words));
    }
    arg.value_parser(move |text: &str| check(&[text]).map(|()| text.to_owned()))
}

/// Reads a command line, the program's name first, and the environment.
///
/// # Errors
///
/// What is wrong with it; also if help or the version is asked for.
pub fn parse(
    words: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<Task, clap::Error> {
    let environment: HashMap<_, _> =
        env::vars().filter(|(name, _)| name.starts_with(PREFIX)).collect();
    let mut command = command();
    let matches = command.try_get_matches_from_mut(words)?;
    Ok(match matches.subcommand() {
        Some(("check", matches)) => Task::Check(sources(matches, environment)),
        Some(("config", matches)) => Task::Show(sources(matches, environment)),
        Some(("completions", matches)) => match matches.get_one("shell") {
            Some(&shell) => Task::Completions(shell),
            None => {
                return Err(command.error(clap::error::ErrorKind::MissingRequiredArgument, "SHELL"));
            }
        },
        Some(("man", matches)) => Task::Man(matches.get_one("to").cloned()),
        Some(("serve", matches)) => Task::Serve(sources(matches, environment)),
        _ => return Err(command.error(clap::error::ErrorKind::MissingSubcommand, "no command")),
    })
}

fn sources(matches: &ArgMatches, environment: HashMap<String, String>) -> Sources {
    let given = |name: &str| -> Option<Vec<String>> {
        Some(matches.get_many::<String>(name)?.cloned().collect())
    };
    let mut flags: Vec<_> =
        KEYS.iter().filter_map(|key| Some((key.field, given(key.field)?))).collect();
    flags.extend(given(DIRECTORY).map(|directory| ("root", directory)));
    let names_a_root = flags.iter().any(|(field, _)| *field == "root");
    let file = matches
        .get_one(FILE)
        .cloned()
        .or_else(|| environment.get(FILE_VARIABLE).map(PathBuf::from))
        .or_else(|| {
            (!names_a_root).then(|| PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists())
        });
    let mut environment: Vec<_> = environment.into_iter().collect();
    environment.sort_unstable();
    Sources { file, environment, flags }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    fn flags(words: &str) -> Vec<(&'static str, Vec<String>)> {
        let words = ["pagewire"].into_iter().chain(words.split(' '));
        let Ok(Task::Serve(sources)) = parse(words) else { panic!() };
        sources.flags
    }

    #[test]
    fn flags_are_told_as_they_were_given() {
        let one = |text: &str| vec![text.to_owned()];
        assert_eq!(
            flags("serve dir --busy --port 81"),
            [("port", one("81")), ("busy", one("true")), ("root", one("dir")),]
        );
        assert_eq!(
            flags("serve --root dir --busy=false"),
            [("root", one("dir")), ("busy", one("false")),]
        );
        let listen = vec!["[::1]:1".to_owned(), "[::1]:2".to_owned()];
        assert_eq!(flags("serve --listen [::1]:1 --listen [::1]:2"), [("listen", listen)]);
    }

    #[test]
    fn wrong_flags_are_refused() {
        for words in [
            "serve a b",
            "serve a --root b",
            "serve --port 0",
            "serve --transport tcp",
            "serve --busy=x",
            "man a",
        ] {
            let words = ["pagewire"].into_iter().chain(words.split(' '));
            assert!(parse(words).is_err());
        }
    }
}
