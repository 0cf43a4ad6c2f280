//! Where packets go on the link: gateways, link-local peers, and who connects from which port.

mod common;

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use common::{
    PEER_MAC, Peer, Sent, config,
    scene::{PEER_START, acknowledge, flags},
};
use pagewire_driver::{Instant, MacAddress, MemoryConfig, MemoryPort, memory_link};
use pagewire_stack::{
    Event, Neighbour, NetworkView, Part, Prefix, Route, Transport,
    user::{Mesh, UserStack},
};
use smoltcp::wire::TcpControl;

const NOW: Instant = Instant::from_millis(1_000);

fn scene(
    network: Option<crossbeam_channel::Receiver<NetworkView>>,
) -> (UserStack<MemoryPort>, Peer) {
    let (near, far) = memory_link(MemoryConfig::default()).unwrap();
    let mut config = config(1, Some(80), Mesh::new(1).remove(0));
    config.network = network;
    (UserStack::new(near, NOW, config).unwrap(), Peer::new(far, false))
}

fn by_gateway(last: u8) -> NetworkView {
    let ip = |last: u8| IpAddr::from([10, 0, 0, last]);
    let neighbour = |last| Neighbour { address: ip(last), mac: MacAddress([2, 0, 0, 0, 0, last]) };
    let route = Route {
        destination: Prefix::everything(ip(0)),
        gateway: Some(ip(last)),
        interface: 0,
        source: None,
        metric: 0,
        mtu: None,
    };
    let neighbours = vec![neighbour(2), neighbour(3)];
    NetworkView { routes: vec![route], neighbours, ..NetworkView::default() }
}

#[test]
fn a_connection_follows_a_route_that_changes() {
    let (views, network) = crossbeam_channel::unbounded();
    let (mut stack, mut peer) = scene(Some(network));
    peer.address = "192.0.2.9".parse().unwrap();
    let mut events = Vec::new();
    views.send(by_gateway(2)).unwrap();
    peer.send(&Sent { control: TcpControl::Syn, sequence: PEER_START, ..Sent::default() });
    stack.poll(NOW, &mut events);
    let seen = peer.receive();
    peer.send(&acknowledge(seen[0].sequence.wrapping_add(1)));
    stack.poll(NOW, &mut events);
    let Event::Opened { id, .. } = events[0] else { panic!("opened, not {events:?}") };
    for gateway in [2, 3] {
        views.send(by_gateway(gateway)).unwrap();
        stack.poll(NOW, &mut events);
        stack.submit(id, &mut vec![Part::Bytes(vec![7; 10])]).unwrap();
        stack.poll(NOW, &mut events);
        let frames = peer.receive_raw();
        assert_eq!(frames.len(), 1);
        assert_eq!(frames[0][..6], [2, 0, 0, 0, 0, gateway]);
    }
}

#[test]
fn a_link_local_peer_is_on_the_link_and_its_scope_is_no_part_of_the_flow() {
    let (mut stack, mut peer) = scene(None);
    let address = "fe80::2".parse().unwrap();
    (peer.address, peer.server) = (IpAddr::V6(address), "fd00::1".parse().unwrap());
    let to = SocketAddr::V6(SocketAddrV6::new(address, 80, 0, 7));
    let (mut events, mut seen) = (Vec::new(), Vec::new());
    let id = stack.connect(NOW, to).unwrap();
    for _ in 0..4 {
        stack.poll(NOW, &mut events);
        seen.extend(peer.receive());
    }
    assert_eq!(seen.len(), 1, "a SYN to {PEER_MAC:?}");
    (peer.source_port, peer.target_port) = (80, seen[0].source_port);
    let next = Some(seen[0].sequence.wrapping_add(1));
    peer.send(&Sent { control: TcpControl::Syn, acknowledgement: next, ..Sent::default() });
    stack.poll(NOW, &mut events);
    assert!(matches!(events[..], [Event::Opened { id: opened, .. }] if opened == id), "{events:?}");
    stack.poll(NOW, &mut events);
    assert_eq!(flags(&peer.receive()), ["A"], "acknowledged though nothing is submitted");
}

#[test]
fn a_stray_segment_during_the_handshake_leaves_the_sequence_numbers_alone() {
    let (mut stack, mut peer) = scene(None);
    let to = SocketAddr::new(peer.address, 80);
    let (mut events, mut seen) = (Vec::new(), Vec::new());
    stack.connect(NOW, to).unwrap();
    for _ in 0..4 {
        stack.poll(NOW, &mut events);
        seen.extend(peer.receive());
    }
    (peer.source_port, peer.target_port) = (80, seen[0].source_port);
    let next = seen[0].sequence.wrapping_add(1);
    let mut exchange = |sent: Sent<'_>| {
        peer.send(&sent);
        stack.poll(NOW, &mut events);
        stack.poll(NOW, &mut events);
        peer.receive()
    };
    let stray = exchange(acknowledge(next.wrapping_add(9_000)));
    assert_eq!(flags(&stray), ["R"]);
    let (control, acknowledgement) = (TcpControl::Syn, Some(next));
    let syn = Sent { control, acknowledgement, sequence: PEER_START, ..Sent::default() };
    assert_eq!(exchange(syn)[0].sequence, next);
    let challenge = exchange(syn);
    assert_eq!(challenge[0].sequence, next, "the challenge says what was really sent");
}
