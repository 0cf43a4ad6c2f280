//! What a run has come to, for people and for machines.

use std::{
    fmt::{self, Display},
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    Pace, Plan, TransportPlan,
    client::Ended,
    tally::{Cause, Tally},
    text::{count, per_second, size, time},
};

/// The quantiles that are told.
pub(super) const QUANTILES: [(f64, &str); 8] = [
    (0.5, "p50"),
    (0.75, "p75"),
    (0.9, "p90"),
    (0.99, "p99"),
    (0.999, "p99.9"),
    (0.9999, "p99.99"),
    (0.99999, "p99.999"),
    (1.0, "max"),
];

/// One second of a run.
#[derive(Clone, Copy, Debug)]
pub struct Second {
    /// When it ended, from the start.
    pub end: Duration,
    /// Right responses in it.
    pub answered: u64,
    /// Failures in it.
    pub failures: u64,
    /// The median latency of its responses.
    pub p50: Duration,
    /// The latency that 99 of 100 did not exceed.
    pub p99: Duration,
}

/// What one core has used.
#[derive(Clone, Debug)]
pub struct CoreReport {
    /// Its number.
    pub core: usize,
    /// Whether the thread could be bound to it.
    pub pinned: bool,
    /// CPU time of the thread in user mode.
    pub user: Duration,
    /// CPU time of the thread in kernel mode.
    pub system: Duration,
    /// What its transport has counted that should not have happened.
    pub trouble: Vec<(String, u64)>,
}

/// How a run is to be judged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// Every request was answered rightly.
    Right,
    /// Some requests failed, or not all that were to be sent could be.
    Failures,
    /// There was no right answer at all.
    NoAnswer,
    /// It was ended from outside.
    Interrupted,
}

/// What a run has come to.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was to be done, for people.
    pub plan: String,
    what: Value,
    /// From the first request to the last one's start, or to the last response if all that were to be
    /// sent are answered.
    pub window: Duration,
    /// Requests started.
    pub requests: u64,
    /// Requests that were to be started and were not, for want of time.
    pub missing: u64,
    /// All that was counted.
    pub tally: Tally,
    /// The same by seconds.
    pub seconds: Vec<Second>,
    /// By core.
    pub cores: Vec<CoreReport>,
    /// No connection could be had for so long that the run was ended.
    pub gave_up: bool,
    /// It was ended from outside.
    pub interrupted: bool,
}

impl Report {
    pub(super) fn new(plan: &Plan) -> Self {
        let transport = match &plan.transport {
            TransportPlan::Kernel { .. } => "kernel",
            TransportPlan::Xdp { .. } => "xdp",
        };
        let (pace, rate) = match plan.pace {
            Pace::Closed => ("closed loop".to_owned(), None),
            Pace::Open { rate_per_s } => {
                (format!("open loop of {rate_per_s} requests/s"), Some(rate_per_s))
            }
        };
        let each = match (plan.close, plan.pipeline) {
            (true, _) => ", one a request".to_owned(),
            (false, 1) => String::new(),
            (false, pipeline) => format!(", {pipeline} requests under way on each"),
        };
        let text = format!(
            "http://{} over {transport} TCP from {} core{}: {pace}, {} connections{each}",
            plan.target,
            plan.cores.len(),
            if plan.cores.len() == 1 { "" } else { "s" },
            count(plan.connections as u64),
        );
        let what = json!({
            "target": plan.target.authority,
            "paths": plan.workload.paths().len(),
            "transport": transport,
            "cores": plan.cores,
            "connections": plan.connections,
            "rate_per_s": rate,
            "close": plan.close,
            "pipeline": plan.pipeline,
            "duration_s": plan.duration.as_secs_f64(),
            "timeout_s": plan.timeout.as_secs_f64(),
        });
        Self {
            plan: text,
            what,
            window: Duration::ZERO,
            requests: 0,
            missing: 0,
            tally: Tally::default(),
            seconds: Vec::new(),
            cores: Vec::new(),
            gave_up: false,
            interrupted: false,
        }
    }

    /// Adds a second.
    pub(super) fn add(&mut self, end: Duration, tally: &Tally) -> &Second {
        self.tally.add(tally);
        self.seconds.push(Second {
            end,
            answered: tally.answered,
            failures: tally.failures(),
            p50: tally.quantile(0.5),
            p99: tally.quantile(0.99),
        });
        &self.seconds[self.seconds.len() - 1]
    }

    /// Adds what came after the last full second.
    pub(super) fn add_last(&mut self, tally: &Tally) {
        self.tally.add(tally);
    }

    /// Adds how a core ended.
    pub(super) fn ended(&mut self, ended: Ended, core: CoreReport) {
        self.window = self.window.max(ended.window);
        self.requests += ended.requests;
        self.missing += ended.missing;
        self.gave_up |= ended.gave_up;
        self.cores.push(core);
    }

    /// Right responses a second while requests were being sent.
    pub fn rate_per_s(&self) -> f64 {
        let seconds = self.window.as_secs_f64();
        if seconds > 0.0 { (self.tally.answered - self.tally.late) as f64 / seconds } else { 0.0 }
    }

    /// CPU time of all threads.
    pub fn cpu(&self) -> Duration {
        self.cores.iter().map(|core| core.user + core.system).sum()
    }

    /// How it is to be judged.
    pub fn outcome(&self) -> Outcome {
        if self.interrupted {
            Outcome::Interrupted
        } else if self.tally.answered == 0 {
            Outcome::NoAnswer
        } else if self.tally.failures() > 0 || self.missing > 0 {
            Outcome::Failures
        } else {
            Outcome::Right
        }
    }

    /// All of it, for machines.
    pub fn to_json(&self) -> Value {
        let tally = &self.tally;
        let failed: serde_json::Map<_, _> = Cause::ALL
            .iter()
            .map(|&cause| (cause.name().to_owned(), json!(tally.failed(cause))))
            .collect();
        let statuses: serde_json::Map<_, _> = tally
            .statuses
            .iter()
            .map(|(status, count)| (status.to_string(), json!(count)))
            .collect();
        let quantiles: serde_json::Map<_, _> = QUANTILES
            .iter()
            .map(|&(quantile, name)| (name.to_owned(), micros(tally.quantile(quantile))))
            .collect();
        let histogram = tally.latency.iter_recorded();
        let histogram: Vec<_> = histogram
            .map(|it| json!([it.value_iterated_to() as f64 / 1e3, it.count_since_last_iteration()]))
            .collect();
        let seconds = self.seconds.iter().map(|second| {
            json!({
                "end_s": second.end.as_secs_f64(),
                "answered": second.answered,
                "failures": second.failures,
                "p50_us": micros(second.p50),
                "p99_us": micros(second.p99),
            })
        });
        let cores = self.cores.iter().map(|core| {
            let trouble: serde_json::Map<_, _> =
                core.trouble.iter().map(|(name, count)| (name.clone(), json!(count))).collect();
            json!({
                "core": core.core,
                "pinned": core.pinned,
                "user_s": core.user.as_secs_f64(),
                "system_s": core.system.as_secs_f64(),
                "trouble": trouble,
            })
        });
        json!({
            "plan": self.what,
            "window_s": self.window.as_secs_f64(),
            "requests": self.requests,
            "missing": self.missing,
            "unsent": tally.unsent,
            "unfinished": tally.unfinished,
            "answered": tally.answered,
            "rate_per_s": self.rate_per_s(),
            "received_bytes": tally.received_bytes,
            "connections_opened": tally.opened,
            "connections_ended": tally.ended,
            "failures": tally.failures(),
            "failed": failed,
            "unexpected_statuses": statuses,
            "latency_us": quantiles,
            "latency_mean_us": tally.latency.mean() / 1e3,
            "histogram_us": histogram,
            "seconds": seconds.collect::<Vec<_>>(),
            "cores": cores.collect::<Vec<_>>(),
            "gave_up": self.gave_up,
            "interrupted": self.interrupted,
        })
    }

    fn write_latencies(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.tally.latency.is_empty() {
            return Ok(());
        }
        write!(f, "  latency    ")?;
        QUANTILES.iter().try_for_each(|(_, name)| write!(f, "{name:>9}"))?;
        write!(f, "\n             ")?;
        for (quantile, _) in QUANTILES {
            write!(f, "{:>9}", time(self.tally.quantile(quantile)))?;
        }
        writeln!(f)
    }

    fn write_failures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tally = &self.tally;
        for cause in Cause::ALL.into_iter().filter(|&cause| tally.failed(cause) > 0) {
            write!(f, "  failed     {:>9}  {}", count(tally.failed(cause)), cause.text())?;
            if cause == Cause::Status {
                let each =
                    tally.statuses.iter().map(|(status, n)| format!("{status}: {}", count(*n)));
                write!(f, " ({})", each.collect::<Vec<_>>().join(", "))?;
            }
            writeln!(f)?;
        }
        for (number, text) in [
            (tally.unsent, "due, but no connection was free; their wait is among the latencies"),
            (tally.unfinished, "under way when the run was over"),
            (self.missing, "of --requests not started within --duration"),
        ] {
            if number > 0 {
                writeln!(f, "  left       {:>9}  {text}", count(number))?;
            }
        }
        if self.gave_up {
            writeln!(f, "  gave up    no connection could be had any more")?;
        }
        Ok(())
    }
}

fn micros(time: Duration) -> Value {
    json!(time.as_nanos() as f64 / 1e3)
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tally = &self.tally;
        writeln!(f, "{}, {}", self.plan, time(self.window))?;
        writeln!(
            f,
            "  answered   {} of {} requests, {}, {}/s received",
            count(tally.answered),
            count(self.requests + tally.unsent),
            per_second(self.rate_per_s()),
            size(tally.received_bytes as f64 / self.window.as_secs_f64().max(1e-9)),
        )?;
        self.write_latencies(f)?;
        self.write_failures(f)?;
        write!(f, "  opened     {} connections", count(tally.opened))?;
        if tally.ended > 0 {
            write!(f, ", {} ended by the server between requests", count(tally.ended))?;
        }
        writeln!(f)?;
        let each = self.cpu().as_secs_f64() * 1e6 / (tally.answered.max(1) as f64);
        for core in &self.cores {
            let (user, system) = (core.user.as_secs_f64(), core.system.as_secs_f64());
            let part = (user + system) / self.window.as_secs_f64().max(1e-9);
            writeln!(
                f,
                "  CPU        core {}{}: {:.0} % busy, {user:.2} s user, {system:.2} s system",
                core.core,
                if core.pinned { "" } else { " (not pinned)" },
                part * 100.0,
            )?;
            for (name, count_of) in &core.trouble {
                writeln!(f, "  trouble    {:>9}  {name}", count(*count_of))?;
            }
        }
        if tally.answered > 0 {
            writeln!(f, "  CPU        {each:.2} µs a request")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(answered: u64) -> Report {
        let mut report = Report::new(&Plan::new("http://127.0.0.1/").unwrap());
        let mut tally = Tally { answered, ..Tally::default() };
        tally.record(Duration::from_micros(250), answered);
        report.add(Duration::from_secs(1), &tally);
        report.window = Duration::from_secs(2);
        report
    }

    #[test]
    fn only_a_run_without_any_failure_is_right() {
        assert_eq!(report(10).outcome(), Outcome::Right);
        assert_eq!(report(0).outcome(), Outcome::NoAnswer);
        let mut failed = report(10);
        failed.tally.fail(Cause::Status);
        assert_eq!(failed.outcome(), Outcome::Failures);
        let missing = Report { missing: 1, ..report(10) };
        assert_eq!(missing.outcome(), Outcome::Failures);
        let interrupted = Report { interrupted: true, ..report(10) };
        assert_eq!(interrupted.outcome(), Outcome::Interrupted);
    }

    #[test]
    fn what_comes_after_the_sending_does_not_count_for_the_rate() {
        let mut report = report(10);
        assert!((report.rate_per_s() - 5.0).abs() < 1e-9);
        report.tally.late = 4;
        assert!((report.rate_per_s() - 3.0).abs() < 1e-9);
        report.window = Duration::ZERO;
        assert!(report.rate_per_s().abs() < 1e-9);
    }

    #[test]
    fn people_and_machines_are_told_the_same() {
        let mut report = report(10);
        report.tally.fail(Cause::ShortBody);
        let text = report.to_string();
        assert!(text.contains("connection closed within the body"), "{text}");
        assert!(text.contains("250 µs") && text.contains("p99.9"), "{text}");
        let json = report.to_json();
        assert_eq!((&json["answered"], &json["failed"]["short_body"]), (&json!(10), &json!(1)));
        assert_eq!(json["histogram_us"][0][1], 10);
    }
}
