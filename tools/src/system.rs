//! Runs the system's programs, and says in one sentence what went wrong.

use std::{
    ffi::OsStr,
    io::{self, Write},
    process::{Command, ExitStatus, Output, Stdio},
};

use thiserror::Error;

/// Why a program of the system did not do its work.
#[derive(Debug, Error)]
pub enum CommandError {
    /// It is not installed.
    #[error("`{program}` is not installed: apt-get install {package}")]
    Missing {
        /// The program.
        program: String,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// It could not be started or spoken to.
    #[error("cannot run `{command}`: {source}")]
    Start {
        /// The command line.
        command: String,
        /// Why.
        source: io::Error,
    },
    /// It ended with a failure.
    #[error("`{command}` failed ({status}): {message}")]
    Failed {
        /// The command line.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        message: String,
    },
}

/// Runs a command line given as words, and returns what it printed.
///
/// # Errors
///
/// When it cannot be started or does not succeed.
pub fn run<S: AsRef<OsStr>>(words: &[S]) -> Result<String, CommandError> {
    run_with_input(words, "")
}

/// Like [`run`], with `input` on its standard input.
///
/// # Errors
///
/// When it cannot be started or does not succeed.
pub fn run_with_input<S: AsRef<OsStr>>(words: &[S], input: &str) -> Result<String, CommandError> {
    let line = || words.iter().map(|w| w.as_ref().to_string_lossy()).collect::<Vec<_>>().join(" ");
    let start = |source| CommandError::Start { command: line(), source };
    let (program, arguments) =
        words.split_first().ok_or_else(|| start(io::ErrorKind::InvalidInput.into()))?;
    let output = exchange(Command::new(program).args(arguments), input).map_err(|source| {
        if source.kind() != io::ErrorKind::NotFound {
            return start(source);
        }
        let program = program.as_ref().to_string_lossy().into_owned();
        CommandError::Missing { package: package_of(&program), program }
    })?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let message = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
        Err(CommandError::Failed { command: line(), status: output.status, message })
    }
}

/// Runs `command` with an input small enough for a pipe's buffer.
fn exchange(command: &mut Command, input: &str) -> io::Result<Output> {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    if let Some(mut pipe) = child.stdin.take() {
        // A program that does not read its input says by its exit status whether that matters.
        let _ = pipe.write_all(input.as_bytes());
    }
    child.wait_with_output()
}

fn package_of(program: &str) -> &'static str {
    match program {
        "ethtool" => "ethtool",
        "curl" => "curl",
        _ => "iproute2",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_reported_with_its_package() {
        let error = run(&["/nonexistent/ip"]).unwrap_err();
        assert!(error.to_string().ends_with("apt-get install iproute2"), "{error}");
    }

    #[test]
    fn a_failure_is_reported_with_what_was_run_and_said() {
        let error = run(&["sh", "-c", "echo sorry >&2; exit 3"]).unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.ends_with("sorry"), "{error}");
    }

    #[test]
    fn input_reaches_the_program_and_its_output_comes_back() {
        assert_eq!(run_with_input(&["cat"], "cubic\n").unwrap(), "cubic\n");
    }
}
