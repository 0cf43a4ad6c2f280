//! Somebody changes what the server needs of its interface, while it is served on.

use std::{
    io::Write,
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use pagewire_tools::lab::{INTERFACE, Lab, LabConfig, SERVER, Side, privileged};
use rustix::process::Signal;

use crate::{
    client::{Client, PATIENCE},
    detach::detach,
    interface::{fetch, plug_in, run, wait_said},
    process::{Process, Site, XDP},
};

/// Where the server's namespace has the metrics.
const METRICS: &str = "127.0.0.1:9145";

/// The value of a metric, by its name and labels.
fn metric(lab: &Lab, name: &str) -> u64 {
    let deadline = Instant::now() + PATIENCE;
    let connect = || loop {
        // They come up last, and anew after each start.
        match TcpStream::connect(METRICS) {
            Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(10)),
            connected => return connected.unwrap(),
        }
    };
    let scrape = || {
        let mut scraper = connect();
        scraper.set_read_timeout(Some(PATIENCE)).unwrap();
        scraper.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
        std::io::read_to_string(scraper).unwrap()
    };
    let text = lab.within(Side::Server, scrape).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name}: {text}")).parse().unwrap()
}

#[test]
fn a_program_that_somebody_detaches_is_attached_again_and_connections_go_on() {
    if !privileged() {
        return;
    }
    let lab = Lab::up(&LabConfig::unique()).unwrap();
    let site = Site::new(&[("page", 50_000)]);
    site.open_to_all();
    let flags = format!("{XDP} --user nobody --metrics {METRICS}");
    let process = Process::start(&lab, &site, &flags);
    let mut client = Client::connect_many(&lab, SERVER[0], 1).remove(0);
    for time in 1..=2 {
        assert!(client.get("/page").unwrap() == site.files["page"]);
        assert_eq!(detach(process.id()), 1);
        wait_said(&process, "attached again", time);
    }
    assert!(client.get("/page").unwrap() == site.files["page"]);
    fetch(&lab, &site);
    assert_eq!(process.said().matches("attached again").count(), 2, "said once each time");
    assert_eq!(metric(&lab, "pagewire_steering_detachments_total"), 2);
    assert_eq!(metric(&lab, "pagewire_interface_losses_total{cause=\"program detached\"}"), 0);
    assert_eq!((metric(&lab, "pagewire_link_up"), metric(&lab, "pagewire_fallback")), (1, 0));
    assert_eq!(process.stop().of("connections"), 3);
}

#[test]
fn a_program_in_its_place_is_waited_for() {
    if !privileged() {
        return;
    }
    let lab = Lab::up(&LabConfig::unique()).unwrap();
    let site = Site::new(&[("page", 50_000)]);
    let process = Process::start(&lab, &site, &format!("{XDP} --metrics {METRICS}"));
    process.signal(Signal::STOP);
    assert_eq!(detach(process.id()), 1);
    let foreign = lab.within(Side::Server, || {
        let mut program = pagewire_driver::Steering::load_for_all().unwrap();
        program.attach(INTERFACE).unwrap();
        program
    });
    process.signal(Signal::CONT);
    wait_said(&process, "cannot be attached again: another XDP program", 1);
    wait_said(&process, "not serving yet: another XDP program", 1);
    drop(foreign.unwrap());
    wait_said(&process, "serving again", 1);
    fetch(&lab, &site);
    assert_eq!(metric(&lab, "pagewire_interface_losses_total{cause=\"program detached\"}"), 1);
    process.stop();
}

fn set_queues(lab: &Lab, side: Side, count: u32) {
    run(lab, side, &format!("ethtool -L {INTERFACE} rx {count} tx {count}"));
}

/// A lab whose interfaces have two queues and may have four.
fn lab_of_two_queues() -> Lab {
    let lab = Lab::up(&LabConfig { queues: Some(4), ..LabConfig::unique() }).unwrap();
    set_queues(&lab, Side::Client, 2);
    set_queues(&lab, Side::Server, 2);
    lab
}

#[test]
fn queues_that_are_added_are_served_too() {
    if !privileged() {
        return;
    }
    let lab = lab_of_two_queues();
    let site = Site::new(&[("page", 50_000)]);
    site.open_to_all();
    let flags = format!("{XDP} --user nobody --metrics {METRICS}");
    let process = Process::start(&lab, &site, &flags);
    assert!(process.said().contains("shard 1") && !process.said().contains("shard 2"));
    fetch(&lab, &site);
    set_queues(&lab, Side::Server, 4);
    set_queues(&lab, Side::Client, 4);
    wait_said(&process, "has 4 queues now and had 2", 1);
    wait_said(&process, "serving again; its queues changed once", 1);
    assert!(process.said().contains("shard 3"), "{}", process.said());
    // Many flows, so that some come by each queue.
    for mut client in Client::connect_many(&lab, SERVER[0], 32) {
        assert!(client.get("/page").unwrap() == site.files["page"]);
    }
    assert_eq!(metric(&lab, "pagewire_interface_losses_total{cause=\"queues changed\"}"), 1);
    process.stop();
}

#[test]
fn chosen_queues_stay_the_same_however_many_there_are() {
    if !privileged() {
        return;
    }
    let lab = lab_of_two_queues();
    let site = Site::new(&[("page", 50_000)]);
    let process = Process::start(&lab, &site, &format!("{XDP} --queues 0-1"));
    let mut client = Client::connect_many(&lab, SERVER[0], 1).remove(0);
    set_queues(&lab, Side::Server, 4);
    // Two looks at them.
    thread::sleep(Duration::from_millis(2_500));
    assert!(client.get("/page").unwrap() == site.files["page"]);
    assert!(!process.said().contains("queues now"), "{}", process.said());
    drop(client);
    assert_eq!(process.stop().of("connections"), 1);
}

#[test]
fn losses_of_the_interface_and_its_link_can_be_scraped() {
    if !privileged() {
        return;
    }
    let lab = Lab::up(&LabConfig { queues: Some(2), ..LabConfig::unique() }).unwrap();
    let site = Site::new(&[("page", 50_000)]);
    let process = Process::start(&lab, &site, &format!("{XDP} --metrics {METRICS}"));
    run(&lab, Side::Server, &format!("ip link set {INTERFACE} down"));
    wait_said(&process, "is down", 1);
    assert_eq!(metric(&lab, "pagewire_link_up"), 0);
    run(&lab, Side::Server, &format!("ip link set {INTERFACE} up"));
    wait_said(&process, "is up again", 1);
    assert_eq!(metric(&lab, "pagewire_link_downs_total"), 1);
    run(&lab, Side::Server, &format!("ip link del {INTERFACE}"));
    wait_said(&process, "the interface is lost", 1);
    plug_in(&lab);
    wait_said(&process, "serving again", 1);
    assert_eq!(metric(&lab, "pagewire_link_up"), 1);
    assert_eq!(metric(&lab, "pagewire_interface_losses_total{cause=\"vanished\"}"), 1);
    process.stop();
}
