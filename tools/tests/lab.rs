//! The lab as its users see it: what it builds, and that it leaves nothing behind.

use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use pagewire_tools::lab::{self, Addressing, Lab, LabConfig, SERVER, Side, Switch, privileged};

const ALLOWED: &str = "/proc/sys/net/ipv4/tcp_allowed_congestion_control";

fn output(lab: &Lab, side: Side, words: &[&str]) -> String {
    let output = lab.command(side, words[0]).args(&words[1..]).output().expect("ip runs");
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn exists(lab: &str) -> bool {
    Path::new(&format!("/run/netns/{lab}-server")).exists()
}

/// One connection from the client to a listener of the server's kernel, and a byte each way.
fn exchange(lab: &Lab, address: IpAddr) {
    let listener =
        lab.within(Side::Server, || TcpListener::bind((address, 0))).unwrap().expect("bound");
    let to = SocketAddr::new(address, listener.local_addr().unwrap().port());
    thread::scope(|scope| {
        scope.spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a byte");
            stream.write_all(&byte).expect("sent");
        });
        let patience = Duration::from_secs(5);
        let connect = || TcpStream::connect_timeout(&to, patience);
        let mut stream = lab.within(Side::Client, connect).unwrap().expect("connected");
        stream.write_all(b"x").expect("sent");
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("the byte back");
        assert_eq!(&byte, b"x");
    });
}

#[test]
fn both_families_reach_the_server_directly_and_by_a_gateway() {
    if !privileged() {
        return;
    }
    for routed in [false, true] {
        let lab = Lab::up(&LabConfig { routed, ..LabConfig::unique() }).unwrap();
        for address in SERVER {
            exchange(&lab, address);
        }
    }
}

#[test]
fn settings_are_what_was_asked_for() {
    if !privileged() {
        return;
    }
    let config = LabConfig {
        queues: Some(3),
        mtu: 3506,
        txrehash: Switch::Off,
        congestion_control: "cubic".to_owned(),
        ..LabConfig::unique()
    };
    let allowed = fs::read_to_string(ALLOWED).unwrap();
    let lab = Lab::up(&config).unwrap();
    assert_eq!(fs::read_to_string(ALLOWED).unwrap(), allowed, "the host's setting is as before");
    for side in [Side::Server, Side::Client] {
        let queues = output(&lab, side, &["ls", "/sys/class/net/pw0/queues"]);
        assert_eq!(
            queues.split_whitespace().collect::<Vec<_>>().join(" "),
            "rx-0 rx-1 rx-2 tx-0 tx-1 tx-2"
        );
        assert_eq!(output(&lab, side, &["cat", "/sys/class/net/pw0/mtu"]), "3506");
        let control = ["cat", "/proc/sys/net/ipv4/tcp_congestion_control"];
        assert_eq!(output(&lab, side, &control), "cubic");
        let features = output(&lab, side, &["ethtool", "-k", "pw0"]);
        for feature in
            ["tx-checksumming", "tcp-segmentation-offload", "generic-segmentation-offload"]
        {
            assert!(features.contains(&format!("{feature}: off")), "{side:?} {feature}");
        }
    }
    assert_eq!(output(&lab, Side::Client, &["cat", "/proc/sys/net/core/txrehash"]), "0");
}

#[test]
fn with_offloads_on_only_the_clients_checksums_stay_off() {
    if !privileged() {
        return;
    }
    let config = LabConfig { offloads: Switch::On, ..LabConfig::unique() };
    let lab = Lab::up(&config).unwrap();
    let server = output(&lab, Side::Server, &["ethtool", "-k", "pw0"]);
    assert!(server.contains("tcp-segmentation-offload: on"));
    let client = output(&lab, Side::Client, &["ethtool", "-k", "pw0"]);
    assert!(client.contains("tx-checksumming: off"));
    assert!(client.contains("generic-segmentation-offload: on"));
}

#[test]
fn threaded_napi_gives_receive_threads() {
    if !privileged() {
        return;
    }
    let config = LabConfig { threaded_napi: Switch::On, ..LabConfig::unique() };
    let lab = Lab::up(&config).unwrap();
    for side in [Side::Server, Side::Client] {
        assert_eq!(output(&lab, side, &["cat", "/sys/class/net/pw0/threaded"]), "1");
    }
}

#[test]
fn without_kernel_addresses_the_server_owns_only_its_routes() {
    if !privileged() {
        return;
    }
    let config = LabConfig { routed: true, kernel_address: Addressing::No, ..LabConfig::unique() };
    let lab = Lab::up(&config).unwrap();
    let addresses = output(&lab, Side::Server, &["ip", "-brief", "address", "show", "pw0"]);
    assert!(!addresses.contains("10.77") && !addresses.contains("fd77"), "{addresses}");
    let routes = output(&lab, Side::Server, &["ip", "route"]);
    assert!(routes.contains("10.78.0.0/24 via 10.77.0.254"), "{routes}");
    let routes = output(&lab, Side::Server, &["ip", "-6", "route"]);
    assert!(routes.contains("fd78::/64 via fd77::fe"), "{routes}");
}

#[test]
fn a_kept_lab_stays_until_it_is_taken_down_and_up_is_idempotent() {
    if !privileged() {
        return;
    }
    let config = LabConfig::unique();
    let name = config.prefix.to_string();
    Lab::up(&config).unwrap().keep().unwrap();
    Lab::up(&config).unwrap().keep().unwrap();
    assert!(lab::status(&config.prefix).unwrap().contains("10.77.0.1/24"));
    drop(Lab::up(&LabConfig::unique()).unwrap());
    assert!(exists(&name), "another lab does not touch it");
    lab::down(&config.prefix).unwrap();
    assert!(!exists(&name));
    lab::down(&config.prefix).unwrap();
}

#[test]
fn dropping_a_lab_ends_what_runs_in_it_also_in_a_panic() {
    if !privileged() {
        return;
    }
    let config = LabConfig::unique();
    let name = config.prefix.to_string();
    let start = Instant::now();
    let run = thread::spawn(move || {
        let lab = Lab::up(&config).unwrap();
        let mut sleeper =
            lab.command(Side::Client, "sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
        thread::spawn(move || sleeper.wait());
        panic!("on purpose");
    });
    assert!(run.join().is_err());
    assert!(!exists(&name));
    assert!(start.elapsed() < Duration::from_secs(30));
}

#[test]
fn the_lab_of_a_killed_process_is_removed_by_the_next() {
    if !privileged() {
        return;
    }
    let config = LabConfig::unique();
    let name = config.prefix.to_string();
    let lab = Lab::up(&config).unwrap();
    // As if its owner had been killed: its record names a process that is gone.
    fs::write(format!("/run/pagewire-lab/owner-{name}"), "4294967295 1").unwrap();
    drop(Lab::up(&LabConfig::unique()).unwrap());
    assert!(!exists(&name));
    drop(lab);
}

#[test]
fn run_passes_the_exit_status_through() {
    if !privileged() {
        return;
    }
    let lab = Lab::up(&LabConfig::unique()).unwrap();
    let prefix = lab.prefix().to_string();
    let status = |words: &[&str]| {
        let mut pw = Command::new(env!("CARGO_BIN_EXE_pw"));
        pw.args(["lab", "run", "--prefix", &prefix, "client", "--"]).args(words);
        pw.stderr(Stdio::null()).status().unwrap().code()
    };
    assert_eq!(status(&["true"]), Some(0));
    assert_eq!(status(&["sh", "-c", "exit 42"]), Some(42));
    assert_eq!(status(&["/nonexistent"]), Some(127));
}

#[test]
fn a_side_that_is_not_there_and_an_unknown_congestion_control_are_explained() {
    if !privileged() {
        return;
    }
    let config = LabConfig { congestion_control: "warp".to_owned(), ..LabConfig::unique() };
    let error = Lab::up(&config).unwrap_err().to_string();
    assert!(error.contains("`warp`") && error.contains("reno"), "{error}");
    assert!(!exists(&config.prefix.to_string()), "nothing is left of the attempt");
    let error = lab::run(&config.prefix, Side::Gateway, &["true".to_owned()]).unwrap_err();
    assert!(error.to_string().contains("pw lab up"), "{error}");
}
