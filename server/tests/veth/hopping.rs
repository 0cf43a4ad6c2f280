//! Flows whose packets begin to arrive on another queue go on.

use std::{net::IpAddr, thread, time::Duration};

use pagewire_tools::lab::{Lab, LabConfig, SERVER, Side, Switch, privileged};
use rustix::process::Signal;

use crate::{
    client::{Client, PATIENCE},
    process::{Process, Site, XDP},
};

const FLOWS: usize = 32;

/// Long enough for the client to retransmit SYNs (after 1 s) and data (after 0.2 s and more).
const PAUSE: Duration = Duration::from_millis(2500);

/// Every retransmission may take a flow to another queue. To provoke them the server is halted while
/// requests are under way on old connections and new ones are being opened.
fn halt_and_go_on(server: IpAddr) {
    let config = LabConfig { queues: Some(4), txrehash: Switch::On, ..LabConfig::unique() };
    let lab = Lab::up(&config).unwrap();
    let site = Site::new(&[("page", 200_000)]);
    let process = Process::start(&lab, &site, XDP);
    let mut old = Client::connect_many(&lab, server, FLOWS);
    for client in &mut old {
        assert!(client.get("/page").unwrap() == site.files["page"]);
    }
    process.signal(Signal::STOP);
    for client in &mut old {
        client.send("/page").unwrap();
    }
    thread::scope(|scope| {
        for _ in 0..FLOWS {
            let (lab, site) = (&lab, &site);
            scope.spawn(move || {
                let connect = || Client::connect(server, PATIENCE);
                let mut client = lab.within(Side::Client, connect).unwrap().expect("connected");
                assert!(client.get("/page").unwrap() == site.files["page"]);
            });
        }
        thread::sleep(PAUSE);
        process.signal(Signal::CONT);
    });
    for client in &mut old {
        assert!(client.receive().expect("an answer") == site.files["page"]);
        assert!(client.get("/page").expect("one more") == site.files["page"]);
    }
    drop(old);
    let counts = process.stop();
    let text = counts.text();
    assert_eq!(counts.of("connections"), 2 * FLOWS as u64, "none opened twice: {text}");
    assert_eq!(counts.of("finished"), 2 * FLOWS as u64, "{text}");
    assert!(counts.of("hopped in") > 0, "no flow changed its queue: {text}");
}

#[test]
fn ipv4_flows_that_change_queues_go_on() {
    if privileged() {
        halt_and_go_on(SERVER[0]);
    }
}

#[test]
fn ipv6_flows_that_change_queues_go_on() {
    if privileged() {
        halt_and_go_on(SERVER[1]);
    }
}
