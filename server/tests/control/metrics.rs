//! The metrics, read by Prometheus' own parser, and scrapers that behave badly.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::{Command, Stdio},
};

use pagewire::control::metrics::Metrics;
use pagewire_driver::{Instant as Time, MemoryConfig, memory_link};
use pagewire_stack::{
    DiskPool, Observe, Prefix,
    user::{Mesh, ServedAddress, UserConfig, UserLimits, UserStack},
};
use rustix::fs::{Advice, fadvise};
use serde_json::Value;

use crate::fixture::{PATIENCE, Running, wait_until};

fn serve(running: &Running) -> Metrics {
    Metrics::serve("127.0.0.1:0".parse().unwrap(), running.server.observer()).unwrap()
}

fn request(metrics: &Metrics, text: &str) -> String {
    let mut scraper = TcpStream::connect(metrics.address()).unwrap();
    scraper.set_read_timeout(Some(PATIENCE)).unwrap();
    scraper.write_all(text.as_bytes()).unwrap();
    let mut answer = String::new();
    scraper.read_to_string(&mut answer).unwrap();
    answer
}

/// The metrics, once the only shard has answered so many requests and tells of it.
fn scrape_after(metrics: &Metrics, requests: usize) -> String {
    let mut text = scrape(metrics);
    wait_until("all answers are counted", || {
        let tells = |name: &str, end: &str| {
            let mut lines = text.lines().filter(|line| line.starts_with(&format!("{name}{{")));
            lines.any(|line| line.ends_with(end))
        };
        let is_so = tells("pagewire_shard_responding", " 1")
            && tells("pagewire_request_duration_seconds_count", &format!(" {requests}"))
            && tells("pagewire_connection_rtt_seconds", "");
        if !is_so {
            text = scrape(metrics);
        }
        is_so
    });
    text
}

fn scrape(metrics: &Metrics) -> String {
    let answer = request(metrics, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("Content-Type: text/plain; version=0.0.4"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
    body.to_owned()
}

/// The samples, as the parser of Prometheus' Python client reads them. None where it is not installed,
/// which is an error where `CI` is set.
fn parse(text: &str) -> Option<Vec<Value>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/control/read_metrics.py");
    let python = |arguments: &[&str]| {
        let mut command = Command::new("/usr/bin/python3");
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        command
    };
    let there = python(&["-c", "import prometheus_client"]).status();
    if !there.is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("CI").is_none(), "install python3-prometheus-client");
        eprintln!("SKIPPED: this test needs the package python3-prometheus-client");
        return None;
    }
    let mut child = python(&[script.to_str().unwrap()]).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{text}");
    let lines = String::from_utf8(output.stdout).unwrap();
    Some(lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

#[test]
fn prometheus_reads_them_and_they_are_what_happened() {
    let running = Running::start(&["--cores=0"]);
    let metrics = serve(&running);
    let file = File::open(running.directory.path().join("root/small.txt")).unwrap();
    file.sync_all().unwrap();
    fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    for _ in 0..3 {
        running.fetch();
    }
    let mut idle = running.ask_for("/nothing");
    idle.read_exact(&mut [0; 12]).unwrap();
    let Some(samples) = parse(&scrape_after(&metrics, 4)) else { return };
    let sum = |name: &str, label: &str, value: &str| -> f64 {
        let of = samples.iter().filter(|sample| {
            sample["name"] == name && (label.is_empty() || sample["labels"][label] == value)
        });
        of.map(|sample| sample["value"].as_f64().unwrap()).sum()
    };
    for (name, label, value, count) in [
        ("pagewire_requests_total", "", "", 4),
        ("pagewire_requests_total", "shard", "0", 4),
        ("pagewire_responses_total", "cause", "2xx", 3),
        ("pagewire_responses_total", "cause", "4xx", 1),
        ("pagewire_responses_total", "cause", "5xx", 0),
        ("pagewire_request_duration_seconds_count", "", "", 4),
        ("pagewire_request_duration_seconds_bucket", "le", "+Inf", 4),
        ("pagewire_shard_responding", "", "", 1),
        ("pagewire_build_info", "transport", "kernel", 1),
        ("pagewire_fallback", "", "", 0),
        ("pagewire_interface_losses_total", "cause", "vanished", 0),
        ("pagewire_cache_lookups_total", "", "", 4),
    ] {
        let counted = sum(name, label, value);
        assert!((counted - f64::from(count)).abs() < 0.5, "{name} {label} {value}: {counted}");
    }
    assert!(sum("pagewire_connections_by_state", "state", "estab") >= 1.0);
    let is_there = |name| samples.iter().any(|sample| sample["name"] == name);
    assert!(is_there("pagewire_major_page_faults_total"));
    assert!(sum("pagewire_disk_reads_total", "", "") >= 1.0, "the file was not in memory");
    assert!(sum("pagewire_connection_rtt_seconds", "percentile", "99") > 0.0);
    assert!(sum("pagewire_start_time_seconds", "", "") > 1.7e9);
}

#[test]
fn other_requests_are_told_where_they_are() {
    let running = Running::start(&["--cores=0"]);
    let metrics = serve(&running);
    let status = |text: &str| request(&metrics, text)[9..12].to_owned();
    assert_eq!(status("GET / HTTP/1.1\r\n\r\n"), "404");
    assert_eq!(status("POST /metrics HTTP/1.1\r\n\r\n"), "405");
    assert_eq!(status("nonsense\r\n\r\n"), "400");
    // As long as is read of a request.
    assert_eq!(status(&format!("{:x<8192}", "GET /metrics HTTP/1.1\r\nX: ")), "400");
    for (path, status) in [("/metrics", "200"), ("/other", "404")] {
        let answer = request(&metrics, &format!("HEAD {path} HTTP/1.1\r\n\r\n"));
        assert!(answer[9..].starts_with(status) && answer.ends_with("\r\n\r\n"), "{answer}");
    }
}

#[test]
fn hung_scrapers_never_stop_serving() {
    let running = Running::start(&["--cores=0"]);
    let metrics = serve(&running);
    running.serves_on_beside(|| {
        let hang = |number| {
            let mut scraper = TcpStream::connect(metrics.address()).unwrap();
            // Some say nothing, some half a request, some never read the answer.
            let said: &[u8] = match number % 3 {
                0 => b"",
                1 => b"GET /metrics HT",
                _ => b"GET /metrics HTTP/1.1\r\n\r\n",
            };
            let _ = scraper.write_all(said);
            scraper
        };
        (0..12).map(hang).collect::<Vec<_>>()
    });
    let works = || {
        let mut scraper = TcpStream::connect(metrics.address()).ok()?;
        scraper.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").ok()?;
        let mut answer = String::new();
        scraper.read_to_string(&mut answer).ok()?;
        answer.contains("pagewire_requests_total").then_some(())
    };
    wait_until("their places are free again", || works().is_some());
}

/// Names of all metrics that either transport has.
fn names() -> BTreeSet<String> {
    let running = Running::start(&["--cores=0"]);
    running.fetch();
    let idle = running.ask_for("/small.txt");
    (&idle).read_exact(&mut [0; 12]).unwrap();
    let text = scrape_after(&serve(&running), 2);
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let name_of = |line: &str| line.split(['{', ' ']).next().unwrap().to_owned();
    let mut names: BTreeSet<_> = lines.map(name_of).collect();
    let (port, _) = memory_link(MemoryConfig::default()).unwrap();
    let prefix = Prefix::new("10.0.0.1".parse().unwrap(), 24).unwrap();
    let config = UserConfig {
        addresses: vec![ServedAddress { prefix, owned_alone: true }],
        listen: Some(80),
        limits: UserLimits { connections: 4, ..UserLimits::default() },
        mesh: Mesh::new(1).remove(0),
        disk: DiskPool::start(1, 16).unwrap(),
        network: None,
        probe: None,
    };
    let stack = UserStack::new(port, Time::ZERO, config).unwrap();
    stack.figures(&mut |figure, _| {
        names.insert(format!("pagewire_{}", figure.name));
        names.insert(format!("pagewire_{}_total", figure.name));
    });
    names.insert("pagewire_steered_frames_total".to_owned());
    names
}

#[test]
fn the_dashboard_shows_metrics_that_there_are() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib/grafana/pagewire.json");
    let text = fs::read_to_string(path).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let queries: Vec<_> = targets.map(|target| target["expr"].as_str().unwrap()).collect();
    let words =
        queries.iter().flat_map(|query| query.split(|c: char| !c.is_alphanumeric() && c != '_'));
    let shown: BTreeSet<_> = words.filter(|word| word.starts_with("pagewire_")).collect();
    assert!(shown.len() >= 20, "{shown:?}");
    let names = names();
    let missing: Vec<_> = shown.iter().filter(|&&name| !names.contains(name)).collect();
    assert!(missing.is_empty(), "no such metrics: {missing:?}");
}
