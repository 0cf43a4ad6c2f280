//! What the demonstration found, side by side.

use std::time::Duration;

use indicatif::{HumanBytes, HumanCount};

use super::{
    fetch::{CLIENTS, Outcome},
    transport::Transport,
};

/// One run over one transport.
pub(super) struct Run {
    pub(super) transport: Transport,
    pub(super) outcome: Outcome,
    pub(super) time: Duration,
    /// CPU time of the server's threads.
    pub(super) cpu: Duration,
    /// CPU time of software interrupts of the whole machine.
    pub(super) softirq: Duration,
}

impl Run {
    fn per_request(&self, time: Duration) -> String {
        let requests = self.outcome.requests.max(1) as f64;
        format!("{:.1} µs", time.as_secs_f64() * 1e6 / requests)
    }
}

/// A row's name and how to get its value from a run.
type Row = (&'static str, fn(&Run) -> String);

const ROWS: [Row; 9] = [
    ("requests", |run| HumanCount(run.outcome.requests).to_string()),
    ("bytes", |run| HumanBytes(run.outcome.bytes).to_string()),
    ("connections", |run| HumanCount(run.outcome.connections).to_string()),
    ("time, checks included", |run| format!("{:.1} s", run.time.as_secs_f64())),
    ("requests/s", |run| {
        let rate = run.outcome.requests as f64 / run.time.as_secs_f64().max(1e-9);
        format!("{rate:.0}")
    }),
    ("server CPU", |run| format!("{:.2} s", run.cpu.as_secs_f64())),
    ("server CPU per request", |run| run.per_request(run.cpu)),
    ("softirq per request, all cores", |run| run.per_request(run.softirq)),
    ("files that differ", |run| HumanCount(run.outcome.faults).to_string()),
];

/// Prints the runs as columns.
pub(super) fn print(runs: &[Run]) {
    print!("{}", table(runs));
    println!(
        "\n{CLIENTS} curl processes with keep-alive fetched every file over IPv4 and over IPv6, and each \
         SHA-256 was\ncompared with the disk's. Software interrupts do the packet work of both sides and \
         are charged to\nwhichever process they interrupt. curl and the checks share the cores with the \
         server: this shows\nthat it works, not how fast it can be."
    );
    for run in runs {
        for example in &run.outcome.examples {
            println!("{}: {example}", run.transport.name());
        }
    }
}

fn table(runs: &[Run]) -> String {
    let mut lines = vec![line("", runs.iter().map(|run| run.transport.name().to_owned()))];
    lines.extend(ROWS.map(|(name, value)| line(name, runs.iter().map(value))));
    lines.concat()
}

fn line(name: &str, cells: impl Iterator<Item = String>) -> String {
    let cells: Vec<_> = cells.map(|cell| format!("{cell:>16}")).collect();
    format!("{name:<32}{}\n", cells.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_stand_side_by_side() {
        let run = |transport| Run {
            transport,
            outcome: Outcome { requests: 2000, bytes: 1 << 20, ..Outcome::default() },
            time: Duration::from_secs(4),
            cpu: Duration::from_millis(100),
            softirq: Duration::ZERO,
        };
        let table = table(&[run(Transport::Xdp), run(Transport::Kernel)]);
        let row = |name: &str| {
            let line = table.lines().find(|line| line.starts_with(name)).expect(name);
            line[name.len()..].split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(row("requests "), "2,000 2,000");
        assert_eq!(row("requests/s"), "500 500");
        assert_eq!(row("server CPU per request"), "50.0 µs 50.0 µs");
        assert_eq!(row("files that differ"), "0 0");
    }
}
