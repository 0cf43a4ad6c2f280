//! `pw load` against servers that do well, badly, or die, over both transports.

mod server;

use std::{
    fs,
    net::{IpAddr, TcpListener, TcpStream},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use pagewire_tools::{
    lab::{Lab, LabConfig, SERVER, Side, privileged},
    load::{self, Cause, Outcome, Pace, Plan, Report, TransportPlan, Verify, Weighted, Workload},
};
use server::Server;

const LOOPBACK: &str = "127.0.0.1";

/// Longer than anything here takes, also where others have the machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A hundred requests of eight connections, however long they take.
fn plan(server: &Server, path: &str) -> Plan {
    Plan {
        connections: 8,
        requests_max: Some(100),
        timeout: PATIENCE,
        duration: PATIENCE * 2,
        ..Plan::new(&server.url(path)).unwrap()
    }
}

fn failures(report: &Report) -> Vec<(Cause, u64)> {
    let counts = Cause::ALL.map(|cause| (cause, report.tally.failed(cause)));
    counts.into_iter().filter(|(_, count)| *count > 0).collect()
}

#[test]
fn right_answers_are_counted_and_measured() {
    let server = Server::start(LOOPBACK);
    let report = load::run(&plan(&server, "/hello")).unwrap();
    assert_eq!(report.outcome(), Outcome::Right, "{report}");
    assert_eq!((report.requests, report.tally.answered, server.requests()), (100, 100, 100));
    assert_eq!((report.tally.latency.len(), report.tally.opened), (100, 8));
    assert!(report.rate_per_s() > 0.0 && report.tally.quantile(0.5) > Duration::ZERO);
    assert_eq!(report.tally.received_bytes, 100 * (server_head_len() + 5));
    assert_eq!(report.to_json()["answered"], 100);
}

fn server_head_len() -> u64 {
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".len() as u64
}

#[test]
fn bodies_longer_than_any_buffer_are_read_to_their_end() {
    let server = Server::start(LOOPBACK);
    let plan = Plan { verify: Verify::First, ..plan(&server, "/large") };
    let report = load::run(&plan).unwrap();
    assert_eq!(report.outcome(), Outcome::Right, "{report}");
    assert!(report.tally.received_bytes > 100 * 300_000);
}

#[test]
fn pipelined_requests_and_connections_for_each_request_are_answered() {
    let server = Server::start(LOOPBACK);
    let report = load::run(&Plan { pipeline: 16, ..plan(&server, "/hello") }).unwrap();
    assert_eq!((report.outcome(), report.tally.answered), (Outcome::Right, 100), "{report}");
    let report = load::run(&Plan { close: true, ..plan(&server, "/hello") }).unwrap();
    assert_eq!((report.outcome(), report.tally.answered), (Outcome::Right, 100), "{report}");
    assert_eq!(report.tally.opened, 100);
    assert_eq!(server.connections(), 8 + 100);
}

#[test]
fn a_server_that_announces_to_close_is_asked_on_another_connection() {
    let server = Server::start(LOOPBACK);
    let report = load::run(&plan(&server, "/tenth-ends")).unwrap();
    assert_eq!((report.outcome(), report.tally.answered), (Outcome::Right, 100), "{report}");
    assert!(report.tally.ended >= 9 && report.tally.opened > 8, "{report}");
}

#[test]
fn wrong_answers_are_counted_by_what_is_wrong() {
    let server = Server::start(LOOPBACK);
    for (path, cause) in [
        ("/missing", Cause::Status),
        ("/short", Cause::ShortBody),
        ("/nothing", Cause::Closed),
        ("/endless", Cause::Malformed),
    ] {
        let report = load::run(&plan(&server, path)).unwrap();
        assert_eq!(failures(&report), [(cause, 100)], "{path}: {report}");
        assert_eq!(report.outcome(), Outcome::NoAnswer);
    }
    let report = load::run(&plan(&server, "/missing")).unwrap();
    assert_eq!(report.tally.statuses[&404], 100);
    let report = load::run(&Plan { expect: 404, ..plan(&server, "/missing") }).unwrap();
    assert_eq!(report.outcome(), Outcome::Right, "{report}");
    let report = load::run(&plan(&server, "/too-much")).unwrap();
    assert!(report.tally.failed(Cause::Malformed) > 0, "{report}");
}

#[test]
fn a_body_of_another_length_or_content_than_before_is_noticed() {
    let server = Server::start(LOOPBACK);
    let report = load::run(&plan(&server, "/growing")).unwrap();
    assert_eq!(failures(&report)[0].0, Cause::Length, "{report}");
    assert_eq!(load::run(&plan(&server, "/changing")).unwrap().outcome(), Outcome::Right);
    let report = load::run(&Plan { verify: Verify::First, ..plan(&server, "/changing") }).unwrap();
    assert!(report.tally.failed(Cause::Content) > 90, "{report}");
    assert_eq!(report.outcome(), Outcome::Failures);
}

#[test]
fn a_silent_server_costs_the_timeout_and_no_more() {
    let server = Server::start(LOOPBACK);
    let plan = Plan {
        timeout: Duration::from_millis(500),
        duration: Duration::from_secs(3),
        requests_max: None,
        ..plan(&server, "/silent")
    };
    let start = Instant::now();
    let report = load::run(&plan).unwrap();
    assert!(start.elapsed() < PATIENCE);
    assert!(report.tally.failed(Cause::Timeout) >= 8, "{report}");
}

#[test]
fn a_dead_server_is_given_up_soon() {
    let free = TcpListener::bind((LOOPBACK, 0)).unwrap().local_addr().unwrap();
    let start = Instant::now();
    let plan = Plan { duration: PATIENCE * 2, ..Plan::new(&format!("http://{free}/")).unwrap() };
    let report = load::run(&plan).unwrap();
    assert!(start.elapsed() < PATIENCE, "of twice that");
    assert_eq!(report.outcome(), Outcome::NoAnswer);
    assert!(report.gave_up && failures(&report)[0].0 == Cause::Refused, "{report}");
}

#[test]
fn a_server_that_dies_is_noticed_and_given_up() {
    let server = Server::start(LOOPBACK);
    let timeout = Duration::from_millis(500);
    let plan = Plan { requests_max: None, timeout, ..plan(&server, "/hello") };
    let start = Instant::now();
    let report = thread::scope(|scope| {
        scope.spawn(|| {
            server.wait_for(plan.connections);
            server.die();
        });
        load::run(&plan).unwrap()
    });
    assert!(start.elapsed() < PATIENCE, "of twice that");
    assert_eq!(report.outcome(), Outcome::Failures);
    assert!(report.gave_up && report.tally.answered > 0, "{report}");
    assert!(report.tally.failed(Cause::Refused) > 0, "{report}");
}

#[test]
fn a_server_that_comes_back_is_loaded_again() {
    let first = Server::start(LOOPBACK);
    let address = first.address;
    let plan = Plan { requests_max: None, ..plan(&first, "/hello") };
    let stop = AtomicBool::new(false);
    let report = thread::scope(|scope| {
        scope.spawn(|| {
            // Also if this fails.
            let _stop = StopOnDrop(&stop);
            first.wait_for(plan.connections);
            drop(first);
            thread::sleep(Duration::from_millis(300));
            let second = Server::start_at(address);
            second.wait_for(plan.connections);
        });
        load::run_watched(&plan, &stop, &mut |_| ()).unwrap()
    });
    assert!(!report.gave_up, "{report}");
    // Each connection is opened again. On its way it may have come to a listener that was about to close, and
    // been reset, once.
    assert!((16..=24).contains(&report.tally.opened), "{report}");
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How long open loops last: longer than others keep the machine.
const OPEN_TIME: Duration = Duration::from_secs(3);

#[test]
fn an_open_loop_keeps_its_rate_and_counts_from_the_intended_start() {
    let server = Server::start(LOOPBACK);
    let plan = Plan {
        pace: Pace::Open { rate_per_s: 1_000.0 },
        duration: OPEN_TIME,
        requests_max: None,
        ..plan(&server, "/hello")
    };
    let report = load::run(&plan).unwrap();
    let started = report.requests + report.tally.unsent;
    assert!((3_000..=3_001).contains(&started), "{report}");
    assert_eq!(report.outcome(), Outcome::Right, "{report}");

    // One connection can do 20 a second of these; the others wait.
    let plan = Plan {
        connections: 1,
        pace: Pace::Open { rate_per_s: 100.0 },
        ..Plan { target: plan.target.clone(), ..self::plan(&server, "/slow") }
    };
    let plan = Plan { duration: OPEN_TIME, requests_max: None, ..plan };
    let report = load::run(&plan).unwrap();
    assert!(report.tally.answered < 65 && report.tally.unsent > 230, "{report}");
    assert!(report.tally.quantile(0.5) > Duration::from_millis(200), "{report}");
    let started = report.requests + report.tally.unsent;
    assert!((300..=301).contains(&started), "{report}");
}

#[test]
fn an_open_loop_with_a_connection_for_each_request_keeps_its_rate() {
    let server = Server::start(LOOPBACK);
    let plan = Plan {
        pace: Pace::Open { rate_per_s: 200.0 },
        duration: OPEN_TIME,
        requests_max: None,
        close: true,
        ..plan(&server, "/hello")
    };
    let report = load::run(&plan).unwrap();
    assert_eq!(report.outcome(), Outcome::Right, "{report}");
    assert!((600..=601).contains(&(report.requests + report.tally.unsent)), "{report}");
    assert_eq!(report.tally.opened, report.requests);
}

#[test]
fn connections_come_from_all_local_addresses() {
    let server = Server::start(LOOPBACK);
    let addresses: Vec<IpAddr> = (2..6).map(|last| IpAddr::from([127, 0, 0, last])).collect();
    let transport = TransportPlan::Kernel { local_addresses: addresses.clone() };
    let report = load::run(&Plan { transport, ..plan(&server, "/hello") }).unwrap();
    assert_eq!(report.outcome(), Outcome::Right, "{report}");
    let peers = server.peers();
    for address in addresses {
        assert_eq!(peers.iter().filter(|peer| **peer == address).count(), 2, "{peers:?}");
    }
}

#[test]
fn several_cores_and_paths_share_the_work() {
    let server = Server::start(LOOPBACK);
    let core = plan(&server, "/").cores[0];
    let path = |path: &str, weight| Weighted { path: path.to_owned(), weight };
    let workload = Workload::weighted(vec![path("/hello", 3.0), path("/slow", 1.0)]).unwrap();
    let plan = Plan { cores: vec![core, core], workload, ..plan(&server, "/") };
    let report = load::run(&plan).unwrap();
    assert_eq!((report.outcome(), report.tally.answered), (Outcome::Right, 100), "{report}");
    assert_eq!((report.cores.len(), report.tally.opened), (2, 8));
}

#[test]
fn a_run_can_be_stopped_and_is_watched_by_the_second() {
    let server = Server::start(LOOPBACK);
    let plan = Plan { requests_max: None, ..plan(&server, "/hello") };
    let (stop, mut seconds) = (AtomicBool::new(false), 0);
    let start = Instant::now();
    let report = load::run_watched(&plan, &stop, &mut |second| {
        if second.answered > 0 {
            seconds += 1;
            stop.store(true, Ordering::Relaxed);
        }
    });
    assert!(start.elapsed() < PATIENCE, "of twice that");
    assert_eq!(report.unwrap().outcome(), Outcome::Interrupted);
    assert!((1..=2).contains(&seconds), "{seconds}");
}

#[test]
fn exit_statuses_are_those_that_the_help_documents() {
    let server = Server::start(LOOPBACK);
    let free = TcpListener::bind((LOOPBACK, 0)).unwrap().local_addr().unwrap();
    let pw = |words: &[&str]| {
        let mut pw = Command::new(env!("CARGO_BIN_EXE_pw"));
        let output = pw.arg("load").args(words).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("list");
    fs::write(&list, "/hello\n/missing\n").unwrap();
    let list = list.to_str().unwrap();
    assert_eq!(pw(&[&server.url("/hello"), "-n", "20"]).0, Some(0));
    assert_eq!(pw(&["nonsense"]).0, Some(2));
    assert_eq!(pw(&[&server.url("/hello"), "-n", "50", "--urls-from", list]).0, Some(3));
    assert_eq!(pw(&[&format!("http://{free}/"), "-n", "20"]).0, Some(4));
    assert_eq!(pw(&["http://192.0.2.1/"]).0, Some(5));
    assert_eq!(pw(&[&server.url("/hello"), "--json", "/nonexistent/x", "-n", "1"]).0, Some(1));
    let (status, json) = pw(&[&server.url("/hello"), "-n", "20", "--json", "-"]);
    assert!(status == Some(0) && json.contains("\"answered\": 20"), "{json}");
}

#[test]
fn the_user_level_stack_loads_a_server_in_a_lab() {
    if !privileged() {
        return;
    }
    let lab = Lab::up(&LabConfig { queues: Some(1), ..LabConfig::unique() }).unwrap();
    for (address, ours) in SERVER.into_iter().zip(["10.77.0.3", "fd77::3"]) {
        let server = lab.within(Side::Server, || Server::start(&address.to_string())).unwrap();
        let ours: IpAddr = ours.parse().unwrap();
        let length = if ours.is_ipv4() { 24 } else { 64 };
        let transport = TransportPlan::Xdp {
            interface: "pw0".to_owned(),
            addresses: vec![pagewire_stack::Prefix::new(ours, length).unwrap()],
            queues: vec![0],
        };
        let plan = Plan { transport, timeout: Duration::from_secs(10), ..plan(&server, "/hello") };
        let run = |plan: &Plan| lab.within(Side::Client, || load::run(plan)).unwrap().unwrap();
        for plan in [
            plan.clone(),
            Plan { close: true, ..plan.clone() },
            Plan { pipeline: 8, ..plan.clone() },
            Plan { verify: Verify::First, ..Plan { workload: large(), ..plan.clone() } },
        ] {
            let report = run(&plan);
            assert_eq!(
                (report.outcome(), report.tally.answered),
                (Outcome::Right, 100),
                "{report}"
            );
        }
        assert!(server.peers().iter().all(|peer| *peer == ours));
        let refuses = || TcpStream::connect(server.address).is_err();
        let deadline = Instant::now() + PATIENCE;
        lab.within(Side::Client, || server.die()).unwrap();
        while !lab.within(Side::Client, refuses).unwrap() {
            assert!(Instant::now() < deadline, "it goes on listening");
        }
        let report = run(&plan);
        assert_eq!(failures(&report)[0].0, Cause::Refused, "{report}");
    }
}

fn large() -> Workload {
    Workload::weighted(vec![Weighted { path: "/large".to_owned(), weight: 1.0 }]).unwrap()
}

#[test]
fn an_address_that_the_kernel_has_is_not_taken_from_it() {
    if !privileged() {
        return;
    }
    let lab = Lab::up(&LabConfig { queues: Some(1), ..LabConfig::unique() }).unwrap();
    let transport = TransportPlan::Xdp {
        interface: "pw0".to_owned(),
        addresses: vec![pagewire_stack::Prefix::new([10, 77, 0, 2].into(), 24).unwrap()],
        queues: vec![0],
    };
    let plan = Plan { transport, ..Plan::new("http://10.77.0.1/").unwrap() };
    let error = lab.within(Side::Client, || load::run(&plan)).unwrap().unwrap_err();
    assert!(error.to_string().contains("10.77.0.2 is taken"), "{error}");
}
