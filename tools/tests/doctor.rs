//! The doctor names each fault that is made in a lab, and what it puts right it can take back.

use std::{
    net::TcpListener,
    process::{Command, Output},
};

use pagewire_driver::{Steering, XdpConfig, XdpPort};
use pagewire_tools::lab::{INTERFACE, Lab, LabConfig, Side, privileged};
use serde_json::Value;

const PW: &str = env!("CARGO_BIN_EXE_pw");
const ADDRESSES: &str = "--address 10.77.0.1 --address fd77::1";

fn lab(change: impl FnOnce(&mut LabConfig)) -> Lab {
    let mut config = LabConfig { queues: Some(2), ..LabConfig::unique() };
    change(&mut config);
    let lab = Lab::up(&config).unwrap();
    // The lab's own switch is about the client.
    write(&lab, "/proc/sys/net/core/txrehash", "0");
    lab
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_whitespace()
}

/// Runs a line of words on a side, which has to succeed.
fn run(lab: &Lab, side: Side, line: &str) {
    let (program, rest) = line.split_once(' ').unwrap();
    let output = lab.command(side, program).args(words(rest)).output().unwrap();
    assert!(output.status.success(), "{line}: {output:?}");
}

/// Writes to a file of the kernel on the server's side.
fn write(lab: &Lab, path: &str, value: &str) {
    let script = format!("echo {value} >{path}");
    let status = lab.command(Side::Server, "sh").args(["-c", &script]).status().unwrap();
    assert!(status.success(), "{script}");
}

/// `pw doctor` on the server's side, started by `prefix` if there is one.
fn doctor(lab: &Lab, prefix: &str, flags: &str) -> Output {
    let line = format!("{prefix} {PW} doctor {flags}");
    let mut words = words(&line);
    let mut command: Command = lab.command(Side::Server, words.next().unwrap());
    command.args(words).output().unwrap()
}

/// The verdict on one thing; `good` also if nothing is said about it.
fn verdict(output: &Output, check: &str) -> String {
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let findings = report["findings"].as_array().unwrap();
    let finding = findings.iter().find(|finding| finding["check"] == check);
    finding.map_or("good", |finding| finding["verdict"].as_str().unwrap()).to_owned()
}

/// A fault that can be made by changing the lab that is up.
struct Fault {
    check: &'static str,
    verdict: &'static str,
    flags: &'static str,
    make: fn(&Lab),
}

const fn fault(check: &'static str, verdict: &'static str, make: fn(&Lab)) -> Fault {
    Fault { check, verdict, flags: "", make }
}

const FAULTS: [Fault; 11] = [
    fault("link", "fault", |lab| run(lab, Side::Server, "ip link set dev pw0 down")),
    fault("carrier", "fault", |lab| run(lab, Side::Client, "ip link set dev pw0 down")),
    fault("mtu", "fault", |lab| run(lab, Side::Server, "ip link set dev pw0 mtu 4000")),
    Fault {
        flags: "--queues 0-1",
        ..fault("queues", "fault", |lab| run(lab, Side::Server, "ethtool -L pw0 rx 1 tx 1"))
    },
    fault("cores", "warning", |lab| run(lab, Side::Server, "ethtool -L pw0 rx 1 tx 1")),
    fault("master", "warning", |lab| {
        run(lab, Side::Server, "ip link add name br0 type bridge");
        run(lab, Side::Server, "ip link set dev pw0 master br0");
    }),
    fault("addresses", "note", |lab| {
        run(lab, Side::Server, "ip address del 10.77.0.1/24 dev pw0");
    }),
    fault("ipv6", "fault", |lab| write(lab, "/proc/sys/net/ipv6/conf/pw0/disable_ipv6", "1")),
    fault("rps", "note", |lab| write(lab, "/sys/class/net/pw0/queues/rx-0/rps_cpus", "1")),
    fault("txrehash", "note", |lab| write(lab, "/proc/sys/net/core/txrehash", "1")),
    fault("napi", "warning", |lab| {
        run(lab, Side::Server, "ethtool -K pw0 gro on");
        write(lab, "/sys/class/net/pw0/threaded", "1");
    }),
];

#[test]
fn every_fault_made_in_a_lab_is_named_and_was_not_before() {
    if !privileged() {
        return;
    }
    for Fault { check, verdict: expected, flags, make } in FAULTS {
        let lab = lab(|_| ());
        let flags = format!("pw0 {ADDRESSES} --cores 0-1 {flags} --json");
        let before = doctor(&lab, "env", &flags);
        assert_eq!(verdict(&before, check), "good", "{check} before");
        assert!(before.status.success(), "{before:?}");
        make(&lab);
        let after = doctor(&lab, "env", &flags);
        assert_eq!(verdict(&after, check), expected, "{check}: {after:?}");
        assert_eq!(after.status.success(), expected != "fault", "{check}");
    }
}

#[test]
fn what_the_process_lacks_is_named() {
    if !privileged() {
        return;
    }
    let lab = lab(|_| ());
    for (check, expected, prefix, flags) in [
        ("interface", "fault", "env", "nothere0"),
        ("capabilities", "fault", "setpriv --bounding-set=-net_admin", "pw0"),
        ("memlock", "fault", "setpriv --bounding-set=-ipc_lock prlimit --memlock=8388608", "pw0"),
        ("descriptors", "warning", "prlimit --nofile=1024", "pw0"),
        ("core-set", "fault", "taskset -c 0", "pw0 --cores 0-1"),
    ] {
        let output = doctor(&lab, prefix, &format!("{flags} --json"));
        assert_eq!(verdict(&output, check), expected, "{check}: {output:?}");
    }
}

#[test]
fn whoever_has_the_port_the_queue_or_the_interface_already_is_named() {
    if !privileged() {
        return;
    }
    let lab = lab(|_| ());
    let look = |check| verdict(&doctor(&lab, "env", &format!("pw0 {ADDRESSES} --json")), check);
    assert_eq!(["port", "bound-queues", "xdp-program"].map(look), ["good"; 3]);
    let bind = || TcpListener::bind("0.0.0.0:80");
    let listener = lab.within(Side::Server, bind).unwrap().unwrap();
    assert_eq!(look("port"), "warning");
    drop(listener);
    let found = lab.within(Side::Server, || {
        let _port = XdpPort::open(&XdpConfig::new(INTERFACE, 1)).unwrap();
        look("bound-queues")
    });
    assert_eq!(found.unwrap(), "fault");
    let found = lab.within(Side::Server, || {
        let mut program = Steering::load_for_all().unwrap();
        program.attach(INTERFACE).unwrap();
        (look("xdp-program"), doctor(&lab, "env", "pw0"))
    });
    let (verdict, told) = found.unwrap();
    assert_eq!(verdict, "fault");
    // It is a link of this process, which `ip link` may not take off.
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.contains(&format!("of process {} ", std::process::id())), "{told}");
    assert!(told.contains("$ bpftool link detach id "), "{told}");
}

#[test]
fn a_configuration_says_what_is_to_be_served() {
    if !privileged() {
        return;
    }
    let lab = lab(|_| ());
    let file = tempfile::NamedTempFile::new().unwrap();
    let text =
        "root = \"/\"\ninterface = \"pw0\"\naddress = [\"10.77.0.9/24\"]\nqueues = \"0-2\"\n";
    std::fs::write(file.path(), text).unwrap();
    let flags = format!("--config {} --json", file.path().display());
    let output = doctor(&lab, "env", &flags);
    assert_eq!(verdict(&output, "queues"), "fault", "{output:?}");
    assert_eq!(verdict(&output, "addresses"), "note", "{output:?}");
    std::fs::write(file.path(), "interfase = 1\n").unwrap();
    let output = doctor(&lab, "env", &flags);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("interfase"), "{said}");
}

#[test]
fn the_kernels_congestion_control_is_named_where_it_cripples_veth() {
    if !privileged() {
        return;
    }
    let lab = lab(|config| config.congestion_control = "bbr".to_owned());
    assert_eq!(verdict(&doctor(&lab, "env", "pw0 --json"), "congestion-control"), "warning");
}

#[test]
fn what_is_safe_is_put_right_and_taken_back() {
    if !privileged() {
        return;
    }
    let lab = lab(|_| ());
    run(&lab, Side::Server, "ip link set dev pw0 mtu 4000");
    write(&lab, "/proc/sys/net/core/txrehash", "1");
    let look = || {
        let output = doctor(&lab, "env", "pw0 --json");
        ["mtu", "txrehash"].map(|check| verdict(&output, check))
    };
    assert_eq!(look(), ["fault", "note"]);
    let fixed = doctor(&lab, "env", "pw0 --fix");
    assert!(fixed.status.success(), "{fixed:?}");
    let text = String::from_utf8_lossy(&fixed.stdout).into_owned();
    assert!(text.contains("done: ip link set dev pw0 mtu 1500"), "{text}");
    assert_eq!(look(), ["good", "good"]);
    let undone = doctor(&lab, "env", "pw0 --undo");
    assert!(undone.status.success(), "{undone:?}");
    assert_eq!(look(), ["fault", "note"]);
    let again = doctor(&lab, "env", "pw0 --undo");
    assert!(!again.status.success(), "{again:?}");
}
