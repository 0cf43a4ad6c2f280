//! The link comes and goes with its lab.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

use pagewire_tools::lab::{Lab, LabConfig, Prefix, SERVER, Side, Switch, privileged};

use crate::probe::link;

fn pw(words: &str) -> Output {
    let mut pw = Command::new(env!("CARGO_BIN_EXE_pw"));
    pw.args(words.split_whitespace()).output().unwrap()
}

/// A byte there and back on a connection from the client, and how long both took.
fn exchange(lab: &Lab, address: std::net::IpAddr) -> Duration {
    let listener = lab.within(Side::Server, || TcpListener::bind((address, 0))).unwrap().unwrap();
    let to = SocketAddr::new(address, listener.local_addr().unwrap().port());
    thread::scope(|scope| {
        scope.spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            stream.write_all(&byte).unwrap();
        });
        let mut stream = lab.within(Side::Client, || TcpStream::connect(to)).unwrap().unwrap();
        let start = Instant::now();
        let mut byte = [0];
        stream.write_all(b"x").unwrap();
        stream.read_exact(&mut byte).unwrap();
        start.elapsed()
    })
}

#[test]
fn both_families_cross_the_link_also_behind_a_gateway() {
    if !privileged() {
        return;
    }
    for (routed, queues) in [(false, Some(3)), (true, None)] {
        let link = link("--delay 15ms");
        let lab = Lab::up(&LabConfig { routed, queues, link, ..LabConfig::unique() }).unwrap();
        for address in SERVER {
            let round_trip = exchange(&lab, address);
            assert!(round_trip >= Duration::from_millis(30), "{round_trip:?}");
            assert!(round_trip < Duration::from_secs(20), "{round_trip:?}");
        }
    }
}

#[test]
fn a_kept_lab_has_an_emulator_of_its_own_until_it_is_taken_down() {
    if !privileged() {
        return;
    }
    let prefix = Prefix::unique();
    let up = pw(&format!("lab up --prefix {prefix} --delay 1ms --loss 0.5% --seed 4"));
    assert!(up.status.success(), "{up:?}");
    let status =
        String::from_utf8_lossy(&pw(&format!("lab status --prefix {prefix}")).stdout).into_owned();
    assert!(status.contains("--delay=1ms --loss=0.5% --seed=4"), "{status}");
    assert!(status.contains("to the server    "), "{status}");
    let run = format!("lab run --prefix {prefix} client -- curl --silent --max-time 5 10.77.0.1");
    // Nobody listens there, says the server at once: status 7. Otherwise it would be a timeout.
    assert_eq!(pw(&run).status.code(), Some(7));
    let process = status.lines().skip_while(|line| !line.ends_with("-link"));
    let process = process.into_iter().find_map(|line| line.strip_prefix("processes")).unwrap();
    // A process that has ended has no program any more, though its parent may not know yet.
    let program = Path::new("/proc").join(process.trim()).join("exe");
    assert!(program.read_link().is_ok(), "{status}");
    assert!(pw(&format!("lab down --prefix {prefix}")).status.success());
    assert!(program.read_link().is_err());
    assert!(!Path::new(&format!("/run/pagewire-lab/link-{prefix}")).exists());
}

#[test]
fn links_that_cannot_be_are_refused_before_anything_is_built() {
    if !privileged() {
        return;
    }
    let lab = LabConfig::unique();
    for (config, hint) in [
        (LabConfig { link: link("--rate 1gbit --queue 1bdp"), ..lab.clone() }, "--delay"),
        (LabConfig { link: link("--loss 1%"), offloads: Switch::On, ..lab.clone() }, "--offloads"),
        (LabConfig { link: link("--loss 1%"), mtu: 9_000, ..lab.clone() }, "--mtu"),
    ] {
        let error = Lab::up(&config).unwrap_err().to_string();
        assert!(error.contains(hint), "{error}");
        assert!(!Path::new(&format!("/run/netns/{}-server", lab.prefix)).exists());
    }
}
