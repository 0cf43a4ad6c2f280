//! `pagewire-bench all`: every measurement one after another, and the report of them.
//!
//! Each is this program again, in a process of its own, with a limit of time of its own: one that fails or
//! hangs costs its own figures only, and the report says so. New measurements are added to [`STEPS`].

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    error::BenchError,
    interrupt,
    report::{self, Run},
};

/// How long all of it may take.
const FULL: Duration = Duration::from_mins(45);
const QUICK: Duration = Duration::from_mins(6);

/// How long a measurement may take to clean up once it is told to end.
const GRACE: Duration = Duration::from_secs(15);

/// A measurement: its words on the command line, and the most seconds that it may take.
type Words = (&'static [&'static str], u64);

struct Step {
    name: &'static str,
    full: Option<Words>,
    quick: Option<Words>,
}

/// All measurements, in order. The limits are about half as long again as they take; together they may be
/// more than there is, as what is late ends with the whole.
const STEPS: [Step; 11] = [
    Step { name: "pps", full: Some((&[], 120)), quick: Some((&["--quick"], 45)) },
    Step { name: "engine", full: Some((&[], 180)), quick: Some((&["--quick"], 45)) },
    Step { name: "http", full: Some((&[], 40)), quick: Some((&["--quick"], 15)) },
    Step { name: "syscalls", full: Some((&[], 180)), quick: Some((&["--quick"], 45)) },
    Step { name: "cold", full: Some((&[], 420)), quick: Some((&["--quick"], 110)) },
    Step { name: "compare", full: Some((&[], 1_260)), quick: Some((&["--quick"], 160)) },
    Step { name: "clients", full: Some((&[], 150)), quick: Some((&["--quick"], 30)) },
    Step { name: "emulator", full: Some((&[], 40)), quick: Some((&["--quick"], 20)) },
    Step { name: "ladder", full: Some((&[], 1_260)), quick: Some((&["--quick"], 240)) },
    // All of its links alone take half an hour: by itself, or the short runs of six of them.
    Step { name: "syn-flood", full: Some((&[], 60)), quick: None },
    Step { name: "wan", full: Some((&["--quick"], 420)), quick: None },
];

/// Every measurement, one after another, and the report of all as one HTML page
///
/// Figures are left as NAME.json in the directory, and the page as report.html. Needs root. The other
/// programs of the machine should be quiet meanwhile.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Short runs of everything, within 6 minutes rather than 45
    #[arg(long)]
    quick: bool,

    /// Where to leave figures and report; made if it is not there
    #[arg(long, value_name = "DIR", default_value = "pagewire-measurements")]
    output: PathBuf,

    /// Only this measurement, such as `ladder`; may be given several times
    #[arg(long, value_name = "NAME", value_parser = step_of)]
    only: Vec<&'static str>,
}

fn step_of(name: &str) -> Result<&'static str, String> {
    let names = STEPS.map(|step| step.name);
    let found = names.into_iter().find(|it| *it == name);
    found.ok_or_else(|| format!("there is none of that name; choose from {}", names.join(", ")))
}

/// Measures everything and writes the report.
///
/// # Errors
///
/// When nothing could be measured, the report cannot be written, or when interrupted.
pub fn run(options: &Options) -> Result<(), BenchError> {
    let interrupted = interrupt::flag()?;
    let folder = &options.output;
    let unusable = |source| BenchError::File { path: folder.clone(), source };
    fs::create_dir_all(folder).map_err(unusable)?;
    let steps: Vec<_> = STEPS
        .iter()
        .filter(|step| options.only.is_empty() || options.only.contains(&step.name))
        .filter_map(|step| Some((step.name, if options.quick { step.quick } else { step.full }?)))
        .collect();
    let (start, most) = (Instant::now(), if options.quick { QUICK } else { FULL });
    let (mut runs, mut files) = (Vec::new(), Vec::new());
    for (index, (name, (words, limit_s))) in steps.iter().enumerate() {
        let file = folder.join(format!("{name}.json"));
        let left = most.saturating_sub(start.elapsed());
        let limit = left.min(Duration::from_secs(*limit_s));
        let (number, all) = (index + 1, steps.len());
        let (spent, limit_s, most_s) = (seconds(start.elapsed()), seconds(limit), seconds(most));
        eprintln!("\n[{number}/{all}] {name}, at most {limit_s}; {spent} of {most_s} so far");
        let (command, outcome) = measure(name, words, &file, limit, &interrupted)?;
        eprintln!("[{number}/{all}] {name}: {outcome}");
        if file.is_file() {
            files.push(file);
        }
        runs.push(Run { command, outcome });
    }
    if files.is_empty() {
        return Err(BenchError::Nothing("nothing was measured; see the messages above".to_owned()));
    }
    let page = folder.join("report.html");
    report::write(&page, &files, &runs)?;
    eprintln!("\nall in {}; read {}", seconds(start.elapsed()), page.display());
    Ok(())
}

/// Runs one measurement, which leaves `file`, and says by which command and how it ended.
fn measure(
    name: &str,
    words: &[&str],
    file: &Path,
    limit: Duration,
    interrupted: &AtomicBool,
) -> Result<(String, String), BenchError> {
    // An older run's figures are not this one's.
    match fs::remove_file(file) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(BenchError::File { path: file.to_owned(), source });
        }
        _ => {}
    }
    let shown = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let command = [&["pagewire-bench", name], words, &["--json", &shown]].concat().join(" ");
    let program = std::env::current_exe().map_err(BenchError::system("find this program"))?;
    let start = Instant::now();
    let child = Command::new(program).arg(name).args(words).arg("--json").arg(file).spawn();
    let mut child = child.map_err(BenchError::system("start a measurement"))?;
    let deadline = start + limit;
    let status = wait(&mut child, |now| now >= deadline || interrupted.load(Ordering::Relaxed));
    let status = status.map_err(BenchError::system("wait for a measurement"))?;
    if interrupted.load(Ordering::Relaxed) {
        return Err(BenchError::Interrupted);
    }
    let took = seconds(start.elapsed());
    let outcome = match status {
        Some(status) if status.success() => format!("done in {took}"),
        Some(status) => format!("failed after {took}: {status}"),
        None => format!("ended after {took}, which is its limit"),
    };
    Ok((command, outcome))
}

/// Waits until `child` ends by itself, or else ends it when it `is_late`, in peace if it can.
fn wait(child: &mut Child, is_late: impl Fn(Instant) -> bool) -> io::Result<Option<ExitStatus>> {
    const PAUSE: Duration = Duration::from_millis(50);
    while !is_late(Instant::now()) {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(PAUSE);
    }
    // It has not been waited for, so its number is still its own.
    let _ = kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM);
    let last = Instant::now() + GRACE;
    while child.try_wait()?.is_none() {
        if Instant::now() > last {
            child.kill()?;
            child.wait()?;
            break;
        }
        thread::sleep(PAUSE);
    }
    Ok(None)
}

fn seconds(time: Duration) -> String {
    match time.as_secs() {
        seconds @ ..120 => format!("{seconds} s"),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_late_is_ended_and_what_is_not_is_waited_for() {
        let mut quick = Command::new("true").spawn().unwrap();
        assert!(wait(&mut quick, |_| false).unwrap().unwrap().success());
        let start = Instant::now();
        let mut slow = Command::new("sleep").arg("60").spawn().unwrap();
        assert_eq!(wait(&mut slow, |now| now > start + Duration::from_millis(100)).unwrap(), None);
        assert!(start.elapsed() < GRACE);
    }

    #[test]
    fn every_step_is_a_command_of_this_program_with_its_words() {
        use clap::CommandFactory;
        for step in &STEPS {
            for (words, limit_s) in [step.full, step.quick].into_iter().flatten() {
                let line = [&["pagewire-bench", step.name], words, &["--json", "x"]].concat();
                crate::Arguments::command().try_get_matches_from(line).unwrap();
                assert!(limit_s > 0);
            }
        }
    }
}
