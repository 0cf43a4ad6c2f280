//! What is told: per cell what a request costs, the verdicts, and where the CPU time went.

use std::{fmt::Write, time::Duration};

use pagewire_tools::load::Cause;

use super::{
    Runs,
    cell::{Cell, RAW_GOAL, Wire},
    exchange::Exchange,
    order::Subject,
    stages::Profile,
    trial::Measured,
    wire::Link,
};
use crate::{
    figures::Figure,
    limit::Limit,
    statistics::{Estimate, median},
};

/// What the lines mean.
pub const NOTES: &str = "
µs/request: CPU time on the server's side: the server's threads, the kernel's receive threads for it
(napi) and ksoftirqd of its core; medians with 95 % intervals by Student's t of the runs' logarithms.
raw AF_XDP: as many frames of the same mean size, with nothing above the driver; with offloads on no more
a second than the user stack answered, as the kernel's client, which is full there, sets the pace. raw /
kernel: the least that any user stack could come to here. Ratios are of runs of the same round. rest: what
the server's core was busy with besides, by samples of the timer: interrupts, other programs, this one; part
of a core. rx irq: receptions in software interrupts on the server's core for each request: what the
client's receive work would show as if it were done there. others: how much of both cores other programs
took, if more than a tenth; then the figures are worth less.";

/// What is measured on this wire.
pub fn head(wire: Wire, link: &Link) -> String {
    let core = |cores: &[core_affinity::CoreId]| cores.first().map_or(0, |core| core.id);
    let offloads = match wire {
        Wire::Like => "wire-like: MTU 1500, checksum and segmentation offloads off",
        Wire::Offloads => {
            "offloads on: the server's kernel hands over up to 64 KiB at once; the client's end receives by \
             RPS"
        }
    };
    let (server, client) = (core(&link.server.cores), core(&link.client.cores));
    format!(
        "{offloads}; server and its NAPI on core {server}, client and its NAPI on core {client}; one \
         queue, cubic, GRO on"
    )
}

/// A cell's lines. `no_kernel` is why there is no kernel mode, if there is none.
pub fn block(cell: &Cell, runs: &Runs, no_kernel: Option<&str>) -> String {
    let mut text = format!("\n{}\n", cell.name());
    if let Some(why) = no_kernel {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {:<11} cannot: {why}", Subject::Kernel.name());
    }
    for subject in Subject::ALL {
        if let Some(line) = subject_line(subject, runs) {
            text.push_str(&line);
        }
    }
    let kernel = runs.ratio(Subject::User, Subject::Kernel, Measured::cost_us);
    let raw = runs.ratio(Subject::User, Subject::Raw, Measured::cost_us);
    let least = runs.ratio(Subject::Raw, Subject::Kernel, Measured::cost_us);
    text.push_str(&verdict("user / kernel", kernel, cell.goal()));
    text.push_str(&verdict("raw / kernel", least, None));
    text.push_str(&verdict("user / raw", raw, Some(RAW_GOAL)));
    text.truncate(text.trim_end().len());
    text
}

/// What a subject's runs came to, and where the CPU time went; nothing if there were none.
fn subject_line(subject: Subject, runs: &Runs) -> Option<String> {
    let all = runs.of(subject);
    let idle = all.iter().filter(|run| run.requests == 0).count();
    let Some(cost) = runs.estimate(subject, Measured::cost_us) else {
        return Some(format!("  {:<11} answered nothing in {idle} runs\n", subject.name()))
            .filter(|_| idle > 0);
    };
    let middle = |value: &dyn Fn(&Measured) -> f64| {
        median(&all.iter().map(value).collect::<Vec<_>>()).unwrap_or(f64::NAN)
    };
    let micros = |time: fn(&Measured) -> Duration| middle(&|run| run.each_us(time(run)));
    let mut line = format!(
        "  {:<11} {} µs/request = {} own + {} napi + {} softirq; {:>7.0}/s",
        subject.name(),
        interval(&cost),
        figure(micros(|run| run.spent.server)),
        figure(micros(|run| run.spent.server_receive)),
        figure(micros(|run| run.spent.server_softirq)),
        middle(&Measured::rate),
    );
    if let Some(exchange) = all.iter().rev().find_map(Exchange::of) {
        let Exchange { requests, request_bytes, responses, response_bytes } = exchange;
        let _ = write!(
            line,
            "; frames {requests:.2} × {request_bytes} B in, {responses:.2} × {response_bytes} B out"
        );
    }
    let share = |time: fn(&Measured) -> Duration| {
        middle(&|run| time(run).as_secs_f64() / run.time.as_secs_f64() * 100.0)
    };
    let irqs = middle(&|run| run.each(run.spent.server_interrupts as f64));
    let _ = write!(
        line,
        "\n  {:<11} core {:.0} % busy, {:.0} % charged, rest {:.0} %; rx irq {irqs:.3}; client's core: {:.0} % \
         client + {:.0} % napi",
        "",
        share(|run| run.spent.server_core),
        share(|run| run.spent.charged()),
        share(|run| run.spent.rest()),
        share(|run| run.spent.client),
        share(|run| run.spent.client_receive + run.spent.client_softirq),
    );
    if idle > 0 {
        let _ = write!(line, "; answered nothing in {idle} of {} runs", all.len());
    }
    for (cause, at) in Cause::ALL.into_iter().zip(0..) {
        let count: u64 = all.iter().map(|run| run.failed[at]).sum();
        if count > 0 {
            let _ = write!(line, "; {count} FAILED: {}", cause.text());
        }
    }
    let others = middle(&Measured::others);
    if others > 0.1 {
        let _ = write!(line, "; others: {:.0} %", others * 100.0);
    }
    Some(line + "\n")
}

/// Said where stages cannot be told apart.
pub const NO_PERF: &str = "  stages need perf and addr2line: apt-get install linux-perf binutils";

/// Stages below this part of a request's cost are told together.
const SMALL_SHARE: f64 = 0.01;

/// A subject's stages.
pub fn stages(subject: Subject, profile: &Profile, cost_us: f64) -> String {
    if profile.total() == 0 {
        return format!("  {}: no samples", subject.name());
    }
    let shares = profile.shares();
    let mut text = format!("  {} by {} samples, µs/request:", subject.name(), profile.total());
    let mut rest = 0.0;
    let mut on_line = 0;
    for (name, share) in shares {
        if share < SMALL_SHARE {
            rest += share;
            continue;
        }
        text.push_str(if on_line % 4 == 0 { "\n    " } else { ", " });
        on_line += 1;
        let _ = write!(text, "{name} {}", figure(share * cost_us));
    }
    let _ = write!(text, "; all others {}", figure(rest * cost_us));
    text
}

/// The user stack's stages beside those of the raw exchange, and where the limit lies.
pub fn limit(limit: &Limit) -> String {
    let mut text =
        format!("  {:<28} {:>7} {:>7} {:>7}\n", "stages, µs/request", "user", "raw", "more");
    let (user, raw) = limit.sums(|_| true);
    let small = |value: f64, all: f64| value < SMALL_SHARE * all;
    let mut rest = (0.0, 0.0);
    let mut line = |name: &str, user: f64, raw: f64| {
        let (more, user, raw) = (figure(user - raw), figure(user), figure(raw));
        let _ = writeln!(text, "    {name:<26} {user:>7} {raw:>7} {more:>7}");
    };
    for row in &limit.rows {
        if small(row.user_us, user) && small(row.raw_us, raw) {
            rest = (rest.0 + row.user_us, rest.1 + row.raw_us);
        } else {
            line(&row.stage, row.user_us, row.raw_us);
        }
    }
    line("all others", rest.0, rest.1);
    line("sum", user, raw);
    text + "  " + &limit.sentence(RAW_GOAL)
}

/// A subject's stages, as figures.
pub fn stage_figures(
    cell: &Cell,
    subject: Subject,
    profile: &Profile,
    cost_us: f64,
) -> Vec<Figure> {
    let figure = |(stage, value): (&str, f64)| Figure {
        name: format!("compare/{}/{}/stage/{stage}", cell.name(), subject.name()),
        value,
        unit: "us/request",
    };
    profile.costs(cost_us).into_iter().map(figure).collect()
}

fn verdict(what: &str, ratio: Option<Estimate>, goal: Option<f64>) -> String {
    let Some(ratio) = ratio else { return String::new() };
    let goal = goal.map_or_else(String::new, |goal| {
        let met = if ratio.median <= goal { "met" } else { "not met" };
        let wanted = if goal < 1.0 { format!("1/{:.1}", 1.0 / goal) } else { format!("{goal:.2}") };
        format!(", goal ≤ {wanted}: {met}")
    });
    let times = match ratio.median {
        below if below < 1.0 => format!("  (1/{:.2})", 1.0 / below),
        _ => String::new(),
    };
    format!("  {what:<13} {}{times}{goal}\n", interval(&ratio))
}

fn interval(estimate: &Estimate) -> String {
    let Estimate { median, low, high } = *estimate;
    if estimate.has_interval() {
        format!("{} [{}–{}]", figure(median), figure(low), figure(high))
    } else {
        figure(median)
    }
}

/// Three digits, or all before the point.
fn figure(value: f64) -> String {
    match value.abs() {
        ..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// The cell's figures.
pub fn figures(cell: &Cell, runs: &Runs, no_kernel: Option<&str>) -> Vec<Figure> {
    let name = format!("compare/{}", cell.name());
    let mut figures = Vec::new();
    figures.extend(no_kernel.map(|why| Figure {
        name: format!("{name}/{}/cannot: {why}", Subject::Kernel.name()),
        value: 1.0,
        unit: "cell",
    }));
    let mut add = |what: &str, estimate: Option<Estimate>, unit: &'static str| {
        let Some(Estimate { median, low, high }) = estimate else { return };
        for (part, value) in [("", median), (" low", low), (" high", high)] {
            if value.is_finite() {
                figures.push(Figure { name: format!("{name}/{what}{part}"), value, unit });
            }
        }
    };
    for subject in Subject::ALL {
        let who = subject.name();
        add(&format!("{who}/cost"), runs.estimate(subject, Measured::cost_us), "us/request");
        add(&format!("{who}/rate"), runs.estimate(subject, Measured::rate), "requests/s");
    }
    let ratio = |over| runs.ratio(Subject::User, over, Measured::cost_us);
    add("user over kernel", ratio(Subject::Kernel), "ratio");
    add("user over raw", ratio(Subject::Raw), "ratio");
    let least = runs.ratio(Subject::Raw, Subject::Kernel, Measured::cost_us);
    add("raw over kernel", least, "ratio");
    for (what, goal) in [("kernel", cell.goal()), ("raw", Some(RAW_GOAL))] {
        let name = format!("{name}/user over {what} goal");
        figures.extend(goal.map(|value| Figure { name, value, unit: "ratio" }));
    }
    for subject in Subject::ALL {
        let all = runs.of(subject);
        let mut plain = |what: &str, unit: &'static str, value: &dyn Fn(&Measured) -> f64| {
            if let Some(value) = median(&all.iter().map(value).collect::<Vec<_>>()) {
                let name = format!("{name}/{}/{what}", subject.name());
                figures.push(Figure { name, value, unit });
            }
        };
        plain("own threads", "us/request", &|run| run.each_us(run.spent.server));
        plain("napi", "us/request", &|run| run.each_us(run.spent.server_receive));
        plain("softirq", "us/request", &|run| run.each_us(run.spent.server_softirq));
        plain("rest of the core", "us/request", &|run| run.each_us(run.spent.rest()));
        plain("receive interrupts", "per request", &|run| {
            run.each(run.spent.server_interrupts as f64)
        });
        plain("p50", "us", &|run| run.latency[0].as_nanos() as f64 / 1e3);
        plain("p99", "us", &|run| run.latency[1].as_nanos() as f64 / 1e3);
        plain("failures", "requests", &|run| run.failures() as f64);
        plain("others", "part of the cores", &Measured::others);
        if let Some(exchange) = all.iter().rev().find_map(Exchange::of) {
            for (what, value, unit) in [
                ("frames in", exchange.requests, "frames/request"),
                ("frame bytes in", exchange.request_bytes as f64, "B"),
                ("frames out", exchange.responses, "frames/request"),
                ("frame bytes out", exchange.response_bytes as f64, "B"),
            ] {
                let name = format!("{name}/{}/{what}", subject.name());
                figures.push(Figure { name, value, unit });
            }
        }
    }
    figures
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::{account::Spent, cell::CELLS, order::order};

    fn runs() -> Runs {
        let mut runs = Runs::default();
        for subject in order(2) {
            let micros = match subject {
                Subject::Kernel => 4_000,
                Subject::User => 1_600,
                Subject::Raw => 1_200,
            };
            let server = Duration::from_micros(micros);
            let spent = Spent { server, server_core: server, ..Spent::default() };
            let time = Duration::from_millis(10);
            runs.enter(subject, Measured { time, requests: 1_000, spent, ..Measured::default() });
        }
        runs
    }

    #[test]
    fn verdicts_stand_beside_their_goals() {
        let text = block(&CELLS[0], &runs(), None);
        assert!(
            text.contains("user / kernel 0.40 [0.40–0.40]  (1/2.50), goal ≤ 1/2.0: met"),
            "{text}"
        );
        assert!(text.contains("user / raw    1.33 [1.33–1.33], goal ≤ 1.25: not met"), "{text}");
        assert!(text.contains("kernel mode 4.00 [4.00–4.00] µs/request"), "{text}");
        assert!(text.contains("raw / kernel  0.30 [0.30–0.30]"), "{text}");
        assert!(block(&CELLS[0], &Runs::default(), Some("why")).contains("cannot: why"));
    }

    #[test]
    fn stages_of_both_sides_stand_side_by_side_and_add_up() {
        let user = [("transmit: kick", 1.0), ("HTTP", 0.5), ("tiny", 0.001)];
        let text = limit(&Limit::of(user, [("transmit: kick", 0.9)]).unwrap());
        assert!(text.contains("transmit: kick                1.00    0.90    0.10"), "{text}");
        assert!(text.contains("HTTP                          0.50    0.00    0.50"), "{text}");
        assert!(text.contains("sum                           1.50    0.90    0.60"), "{text}");
        assert!(!text.contains("    tiny"), "{text}");
    }

    #[test]
    fn figures_have_names_of_their_own() {
        let mut names: Vec<_> =
            figures(&CELLS[0], &runs(), Some("why")).into_iter().map(|it| it.name).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
        assert!(names.contains(&format!("compare/{}/user over kernel", CELLS[0].name())));
    }
}
