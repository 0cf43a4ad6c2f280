//! What the doctor has to say about one thing, and how it is put right.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How bad it is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Worth knowing; nothing need be done.
    Note,
    /// It works, but slower or less safely than it could.
    Warning,
    /// It does not work like this.
    Fault,
}

impl Verdict {
    /// A mark that is told apart without colour.
    pub const fn mark(self) -> &'static str {
        match self {
            Self::Good => "ok  ",
            Self::Note => "note",
            Self::Warning => "WARN",
            Self::Fault => "FAIL",
        }
    }
}

/// Something that puts a thing right, or back.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Run a program.
    Run(Vec<String>),
    /// Write a value to a file of the kernel.
    Write {
        /// The file.
        path: String,
        /// The value.
        value: String,
    },
}

impl Action {
    /// A program and its arguments, separated by single spaces.
    pub fn run(words: &str) -> Self {
        Self::Run(words.split(' ').map(str::to_owned).collect())
    }

    /// A value for a file of the kernel.
    pub fn write(path: impl Into<String>, value: impl fmt::Display) -> Self {
        Self::Write { path: path.into(), value: format!("{value}") }
    }
}

/// As a shell takes it.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(words) => f.write_str(&words.join(" ")),
            Self::Write { path, value } => write!(f, "echo {value} >{path}"),
        }
    }
}

/// How something is put right.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fix {
    /// By these, which do no harm and can be undone by those, last first.
    Safe {
        /// What to do.
        actions: Vec<Action>,
        /// What takes it back.
        undo: Vec<Action>,
    },
    /// By these, which somebody has to decide about.
    Manual(Vec<Action>),
    /// By another flag or a look at something.
    Advice(String),
}

impl Fix {
    /// One safe action.
    pub fn safe(action: Action, undo: Action) -> Self {
        Self::Safe { actions: vec![action], undo: vec![undo] }
    }

    /// One action that somebody has to decide about.
    pub fn manual(action: Action) -> Self {
        Self::Manual(vec![action])
    }

    /// Whether `--fix` does it.
    pub fn is_safe(&self) -> bool {
        matches!(self, Self::Safe { .. })
    }

    /// The commands, or the advice, a line each.
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Safe { actions, .. } | Self::Manual(actions) => {
                actions.iter().map(Action::to_string).collect()
            }
            Self::Advice(text) => vec![text.clone()],
        }
    }
}

/// What the doctor has to say about one thing.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What was looked at: a word that never changes.
    pub check: &'static str,
    /// How bad it is.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// Why it matters.
    pub reason: &'static str,
    /// How it is put right.
    pub fix: Option<Fix>,
}

impl Finding {
    /// All is well.
    pub fn good(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Good, found: found.into(), reason: "", fix: None }
    }

    /// All is not well, for this reason.
    pub fn bad(
        check: &'static str,
        verdict: Verdict,
        found: impl Into<String>,
        reason: &'static str,
    ) -> Self {
        Self { check, verdict, found: found.into(), reason, fix: None }
    }

    /// The same, with a way to put it right.
    #[must_use]
    pub fn with(self, fix: Fix) -> Self {
        Self { fix: Some(fix), ..self }
    }
}
