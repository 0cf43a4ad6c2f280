//! The machine, its kernel's settings, and the state of the source, as far as they can be told now.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::process::{Resource, getrlimit};

use super::Run;

/// Settings of the kernel that change what such measurements come to.
const SETTINGS: [(&str, &str); 10] = [
    ("default congestion control", "/proc/sys/net/ipv4/tcp_congestion_control"),
    ("tcp_rmem", "/proc/sys/net/ipv4/tcp_rmem"),
    ("tcp_wmem", "/proc/sys/net/ipv4/tcp_wmem"),
    ("default queueing", "/proc/sys/net/core/default_qdisc"),
    ("netdev_budget", "/proc/sys/net/core/netdev_budget"),
    ("busy_poll", "/proc/sys/net/core/busy_poll"),
    ("BPF JIT", "/proc/sys/net/core/bpf_jit_enable"),
    ("transparent huge pages", "/sys/kernel/mm/transparent_hugepage/enabled"),
    ("huge pages", "/proc/sys/vm/nr_hugepages"),
    ("clock source", "/sys/devices/system/clocksource/clocksource0/current_clocksource"),
];

/// Names and values, for people.
pub fn describe(files: &[PathBuf], runs: &[Run]) -> Vec<(String, String)> {
    let mut lines = Vec::new();
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            lines.push((name.to_owned(), value));
        }
    };
    add("written", now());
    add(
        "source",
        output("git", &["-c", "safe.directory=*", "log", "-1", "--format=%h of %cs, %s"]),
    );
    add(
        "changed since",
        output("git", &["-c", "safe.directory=*", "status", "--short", "--untracked-files=no"]),
    );
    for Run { command, outcome } in runs {
        add(command, Some(outcome.clone()));
    }
    for path in files {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let time = fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
        let time = time.and_then(date).unwrap_or_default();
        add("figures", name.map(|name| format!("{name}, {time}")));
    }
    add("processor", processor());
    add("memory", memory());
    add("kernel", read("/proc/sys/kernel/osrelease"));
    add("kernel's command line", read("/proc/cmdline"));
    add("compiler", output("rustc", &["--version"]));
    add("descriptors of a process", Some(descriptors()));
    for (name, path) in SETTINGS {
        add(name, read(path));
    }
    lines
}

fn read(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then_some(text)
}

fn processor() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "))?.1;
    let cores = text.lines().filter(|line| line.starts_with("processor")).count();
    Some(format!("{name}, {cores} cores"))
}

fn memory() -> Option<String> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: f64 = total.split_whitespace().next()?.parse().ok()?;
    Some(format!("{:.1} GiB", kib / 1024.0 / 1024.0))
}

fn descriptors() -> String {
    let limit = getrlimit(Resource::Nofile).maximum;
    limit.map_or("no limit".to_owned(), |limit| format!("at most {limit}"))
}

fn now() -> Option<String> {
    date(SystemTime::now())
}

/// Day and minute, in UTC.
fn date(time: SystemTime) -> Option<String> {
    let seconds = time.duration_since(UNIX_EPOCH).ok()?.as_secs();
    output("date", &["--utc", "--date", &format!("@{seconds}"), "+%Y-%m-%d %H:%M UTC"])
}
