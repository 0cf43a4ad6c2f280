//! What the user has set: flags over environment over file over defaults, key by key.
//!
//! - `keys`: the table of all keys, and how to add one.
//! - `value`: what keys can be set to.
//! - `file`: reading the TOML file, and what is wrong with it line by line.
//! - `print`: the effective configuration as a file that can be read again.
//!
//! What the settings mean together is in [`config`](crate::config).

mod file;
mod keys;
mod print;
mod value;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::site::config::SiteConfig;

pub use self::{
    keys::{AccessLogFormat, KEYS, LogFormat, LogLevel, Settings, TransportName},
    print::print,
    value::{Bytes, Number, NumberList, Time, Timeout, Value, parse_list, parse_prefix},
};

/// The file that is read if neither a file nor a directory is named.
pub const DEFAULT_FILE: &str = "/etc/pagewire/pagewire.toml";

/// What the names of all our environment variables begin with.
pub const PREFIX: &str = "PAGEWIRE_";

/// The variable that names the file.
pub const FILE_VARIABLE: &str = "PAGEWIRE_CONFIG";

/// When a changed value takes effect.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Effect {
    /// With a reload.
    AtReload,
    /// With a restart.
    AtStart,
}

/// What is known of a key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name in [`Settings`], and in a file.
    pub field: &'static str,
    /// What it belongs to, for the help.
    pub group: &'static str,
    help: &'static str,
    /// Its default as text, empty for none.
    pub default: &'static str,
    /// When a change takes effect.
    pub effect: Effect,
    /// What stands for its value in the help.
    pub placeholder: &'static str,
    /// Whether it may be given several times.
    pub is_list: bool,
    /// All that it may be, where that is a few words.
    pub words: &'static [&'static str],
    /// Says what is wrong with a value.
    pub check: fn(&[&str]) -> Result<(), String>,
}

impl Key {
    /// Its flag, without the two dashes.
    pub fn flag(&self) -> String {
        flag_name(self.field)
    }

    /// The environment variable for it.
    pub fn variable(&self) -> String {
        format!("{PREFIX}{}", self.field.to_ascii_uppercase())
    }

    /// What it does, as one paragraph, with its default.
    pub fn help(&self) -> String {
        let words: Vec<_> = self.help.split_whitespace().collect();
        let mut help = words.join(" ");
        if !self.default.is_empty() && self.default != "false" {
            help = format!("{help} [default: {}]", self.default);
        }
        help
    }

    /// Whether it is on or off.
    pub fn is_switch(&self) -> bool {
        self.words == bool::WORDS
    }
}

fn flag_name(field: &str) -> String {
    field.replace('_', "-")
}

/// Where a value comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Origin {
    /// Nobody has said anything.
    Default,
    /// A file.
    File {
        /// Which.
        path: Arc<Path>,
        /// Counted from 1.
        line: usize,
    },
    /// An environment variable.
    Environment,
    /// A flag.
    Flag,
}

/// What a key is set to.
#[derive(Clone, Debug)]
pub struct Setting<T> {
    field: &'static str,
    default: &'static str,
    /// The value.
    pub value: T,
    /// Where it comes from.
    pub origin: Origin,
}

impl<T: Value> Setting<T> {
    fn default_of(field: &'static str, default: &'static str) -> Result<Self, String> {
        Ok(Self { field, default, value: T::read(&[default])?, origin: Origin::Default })
    }

    fn set(&mut self, texts: &[&str], origin: Origin) -> Result<(), String> {
        self.value = T::read(texts)?;
        self.origin = origin;
        Ok(())
    }

    /// Whether somebody wants it so: by a flag or variable, whatever the value, or by a file that has something
    /// other than the default. A file may name all keys, as `pagewire config` prints them, and a switch that
    /// is off asks for nothing.
    pub fn is_given(&self) -> bool {
        let is_switch = T::WORDS == bool::WORDS;
        match self.origin {
            Origin::Default => false,
            Origin::Flag | Origin::Environment if !is_switch => true,
            _ => T::read(&[self.default]).as_ref() != Ok(&self.value),
        }
    }

    /// Its name as the one who set it wrote it, for messages.
    pub fn named(&self) -> String {
        named(self.field, &self.origin)
    }
}

fn named(field: &str, origin: &Origin) -> String {
    match origin {
        Origin::Default | Origin::Flag => format!("--{}", flag_name(field)),
        Origin::Environment => format!("{PREFIX}{}", field.to_ascii_uppercase()),
        Origin::File { path, line } => format!("{}:{line}: {field}", path.display()),
    }
}

/// The sites of the file, which have neither flags nor variables.
#[derive(Clone, Debug, Default)]
pub struct SiteSettings {
    /// What they are.
    pub configs: Vec<SiteConfig>,
    /// The same as it stands in the file.
    written: Option<toml::Value>,
}

/// Something wrong with what the user has set.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// Where, such as `pagewire.toml:3: port` or `--port`.
    pub place: String,
    /// What, and what to write instead.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// Where settings come from. Read again at each reload.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file, if there is one.
    pub file: Option<PathBuf>,
    /// Variables of the environment whose names begin with [`PREFIX`].
    pub environment: Vec<(String, String)>,
    /// Fields of [`Settings`], with the texts of their flags.
    pub flags: Vec<(&'static str, Vec<String>)>,
}

impl Sources {
    /// What all sources say together.
    ///
    /// # Errors
    ///
    /// All that is wrong, in the order in which it is read.
    pub fn read(&self) -> Result<Settings, Vec<Problem>> {
        let mut settings = Settings::defaults().map_err(|(field, message)| {
            vec![Problem { place: format!("the default of {field}"), message }]
        })?;
        let mut problems = Vec::new();
        if let Some(path) = &self.file {
            file::read(path, &mut settings, &mut problems);
        }
        for key in KEYS {
            let variable = key.variable();
            let found = self.environment.iter().find(|(name, _)| *name == variable);
            if let Some((_, value)) = found {
                let texts: Vec<_> = if key.is_list {
                    value.split(',').map(str::trim).collect()
                } else {
                    vec![value.as_str()]
                };
                if let Err(message) = settings.set(key.field, &texts, Origin::Environment) {
                    problems.push(Problem { place: variable, message });
                }
            }
        }
        for (field, texts) in &self.flags {
            let texts: Vec<_> = texts.iter().map(String::as_str).collect();
            if let Err(message) = settings.set(field, &texts, Origin::Flag) {
                problems.push(Problem { place: named(field, &Origin::Flag), message });
            }
        }
        if problems.is_empty() { Ok(settings) } else { Err(problems) }
    }

    /// Says in the log which variables look like ours and are not.
    pub fn warn_of_unknown_variables(&self) {
        for unknown in self.unknown_variables() {
            tracing::warn!("{unknown}");
        }
    }

    /// Variables that look like ours and are not, each with a guess at what was meant.
    fn unknown_variables(&self) -> Vec<String> {
        let known: Vec<_> =
            KEYS.iter().map(Key::variable).chain([FILE_VARIABLE.to_owned()]).collect();
        let unknown = self.environment.iter().filter(|(name, _)| !known.contains(name));
        unknown
            .map(|(name, _)| format!("{name} is no variable of pagewire{}", guess(name, &known)))
            .collect()
    }
}

/// `; did you mean ...?`, if one of `known` is close to `name`.
fn guess(name: &str, known: &[String]) -> String {
    let close = |other: &&String| strsim::damerau_levenshtein(name, other) <= 2.max(name.len() / 4);
    let best =
        known.iter().filter(close).min_by_key(|other| strsim::damerau_levenshtein(name, other));
    best.map_or_else(String::new, |best| format!("; did you mean `{best}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(flags: &[(&'static str, &str)]) -> Vec<(&'static str, Vec<String>)> {
        flags.iter().map(|&(field, text)| (field, vec![text.to_owned()])).collect()
    }

    #[test]
    fn every_key_has_help_and_a_default_that_it_takes() {
        Settings::defaults().unwrap();
        for key in KEYS {
            assert!(key.help().len() > 10, "{}", key.field);
            assert!(key.default.is_empty() || (key.check)(&[key.default]).is_ok(), "{}", key.field);
        }
    }

    #[test]
    fn a_flag_beats_the_environment_and_that_beats_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.toml");
        std::fs::write(&path, "port = 81\nconnections = 7\nhead_timeout = \"3s\"\n").unwrap();
        let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let sources = Sources {
            file: Some(path),
            environment: vec![
                variable("PAGEWIRE_PORT", "82"),
                variable("PAGEWIRE_CONNECTIONS", "8"),
                variable("PAGEWIRE_LISTEN", "127.0.0.1:1, [::1]:2"),
            ],
            flags: flags(&[("port", "83")]),
        };
        let settings = sources.read().unwrap();
        assert_eq!((settings.port.value, &settings.port.origin), (Number(83), &Origin::Flag));
        let connections = &settings.connections;
        assert_eq!(
            (connections.value, connections.named()),
            (Number(8), "PAGEWIRE_CONNECTIONS".to_owned())
        );
        assert!(settings.head_timeout.named().ends_with("a.toml:3: head_timeout"));
        assert_eq!(settings.listen.value.len(), 2);
        assert!(!settings.busy.is_given());
    }

    #[test]
    fn what_a_flag_or_variable_says_is_meant_and_what_a_file_says_if_it_is_no_default() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.toml");
        let read = |file: &str, environment: &[(&str, &str)], list: &[(&'static str, &str)]| {
            std::fs::write(&path, file).unwrap();
            let variable = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
            let environment = environment.iter().map(variable).collect();
            let settings = Sources { file: Some(path.clone()), environment, flags: flags(list) };
            let settings = settings.read().unwrap();
            (settings.port.is_given(), settings.busy.is_given())
        };
        assert_eq!(read("", &[], &[]), (false, false));
        assert_eq!(read("port = 80\nbusy = false\n", &[], &[]), (false, false));
        assert_eq!(read("port = 81\nbusy = true\n", &[], &[]), (true, true));
        assert_eq!(read("", &[("PAGEWIRE_PORT", "80")], &[]), (true, false));
        assert_eq!(read("", &[("PAGEWIRE_BUSY", "false")], &[("port", "80")]), (true, false));
        assert_eq!(read("", &[("PAGEWIRE_BUSY", "true")], &[]), (false, true));
    }

    #[test]
    fn all_problems_are_told_with_their_place() {
        let sources = Sources {
            file: None,
            environment: vec![("PAGEWIRE_BUSY".into(), "perhaps".into())],
            flags: flags(&[("port", "0"), ("transport", "tcp")]),
        };
        let problems: Vec<_> =
            sources.read().unwrap_err().iter().map(ToString::to_string).collect();
        assert_eq!(
            problems,
            [
                "PAGEWIRE_BUSY: must be true or false",
                "--port: must be a whole number from 1 to 65535",
                "--transport: must be one of: auto, kernel, xdp",
            ]
        );
    }

    #[test]
    fn a_variable_that_is_not_ours_is_told_with_what_was_meant() {
        let environment =
            vec![("PAGEWIRE_PROT".into(), "1".into()), ("PAGEWIRE_CONFIG".into(), "x".into())];
        let unknown = Sources { environment, ..Sources::default() }.unknown_variables();
        assert_eq!(
            unknown,
            ["PAGEWIRE_PROT is no variable of pagewire; did you mean `PAGEWIRE_PORT`?"]
        );
    }

    #[test]
    fn a_reload_keeps_what_needs_a_restart_and_names_it() {
        let read = |list: &[(&'static str, &str)]| {
            Sources { flags: flags(list), ..Sources::default() }.read().unwrap()
        };
        let running = read(&[("port", "81"), ("idle_timeout", "5s")]);
        let mut next = read(&[("port", "82"), ("idle_timeout", "6s")]);
        assert_eq!(next.keep_what_needs_a_restart(&running), ["port"]);
        assert_eq!(next.port.value, Number(81));
        assert_eq!(next.idle_timeout.value.0.as_secs(), 6);
    }
}
