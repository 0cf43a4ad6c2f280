//! The kernel's view of an interface, read in a lab and kept current while the lab changes.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use pagewire::control::netlink::{Network, NetworkError};
use pagewire_driver::{MacAddress, Waker};
use pagewire_stack::{Link, Neighbour, NetworkView};
use pagewire_tools::lab::{INTERFACE, Lab, LabConfig, Side, privileged};

const CLIENT_MAC: MacAddress = MacAddress([0x02, 0x77, 0, 0, 0, 2]);

fn open(lab: &Lab) -> Network {
    lab.within(Side::Server, || Network::open(INTERFACE)).unwrap().unwrap()
}

fn ip(lab: &Lab, words: &str) {
    let mut command = lab.command(Side::Server, "ip");
    assert!(command.args(words.split_whitespace()).status().unwrap().success(), "ip {words}");
}

/// Watches until the view is as wanted.
fn until(network: &mut Network, wanted: impl Fn(&NetworkView) -> bool) {
    let waker = Waker::new().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while Instant::now() < deadline {
        if wanted(network.view()) {
            return;
        }
        network.watch(&waker, Some(Duration::from_millis(100))).unwrap();
    }
    panic!("never came: {:#?}", network.view());
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn link_addresses_and_routes_are_read_at_once() {
    if !privileged() {
        return;
    }
    let lab = Lab::up(&LabConfig { routed: true, ..LabConfig::unique() }).unwrap();
    let network = open(&lab);
    let view = network.view();
    let Link { index, mac, mtu, up } = view.link.clone();
    assert!(index > 0 && up);
    assert_eq!((mac, mtu), (MacAddress([0x02, 0x77, 0, 0, 0, 1]), 1500));
    for own in ["10.77.0.1", "fd77::1"] {
        assert!(view.addresses.iter().any(|known| known.address() == address(own)), "{own}");
    }
    for (to, hop) in [
        ("10.77.0.2", "10.77.0.2"),
        ("10.78.0.2", "10.77.0.254"),
        ("fd77::2", "fd77::2"),
        ("fd78::2", "fd77::fe"),
    ] {
        let next = view.next_hop(address(to)).expect("a route");
        assert_eq!((next.address, next.mtu), (address(hop), 1500), "to {to}");
    }
    assert_eq!(view.next_hop(address("192.0.2.1")), None);
}

#[test]
fn a_probed_neighbour_of_either_family_is_resolved() {
    if !privileged() {
        return;
    }
    let lab = Lab::up(&LabConfig::unique()).unwrap();
    let mut network = open(&lab);
    for client in ["10.77.0.2", "fd77::2"] {
        let client = address(client);
        assert_eq!(network.view().neighbour(client), None);
        network.probe(client).unwrap();
        let resolved = Neighbour { address: client, mac: CLIENT_MAC };
        until(&mut network, |view| view.neighbours.contains(&resolved));
        // Also of one that is known already.
        network.probe(client).unwrap();
    }
    network.probe(address("10.77.0.99")).unwrap();
    assert_eq!(network.view().neighbour(address("10.77.0.99")), None);
}

#[test]
fn changes_of_routes_addresses_and_the_link_are_followed() {
    if !privileged() {
        return;
    }
    let lab = Lab::up(&LabConfig::unique()).unwrap();
    let mut network = open(&lab);
    let far = address("198.51.100.7");
    let hop = |view: &NetworkView| view.next_hop(far).map(|hop| (hop.address, hop.mtu));

    ip(&lab, "route add default via 10.77.0.2 mtu 1400");
    until(&mut network, |view| hop(view) == Some((address("10.77.0.2"), 1400)));
    ip(
        &lab,
        "route add 198.51.100.0/24 nexthop via 10.77.0.3 dev pw0 nexthop via 10.77.0.4 dev pw0",
    );
    until(&mut network, |view| hop(view) == Some((address("10.77.0.3"), 1500)));
    ip(&lab, "route delete 198.51.100.0/24");
    ip(&lab, "-4 route replace default via inet6 fd77::2 dev pw0");
    until(&mut network, |view| hop(view) == Some((address("fd77::2"), 1500)));

    ip(&lab, "address add 192.0.2.9/28 dev pw0");
    until(&mut network, |view| {
        view.addresses.iter().any(|known| known.address() == address("192.0.2.9"))
            && view.next_hop(address("192.0.2.1")).is_some()
    });
    ip(&lab, "link set pw0 mtu 1450");
    until(&mut network, |view| view.link.mtu == 1450);
    ip(&lab, "link set pw0 down");
    until(&mut network, |view| !view.link.up && hop(view).is_none());
    ip(&lab, "link set pw0 up");
    until(&mut network, |view| view.link.up && view.next_hop(address("10.77.0.2")).is_some());
}

#[test]
fn an_interface_that_vanishes_and_returns_is_found_again() {
    if !privileged() {
        return;
    }
    let lab = Lab::up(&LabConfig::unique()).unwrap();
    let mut network = open(&lab);
    let index = network.view().link.index;
    ip(&lab, "link delete pw0");
    until(&mut network, |view| {
        !view.link.up && view.routes.is_empty() && view.addresses.is_empty()
    });
    ip(&lab, "link add pw0 type veth peer name pw9");
    ip(&lab, "link set pw9 up");
    ip(&lab, "address add 10.77.0.1/24 dev pw0");
    ip(&lab, "link set pw0 up");
    until(&mut network, |view| {
        view.link.up && view.link.index != index && view.next_hop(address("10.77.0.2")).is_some()
    });
}

#[test]
fn changes_elsewhere_yield_nothing() {
    if !privileged() {
        return;
    }
    let lab = Lab::up(&LabConfig::unique()).unwrap();
    let mut network = open(&lab);
    let waker = Waker::new().unwrap();
    // What bringing the lab up still causes.
    while network.watch(&waker, Some(Duration::from_millis(300))).unwrap().is_some() {}
    ip(&lab, "address add 192.0.2.1/32 dev lo");
    ip(&lab, "link add other type veth peer name another");
    for _ in 0..3 {
        assert_eq!(network.watch(&waker, Some(Duration::from_millis(50))).unwrap(), None);
    }
}

#[test]
fn a_missing_interface_is_named_with_those_there_are() {
    let error = Network::open("nonesuch").err().expect("there is no such interface");
    assert!(matches!(&error, NetworkError::NoInterface { present, .. } if present.contains("lo")));
    assert!(error.to_string().contains("`nonesuch`"), "{error}");
}
