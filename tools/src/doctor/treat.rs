//! Does what is safe, and takes it back.
//!
//! What is done is written down before it is done, so that it can be taken back even if the doctor is
//! killed in between. Taking back what was never done does no harm.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::finding::{Action, Finding, Fix};
use crate::system::{self, CommandError};
use thiserror::Error;

/// Where it is written down what to take back.
const DIRECTORY: &str = "/run/pagewire-doctor";

/// Why something could not be put right, or back.
#[derive(Debug, Error)]
pub enum TreatError {
    /// A program failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A file could not be read or written.
    #[error("cannot use {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is nothing to take back.
    #[error("`pw doctor {0} --fix` has done nothing that could be undone")]
    Nothing(String),
}

/// An action, and what became of it.
pub type Done = (Action, Result<(), TreatError>);

/// Does what is safe. Returns the actions with what became of each.
///
/// # Errors
///
/// When it cannot be written down what to take back; nothing is done then.
pub fn fix(interface: &str, findings: &[Finding]) -> Result<Vec<Done>, TreatError> {
    let safe = findings.iter().filter_map(|finding| match &finding.fix {
        Some(Fix::Safe { actions, undo }) => Some((actions, undo)),
        _ => None,
    });
    let mut done = Vec::new();
    for (actions, undo) in safe {
        note(interface, undo)?;
        for action in actions {
            done.push((action.clone(), act(action)));
        }
    }
    Ok(done)
}

/// Takes back what [`fix`] has done, last first.
///
/// # Errors
///
/// When there is nothing, or something fails; the rest is taken back all the same, and what failed can be
/// tried again.
pub fn undo(interface: &str) -> Result<Vec<Action>, TreatError> {
    let mut left = noted(interface)?;
    if left.is_empty() {
        return Err(TreatError::Nothing(interface.to_owned()));
    }
    let (mut done, mut stuck, mut failed) = (Vec::new(), Vec::new(), None);
    while let Some(action) = left.pop() {
        if is_void(&action) {
            continue;
        }
        match act(&action) {
            Ok(()) => done.push(action),
            Err(error) => {
                failed.get_or_insert(error);
                stuck.insert(0, action);
            }
        }
        write(interface, &[left.as_slice(), stuck.as_slice()].concat())?;
    }
    if let Some(error) = failed {
        return Err(error);
    }
    let path = record(interface);
    fs::remove_file(&path).map_err(|source| TreatError::File { path, source })?;
    Ok(done)
}

/// Whether it is about a thread of the kernel that has gone, as receive threads do when a program is attached.
fn is_void(action: &Action) -> bool {
    match action {
        Action::Run(words) if words.first().is_some_and(|word| word == "taskset") => {
            words.last().is_none_or(|thread| !Path::new("/proc").join(thread).exists())
        }
        _ => false,
    }
}

fn act(action: &Action) -> Result<(), TreatError> {
    match action {
        Action::Run(words) => system::run(words).map(drop).map_err(Into::into),
        Action::Write { path, value } => {
            let path = Path::new(path);
            fs::write(path, value)
                .map_err(|source| TreatError::File { path: path.to_owned(), source })
        }
    }
}

/// An interface's name has no slash: the kernel refuses it, and so there is no finding about it.
fn record(interface: &str) -> PathBuf {
    Path::new(DIRECTORY).join(format!("{interface}.json"))
}

fn noted(interface: &str) -> Result<Vec<Action>, TreatError> {
    let path = record(interface);
    match fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text)
            .map_err(|error| TreatError::File { path, source: error.into() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(TreatError::File { path, source }),
    }
}

/// Adds to what is to be taken back, so that what was noted first is taken back last.
fn note(interface: &str, undo: &[Action]) -> Result<(), TreatError> {
    let mut all = noted(interface)?;
    all.extend(undo.iter().rev().cloned());
    write(interface, &all)
}

fn write(interface: &str, actions: &[Action]) -> Result<(), TreatError> {
    let path = record(interface);
    let write = || -> io::Result<()> {
        fs::create_dir_all(DIRECTORY)?;
        fs::write(&path, serde_json::to_string_pretty(actions)?)
    };
    write().map_err(|source| TreatError::File { path: path.clone(), source })
}
