//! The steering program's decision on single frames, made by the kernel.

mod privileged;

use std::net::{IpAddr, Ipv6Addr};

use pagewire_driver::{Cause, Served, Steering, Verdict};
use privileged::privileged;

/// Owned alone, port 80 served.
const ALONE: [u8; 4] = [10, 77, 0, 1];
/// The kernel's too, port 8080 served.
const SHARED: [u8; 4] = [10, 77, 0, 9];
/// Neither.
const OTHER: [u8; 4] = [10, 77, 0, 2];

const ALONE_6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
const SHARED_6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 9);
const OTHER_6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2);
/// The solicited-node multicast group of `ALONE_6`, of `SHARED_6` too.
const GROUP_6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 1);

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

fn served() -> Vec<Served> {
    let served = |address: IpAddr, port, owned_alone| Served { address, port, owned_alone };
    vec![
        served(ALONE.into(), 80, true),
        served(SHARED.into(), 8080, false),
        served(ALONE_6.into(), 80, true),
        served(SHARED_6.into(), 8080, false),
    ]
}

fn ethernet(kind: u16, packet: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    frame.extend(kind.to_be_bytes());
    frame.extend(packet);
    frame
}

fn tagged(tag: u16, frame: &[u8]) -> Vec<u8> {
    let mut tagged = frame[..12].to_vec();
    tagged.extend(tag.to_be_bytes());
    tagged.extend([0, 7]);
    tagged.extend(&frame[12..]);
    tagged
}

/// An IPv4 packet with `options` words of options.
fn ipv4(
    options: u8,
    fragment: u16,
    protocol: u8,
    from: [u8; 4],
    to: [u8; 4],
    rest: &[u8],
) -> Vec<u8> {
    let mut packet = vec![0x45 + options, 0, 0, 0, 0, 0];
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0]);
    packet.extend(from);
    packet.extend(to);
    packet.extend(vec![1; usize::from(options) * 4]);
    packet.extend(rest);
    packet
}

fn ipv6(next: u8, from: Ipv6Addr, to: Ipv6Addr, rest: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, 0, next, 64];
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend(rest);
    packet
}

fn tcp(from: u16, to: u16) -> Vec<u8> {
    let mut segment = from.to_be_bytes().to_vec();
    segment.extend(to.to_be_bytes());
    segment.extend([0; 16]);
    segment
}

fn icmp(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
    message.extend(body);
    message
}

fn arp(operation: u8, from: [u8; 4], to: [u8; 4]) -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, 6, 4, 0, operation, 2, 0, 0, 0, 0, 2];
    packet.extend(from);
    packet.extend([0; 6]);
    packet.extend(to);
    ethernet(0x0806, &packet)
}

fn v4(protocol: u8, to: [u8; 4], rest: &[u8]) -> Vec<u8> {
    ethernet(0x0800, &ipv4(0, 0x4000, protocol, OTHER, to, rest))
}

fn v6(next: u8, to: Ipv6Addr, rest: &[u8]) -> Vec<u8> {
    ethernet(0x86dd, &ipv6(next, OTHER_6, to, rest))
}

/// An error that quotes TCP from `from`:`port`, reported to `to`.
fn error4(kind: u8, to: [u8; 4], from: [u8; 4], port: u16) -> Vec<u8> {
    v4(ICMP, to, &icmp(kind, &ipv4(0, 0x4000, TCP, from, OTHER, &tcp(port, 5_000)[..8])))
}

fn error6(kind: u8, to: Ipv6Addr, from: Ipv6Addr, port: u16) -> Vec<u8> {
    v6(ICMPV6, to, &icmp(kind, &ipv6(TCP, from, OTHER_6, &tcp(port, 5_000)[..8])))
}

fn neighbor(kind: u8, to: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    v6(ICMPV6, to, &icmp(kind, &target.octets()))
}

/// An extension header of `eights` times eight bytes, and what follows it.
fn extension(next: u8, eights: u8, rest: &[u8]) -> Vec<u8> {
    let mut header = vec![next, eights - 1];
    header.resize(usize::from(eights) * 8, 0);
    header.extend(rest);
    header
}

/// Asserts what each frame meets while its queue has no socket.
fn check(table: &[(&str, Vec<u8>, Cause)]) {
    let mut steering = Steering::load(&served()).unwrap();
    for (name, frame, cause) in table {
        let before = steering.counters().unwrap();
        let (verdict, _) = steering.verdict(frame, 1).unwrap();
        let after = steering.counters().unwrap();
        let grew: Vec<_> =
            Cause::ALL.into_iter().filter(|&cause| after.of(cause) > before.of(cause)).collect();
        let (expected, causes) = match cause {
            Cause::Passed => (Verdict::Pass, vec![*cause]),
            Cause::Fragment | Cause::NotServed => (Verdict::Drop, vec![*cause]),
            _ => (Verdict::Pass, vec![*cause, Cause::NoSocket]),
        };
        assert_eq!((verdict, grew), (expected, causes), "{name}");
    }
}

#[test]
fn served_tcp_is_taken_and_other_tcp_only_of_owned_addresses() {
    if !privileged("served_tcp_is_taken_and_other_tcp_only_of_owned_addresses") {
        return;
    }
    let (to_80, to_8080, to_22) = (tcp(5_000, 80), tcp(5_000, 8080), tcp(5_000, 22));
    let with_options = |options| ethernet(0x0800, &ipv4(options, 0, TCP, OTHER, ALONE, &to_80));
    check(&[
        ("IPv4, owned", v4(TCP, ALONE, &to_80), Cause::ServedTcp),
        ("IPv4, shared", v4(TCP, SHARED, &to_8080), Cause::ServedTcp),
        ("IPv4, owned, other port", v4(TCP, ALONE, &to_22), Cause::OtherTcp),
        ("IPv4, shared, other port", v4(TCP, SHARED, &to_22), Cause::Passed),
        ("IPv4, other address", v4(TCP, OTHER, &to_80), Cause::Passed),
        ("IPv4, port of the other address", v4(TCP, SHARED, &to_80), Cause::Passed),
        ("IPv4, from the served port", v4(TCP, SHARED, &tcp(8080, 5_000)), Cause::Passed),
        ("IPv4 with 4 bytes of options", with_options(1), Cause::ServedTcp),
        ("IPv4 with 40 bytes of options", with_options(10), Cause::ServedTcp),
        ("IPv4 in a VLAN", tagged(0x8100, &v4(TCP, ALONE, &to_80)), Cause::ServedTcp),
        ("IPv4 in a service VLAN", tagged(0x88a8, &v4(TCP, ALONE, &to_80)), Cause::ServedTcp),
        (
            "IPv4 in two VLANs",
            tagged(0x88a8, &tagged(0x8100, &v4(TCP, ALONE, &to_80))),
            Cause::Passed,
        ),
        ("IPv6, owned", v6(TCP, ALONE_6, &to_80), Cause::ServedTcp),
        ("IPv6, shared", v6(TCP, SHARED_6, &to_8080), Cause::ServedTcp),
        ("IPv6, owned, other port", v6(TCP, ALONE_6, &to_22), Cause::OtherTcp),
        ("IPv6, shared, other port", v6(TCP, SHARED_6, &to_22), Cause::Passed),
        ("IPv6, other address", v6(TCP, OTHER_6, &to_80), Cause::Passed),
        ("IPv6 in a VLAN", tagged(0x8100, &v6(TCP, ALONE_6, &to_80)), Cause::ServedTcp),
    ]);
}

#[test]
fn ipv6_extension_headers_are_skipped_as_far_as_four() {
    if !privileged("ipv6_extension_headers_are_skipped_as_far_as_four") {
        return;
    }
    let segment = tcp(5_000, 80);
    let behind = |count: u8| {
        let chain = (0..count).rev().fold((TCP, segment.clone()), |(next, rest), index| {
            (if index == 0 { 0 } else { 60 }, extension(next, index + 1, &rest))
        });
        v6(chain.0, ALONE_6, &chain.1)
    };
    let routing = v6(43, ALONE_6, &extension(TCP, 1, &segment));
    let mut cut = behind(1);
    cut.truncate(14 + 40 + 7);
    check(&[
        ("one", behind(1), Cause::ServedTcp),
        ("four", behind(4), Cause::ServedTcp),
        ("five", behind(5), Cause::NotServed),
        ("a routing header", routing, Cause::NotServed),
        ("a header cut short", cut, Cause::Passed),
    ]);
}

#[test]
fn fragments_of_owned_addresses_are_dropped() {
    if !privileged("fragments_of_owned_addresses_are_dropped") {
        return;
    }
    let segment = tcp(5_000, 80);
    let v4 = |fragment, to| ethernet(0x0800, &ipv4(0, fragment, TCP, OTHER, to, &segment));
    let v6 = |to| v6(44, to, &extension(TCP, 1, &segment));
    check(&[
        ("first of several", v4(0x2000, ALONE), Cause::Fragment),
        ("a later one", v4(0x0010, ALONE), Cause::Fragment),
        ("to a shared address", v4(0x2000, SHARED), Cause::Passed),
        ("whole and not to be fragmented", v4(0x4000, ALONE), Cause::ServedTcp),
        ("IPv6", v6(ALONE_6), Cause::Fragment),
        ("IPv6 to a shared address", v6(SHARED_6), Cause::Passed),
    ]);
}

#[test]
fn icmp_errors_that_quote_a_served_flow_are_taken() {
    if !privileged("icmp_errors_that_quote_a_served_flow_are_taken") {
        return;
    }
    let udp = icmp(3, &ipv4(0, 0, UDP, SHARED, OTHER, &tcp(8080, 53)));
    let late = icmp(3, &ipv4(0, 5, TCP, SHARED, OTHER, &tcp(8080, 53)));
    let options = icmp(3, &ipv4(10, 0, TCP, SHARED, OTHER, &tcp(8080, 53)));
    let mut cut = error4(3, SHARED, SHARED, 8080);
    cut.truncate(14 + 20 + 8 + 20 + 3);
    let mut cut_6 = error6(2, SHARED_6, SHARED_6, 8080);
    cut_6.truncate(14 + 40 + 8 + 40 + 3);
    check(&[
        ("unreachable", error4(3, SHARED, SHARED, 8080), Cause::Quoted),
        ("time exceeded", error4(11, SHARED, SHARED, 8080), Cause::Quoted),
        ("parameter problem", error4(12, ALONE, ALONE, 80), Cause::Quoted),
        ("redirect", error4(5, SHARED, SHARED, 8080), Cause::Passed),
        ("another port", error4(3, SHARED, SHARED, 80), Cause::Passed),
        ("another address", error4(3, SHARED, OTHER, 8080), Cause::Passed),
        ("reported to another address", error4(3, OTHER, SHARED, 8080), Cause::Passed),
        ("another protocol", v4(ICMP, SHARED, &udp), Cause::Passed),
        ("a later fragment", v4(ICMP, SHARED, &late), Cause::Passed),
        ("quoted options", v4(ICMP, SHARED, &options), Cause::Quoted),
        ("cut before the ports", cut, Cause::Passed),
        ("IPv6 too big", error6(2, SHARED_6, SHARED_6, 8080), Cause::Quoted),
        ("IPv6 unreachable", error6(1, ALONE_6, ALONE_6, 80), Cause::Quoted),
        ("IPv6 another port", error6(1, SHARED_6, SHARED_6, 80), Cause::Passed),
        ("IPv6 another address", error6(1, SHARED_6, OTHER_6, 8080), Cause::Passed),
        ("IPv6 cut before the ports", cut_6, Cause::Passed),
    ]);
}

#[test]
fn neighbors_and_pings_of_owned_addresses_are_taken() {
    if !privileged("neighbors_and_pings_of_owned_addresses_are_taken") {
        return;
    }
    let mut short = arp(1, OTHER, ALONE);
    short.truncate(14 + 27);
    check(&[
        ("an ARP request", arp(1, OTHER, ALONE), Cause::Neighbor),
        ("an ARP reply", arp(2, OTHER, ALONE), Cause::Neighbor),
        ("an ARP request for a shared address", arp(1, OTHER, SHARED), Cause::Passed),
        ("ARP cut short", short, Cause::Passed),
        ("a solicitation to the group", neighbor(135, GROUP_6, ALONE_6), Cause::Neighbor),
        ("a solicitation to the address", neighbor(135, ALONE_6, ALONE_6), Cause::Neighbor),
        ("a solicitation for a shared address", neighbor(135, GROUP_6, SHARED_6), Cause::Passed),
        ("an advertisement", neighbor(136, ALONE_6, OTHER_6), Cause::OwnedIcmp),
        ("an advertisement to the kernel", neighbor(136, SHARED_6, OTHER_6), Cause::Passed),
        ("a ping", v4(ICMP, ALONE, &icmp(8, &[1; 56])), Cause::OwnedIcmp),
        ("a ping to the kernel", v4(ICMP, SHARED, &icmp(8, &[1; 56])), Cause::Passed),
        ("a ping over IPv6", v6(ICMPV6, ALONE_6, &icmp(128, &[1; 56])), Cause::OwnedIcmp),
        ("a ping over IPv6 to the kernel", v6(ICMPV6, SHARED_6, &icmp(128, &[])), Cause::Passed),
    ]);
}

#[test]
fn other_protocols_are_dropped_only_where_nobody_else_owns_the_address() {
    if !privileged("other_protocols_are_dropped_only_where_nobody_else_owns_the_address") {
        return;
    }
    check(&[
        ("UDP, owned", v4(UDP, ALONE, &tcp(1, 80)), Cause::NotServed),
        ("UDP, shared", v4(UDP, SHARED, &tcp(1, 8080)), Cause::Passed),
        ("UDP over IPv6, owned", v6(UDP, ALONE_6, &tcp(1, 80)), Cause::NotServed),
        ("UDP over IPv6, shared", v6(UDP, SHARED_6, &tcp(1, 8080)), Cause::Passed),
        ("broadcast", v4(UDP, [255; 4], &tcp(68, 67)), Cause::Passed),
    ]);
}

#[test]
fn frames_of_any_length_and_content_are_decided() {
    if !privileged("frames_of_any_length_and_content_are_decided") {
        return;
    }
    let mut steering = Steering::load(&served()).unwrap();
    let whole = [
        v4(TCP, ALONE, &tcp(5_000, 80)),
        v6(TCP, ALONE_6, &tcp(5_000, 80)),
        error4(3, SHARED, SHARED, 8080),
        error6(2, SHARED_6, SHARED_6, 8080),
        v6(0, ALONE_6, &extension(60, 3, &extension(TCP, 1, &tcp(5_000, 80)))),
        tagged(0x8100, &arp(1, OTHER, ALONE)),
        ethernet(0x0800, &[0x4f; 60]),
        ethernet(0x0800, &[0x41; 60]),
        ethernet(0x1234, &[]),
    ];
    for frame in whole {
        // The kernel refuses to try frames that are shorter than an Ethernet header.
        for len in 14..=frame.len() {
            let (verdict, _) = steering.verdict(&frame[..len], 1).unwrap();
            assert!(matches!(verdict, Verdict::Pass | Verdict::Drop), "{len} of {frame:02x?}");
        }
    }
}

#[test]
fn a_wire_takes_every_frame_and_gives_none_to_the_kernel() {
    if !privileged("a_wire_takes_every_frame_and_gives_none_to_the_kernel") {
        return;
    }
    let mut steering = Steering::load_for_all().unwrap();
    for frame in [v4(TCP, OTHER, &tcp(1, 22)), arp(1, OTHER, SHARED), ethernet(0x88cc, &[0; 46])] {
        // Without a socket there is nowhere to take it to.
        assert_eq!(steering.verdict(&frame, 1).unwrap().0, Verdict::Drop);
    }
}

#[test]
fn denied_sources_are_dropped_where_they_would_be_taken_and_only_there() {
    if !privileged("denied_sources_are_dropped_where_they_would_be_taken_and_only_there") {
        return;
    }
    let mut steering = Steering::load(&served()).unwrap();
    let meets = |steering: &mut Steering, frame: &[u8]| {
        let before = steering.counters().unwrap().of(Cause::Denied);
        let verdict = steering.verdict(frame, 1).unwrap().0;
        (verdict, steering.counters().unwrap().of(Cause::Denied) - before)
    };
    let to_80 = tcp(5_000, 80);
    let from = |source| ethernet(0x0800, &ipv4(0, 0x4000, TCP, source, ALONE, &to_80));
    let [inside, outside] = [from([192, 168, 7, 9]), from([192, 168, 8, 9])];
    let inside_6 = v6(TCP, ALONE_6, &to_80);
    assert!(steering.deny([192, 168, 7, 200].into(), 24).unwrap());
    assert!(!steering.deny([192, 168, 7, 100].into(), 24).unwrap(), "it is there already");
    assert!(steering.deny(OTHER_6.into(), 64).unwrap());
    let prefix_6 = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0);
    assert_eq!(steering.denied(), [([192, 168, 7, 0].into(), 24), (prefix_6.into(), 64)]);
    assert_eq!(meets(&mut steering, &inside), (Verdict::Drop, 1));
    assert_eq!(meets(&mut steering, &inside_6), (Verdict::Drop, 1));
    assert_eq!(meets(&mut steering, &tagged(0x8100, &inside)), (Verdict::Drop, 1));
    assert_eq!(meets(&mut steering, &outside), (Verdict::Pass, 0), "no socket, but not dropped");
    let error = error6(2, SHARED_6, SHARED_6, 8080);
    assert_eq!(meets(&mut steering, &error), (Verdict::Drop, 1), "also its ICMP errors");
    let to_kernel = v6(TCP, SHARED_6, &tcp(5_000, 22));
    assert_eq!(
        meets(&mut steering, &to_kernel),
        (Verdict::Pass, 0),
        "the kernel's is the kernel's"
    );
    let solicitation = neighbor(135, GROUP_6, ALONE_6);
    assert_eq!(meets(&mut steering, &solicitation), (Verdict::Pass, 0), "it may be a router");
    assert!(steering.allow([192, 168, 7, 0].into(), 24).unwrap());
    assert!(!steering.allow([192, 168, 7, 0].into(), 24).unwrap(), "it is gone");
    assert_eq!(meets(&mut steering, &inside), (Verdict::Pass, 0));
    steering.deny([0, 0, 0, 0].into(), 0).unwrap();
    assert_eq!(meets(&mut steering, &outside), (Verdict::Drop, 1), "all of IPv4");
    assert!(steering.allow([0, 0, 0, 0].into(), 0).unwrap());
    assert_eq!(meets(&mut steering, &outside), (Verdict::Pass, 0));
    assert!(steering.allow(OTHER_6.into(), 64).unwrap());
    assert_eq!(meets(&mut steering, &inside_6), (Verdict::Pass, 0));
    steering.deny(Ipv6Addr::UNSPECIFIED.into(), 0).unwrap();
    assert_eq!(meets(&mut steering, &inside_6), (Verdict::Drop, 1), "all of IPv6");
    assert_eq!(meets(&mut steering, &outside), (Verdict::Pass, 0), "and nothing of IPv4");
}
