//! What happens to the interface while it is served on: gone and back, down and up, other addresses.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use pagewire_tools::lab::{INTERFACE, Lab, LabConfig, SERVER, Side, privileged};
use rustix::process::Signal;

use crate::{
    client::{Client, PATIENCE},
    process::{Process, Site, XDP},
};

/// Runs a command on one side.
pub fn run(lab: &Lab, side: Side, words: &str) {
    let mut words = words.split_whitespace();
    let mut command = lab.command(side, words.next().unwrap());
    let output = command.args(words).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Waits until the process has said `words` so often.
pub fn wait_said(process: &Process, words: &str, times: usize) {
    let deadline = Instant::now() + PATIENCE;
    while process.said().matches(words).count() < times {
        assert!(Instant::now() < deadline, "never said `{words}`: {}", process.said());
        thread::sleep(Duration::from_millis(10));
    }
}

/// Makes the wire that was deleted again.
pub fn plug_in(lab: &Lab) {
    let client = Side::Client.namespace(lab.prefix());
    let queues = "numrxqueues 2 numtxqueues 2";
    run(
        lab,
        Side::Server,
        &format!(
            "ip link add {INTERFACE} address 02:77:00:00:00:01 {queues} type veth \
             peer name {INTERFACE} netns {client} address 02:77:00:00:00:02 {queues}"
        ),
    );
    run(lab, Side::Client, &format!("ethtool -K {INTERFACE} tx off"));
    for (side, host) in [(Side::Client, 2), (Side::Server, 1)] {
        run(lab, side, &format!("ip link set {INTERFACE} up"));
        run(lab, side, &format!("ip addr add 10.77.0.{host}/24 dev {INTERFACE}"));
        run(lab, side, &format!("ip addr add fd77::{host}/64 dev {INTERFACE} nodad"));
    }
}

pub fn fetch(lab: &Lab, site: &Site) {
    for server in SERVER {
        let connect = || Client::connect(server, PATIENCE);
        let mut client = lab.within(Side::Client, connect).unwrap().expect("a connection");
        assert!(client.get("/page").unwrap() == site.files["page"], "{server}: other bytes");
    }
}

#[test]
fn an_interface_that_vanishes_is_served_again_when_it_is_back() {
    if !privileged() {
        return;
    }
    let lab = Lab::up(&LabConfig { queues: Some(2), ..LabConfig::unique() }).unwrap();
    let site = Site::new(&[("page", 50_000)]);
    site.open_to_all();
    // Also without privileges: one thread has kept what it takes.
    let process = Process::start(&lab, &site, &format!("{XDP} --user nobody"));
    for time in 1..=3 {
        fetch(&lab, &site);
        run(&lab, Side::Server, &format!("ip link del {INTERFACE}"));
        wait_said(&process, "the interface is lost", time);
        wait_said(&process, "not serving yet: there is no", time);
        plug_in(&lab);
        wait_said(&process, "serving again", time);
    }
    fetch(&lab, &site);
    let said = process.said();
    assert_eq!(said.matches("the interface is lost").count(), 3, "said once each time: {said}");
    assert!(said.contains("the interface was lost 3 times"), "counted: {said}");
    assert_eq!(said.matches("not serving yet: there is no").count(), 3, "{said}");
    process.stop();
}

#[test]
fn a_server_that_waits_for_its_interface_can_be_ended() {
    if !privileged() {
        return;
    }
    let lab = Lab::up(&LabConfig::unique()).unwrap();
    let site = Site::new(&[("page", 50_000)]);
    let process = Process::start(&lab, &site, XDP);
    run(&lab, Side::Server, &format!("ip link del {INTERFACE}"));
    wait_said(&process, "not serving yet", 1);
    process.stop();
}

#[test]
fn open_connections_outlast_a_link_that_is_down_for_a_while() {
    if !privileged() {
        return;
    }
    let lab = Lab::up(&LabConfig::unique()).unwrap();
    let site = Site::new(&[("page", 50_000)]);
    let process = Process::start(&lab, &site, XDP);
    let mut client = Client::connect_many(&lab, SERVER[0], 1).remove(0);
    for time in 1..=3 {
        assert!(client.get("/page").unwrap() == site.files["page"]);
        run(&lab, Side::Server, &format!("ip link set {INTERFACE} down"));
        wait_said(&process, "is down", time);
        run(&lab, Side::Server, &format!("ip link set {INTERFACE} up"));
        wait_said(&process, "is up again", time);
    }
    assert!(client.get("/page").unwrap() == site.files["page"]);
    let mut fresh = Client::connect_many(&lab, SERVER[0], 1).remove(0);
    assert!(fresh.get("/page").unwrap() == site.files["page"]);
    assert_eq!(process.said().matches("is down").count(), 3, "said once each time");
    drop((client, fresh));
    assert_eq!(process.stop().of("connections"), 2);
}

#[test]
fn an_address_may_become_pagewires_alone_and_the_kernels_again() {
    if !privileged() {
        return;
    }
    let lab = Lab::up(&LabConfig::unique()).unwrap();
    let site = Site::new(&[("page", 50_000)]);
    let process = Process::start(&lab, &site, XDP);
    let mut old = Client::connect_many(&lab, SERVER[0], 1).remove(0);
    let fetch = |client: &mut Client| {
        assert!(client.get("/page").expect("an answer") == site.files["page"], "other bytes");
    };
    for time in 1..=2 {
        run(&lab, Side::Server, &format!("ip addr del 10.77.0.1/24 dev {INTERFACE}"));
        wait_said(&process, "10.77.0.1 belongs to pagewire alone now", time);
        run(&lab, Side::Client, &format!("ip neigh flush dev {INTERFACE}"));
        fetch(&mut old);
        fetch(&mut Client::connect_many(&lab, SERVER[0], 1).remove(0));

        run(&lab, Side::Server, &format!("ip addr add 10.77.0.1/24 dev {INTERFACE}"));
        wait_said(&process, "10.77.0.1 belongs to the kernel as well now", time);
        run(&lab, Side::Client, &format!("ip neigh flush dev {INTERFACE}"));
        fetch(&mut old);
        let address = SocketAddr::new(SERVER[0], 9000);
        let listener = lab.within(Side::Server, || TcpListener::bind(address)).unwrap().unwrap();
        let connect = || TcpStream::connect_timeout(&address, PATIENCE);
        lab.within(Side::Client, connect).unwrap().expect("the kernel has its address back");
        drop(listener);
    }
    process.stop();
}

/// An address that the kernel has elsewhere, as anycast addresses on the loopback interface are.
#[test]
fn where_the_kernel_has_the_address_it_serves_when_the_interface_is_lost() {
    if !privileged() {
        return;
    }
    let lab = Lab::up(&LabConfig { queues: Some(2), ..LabConfig::unique() }).unwrap();
    let site = Site::new(&[("page", 50_000)]);
    site.open_to_all();
    run(&lab, Side::Server, "ip addr add 10.99.0.1/32 dev lo");
    run(&lab, Side::Client, "ip route add 10.99.0.1 via 10.77.0.1");
    let flags = format!("--interface {INTERFACE} --address 10.99.0.1/24 --user nobody");
    let process = Process::start(&lab, &site, &flags);
    let fetch = || {
        let connect = || Client::connect("10.99.0.1".parse().unwrap(), PATIENCE);
        let mut client = lab.within(Side::Client, connect).unwrap().expect("a connection");
        assert!(client.get("/page").unwrap() == site.files["page"], "other bytes");
    };
    assert!(!process.said().contains("the kernel's TCP serves instead"));
    fetch();
    run(&lab, Side::Server, &format!("ip link del {INTERFACE}"));
    wait_said(&process, "the kernel's TCP serves instead", 1);
    wait_said(&process, "serving again", 1);
    plug_in(&lab);
    run(&lab, Side::Client, "ip route add 10.99.0.1 via 10.77.0.1");
    // Until it is back: then AF_XDP takes over again, with the privileges that one thread has kept.
    wait_said(&process, "AF_XDP takes over", 1);
    wait_said(&process, "serving again", 2);
    fetch();
    let said = process.said();
    assert_eq!(said.matches("the kernel's TCP serves instead").count(), 1, "{said}");
    assert_eq!(said.matches("native XDP").count(), 2, "{said}");
    process.stop();
}

#[test]
fn an_interface_that_is_back_and_takes_no_af_xdp_is_left_to_the_kernel() {
    if !privileged() {
        return;
    }
    let lab = Lab::up(&LabConfig { queues: Some(2), ..LabConfig::unique() }).unwrap();
    let site = Site::new(&[("page", 50_000)]);
    let process =
        Process::start(&lab, &site, &format!("--interface {INTERFACE} --address 10.77.0.1/24"));
    run(&lab, Side::Server, &format!("ip link del {INTERFACE}"));
    wait_said(&process, "not serving yet: there is no", 1);
    process.signal(Signal::STOP);
    plug_in(&lab);
    for side in [Side::Client, Side::Server] {
        // Frames do not fit into a chunk.
        run(&lab, side, &format!("ip link set {INTERFACE} mtu 9000"));
    }
    process.signal(Signal::CONT);
    wait_said(&process, "not serving yet: ", 2);
    wait_said(&process, "the kernel's TCP serves instead", 1);
    wait_said(&process, "serving again", 1);
    let mut client = Client::connect_many(&lab, SERVER[0], 1).remove(0);
    assert!(client.get("/page").unwrap() == site.files["page"]);
    process.stop();
}

#[test]
fn a_route_that_goes_and_comes_back_reaches_open_connections() {
    if !privileged() {
        return;
    }
    let lab = Lab::up(&LabConfig { routed: true, ..LabConfig::unique() }).unwrap();
    let site = Site::new(&[("page", 200_000)]);
    let process = Process::start(&lab, &site, XDP);
    let mut client = Client::connect_many(&lab, SERVER[0], 1).remove(0);
    assert!(client.get("/page").unwrap() == site.files["page"]);
    for _ in 0..2 {
        run(&lab, Side::Server, "ip route del 10.78.0.0/24");
        client.send("/page").unwrap();
        thread::sleep(Duration::from_millis(300));
        run(
            &lab,
            Side::Server,
            &format!("ip route add 10.78.0.0/24 via 10.77.0.254 dev {INTERFACE}"),
        );
        assert!(client.receive().expect("an answer") == site.files["page"], "other bytes");
    }
    drop(client);
    assert_eq!(process.stop().of("finished"), 1);
}
