//! What a port and steering say when something is wrong with the link, the machine or the caller.

mod pair;
mod privileged;

use std::{os::fd::AsFd, time::Duration};

use pagewire_driver::{
    Burst, Clock, Flush, Frame, Instant, MAX_MTU, Port, Served, Steering, XdpConfig, XdpError,
    XdpPlace, XdpPort,
};
use pair::{
    Veth,
    queues::{FAR, HEADERS, NEAR, fill, number, open, steering},
};
use privileged::privileged;

const PATIENCE: Duration = Duration::from_mins(1);

#[test]
fn what_is_wrong_is_named() {
    if !privileged("what_is_wrong_is_named") {
        return;
    }
    let veth = Veth::new(1);
    Veth::inside(&veth.near, || {
        let open = |config: &XdpConfig| XdpPort::open(config).unwrap_err().to_string();
        let good = XdpConfig::new(Veth::NEAR, 0);
        assert!(open(&XdpConfig::new("nothere0", 0)).contains("no network interface"));
        assert!(open(&XdpConfig::new(Veth::NEAR, 1)).contains("has no queue 1: it has 1"));
        let required = XdpConfig { zero_copy: pagewire_driver::ZeroCopy::Required, ..good.clone() };
        assert!(open(&required).contains("zero-copy was required"));
        let port = XdpPort::open(&good).unwrap();
        let chosen = port.chosen().to_string();
        assert!(chosen.starts_with("near0 queue 0: copy (veth has no zero-copy), "), "{chosen}");
        drop(port);
        pair::ip(&format!("-n {} link set near0 mtu 9000", veth.near));
        assert!(open(&good).contains("the MTU of near0 is 9000"));
        pair::ip(&format!("-n {} link set near0 down mtu 1500", veth.near));
        assert!(open(&good).contains("near0 is down"));
    });
}

#[test]
fn without_privileges_the_capabilities_are_named() {
    if !privileged("without_privileges_the_capabilities_are_named") {
        return;
    }
    let veth = Veth::new(1);
    Veth::inside(&veth.near, || {
        pair::become_nobody();
        let served = Served { address: NEAR.into(), port: 80, owned_alone: true };
        let needed = "CAP_NET_RAW, CAP_NET_ADMIN, CAP_BPF and CAP_PERFMON";
        for error in [
            XdpPort::open(&XdpConfig::new(Veth::NEAR, 0)).unwrap_err(),
            Steering::load(&[served]).unwrap_err(),
        ] {
            assert!(matches!(error, XdpError::Privilege { .. }), "{error}");
            assert!(error.to_string().contains(needed), "{error}");
        }
    });
}

#[test]
fn frames_of_the_largest_mtu_are_echoed() {
    if !privileged("frames_of_the_largest_mtu_are_echoed") {
        return;
    }
    let len = 14 + MAX_MTU;
    let veth = Veth::new(1);
    for (namespace, interface) in [(&veth.near, Veth::NEAR), (&veth.far, Veth::FAR)] {
        pair::ip(&format!("-n {namespace} link set {interface} mtu {MAX_MTU}"));
    }
    let (mut near, _near) = Veth::inside_here(&veth.near, || open(Veth::NEAR, 1, NEAR));
    let (mut far, _far) = Veth::inside_here(&veth.far, || open(Veth::FAR, 1, FAR));
    assert_eq!(near[0].capabilities().mtu, MAX_MTU);
    let mut frame = far[0].allocate().unwrap();
    fill(&mut frame, 7, len);
    far[0].transmit(frame).unwrap();
    assert_eq!(far[0].flush(Instant::ZERO), Flush::Taken);
    let frame = receive_one(&mut near[0]);
    assert_eq!((frame.len(), number(&frame)), (len, 7));
    assert!(frame.bytes()[HEADERS..].iter().all(|&byte| byte == 7));
}

/// Sends frames with these numbers, in portions that no ring on the way is too small for.
fn send(port: &mut XdpPort, numbers: std::ops::Range<u32>) {
    let clock = Clock::start();
    for number in numbers {
        let mut frame = port.allocate().unwrap();
        fill(&mut frame, number, 100);
        port.transmit(frame).unwrap();
        if number % 32 == 31 {
            flush(port, &clock);
        }
    }
    flush(port, &clock);
}

fn flush(port: &mut XdpPort, clock: &Clock) {
    while port.flush(clock.now()) != Flush::Taken {
        assert!(clock.now() < Instant::ZERO + PATIENCE, "nothing is taken");
        port.wait(clock.now(), Some(clock.now() + Duration::from_millis(10)));
    }
}

/// Waits until the kernel has dropped that many frames for want of memory.
fn dropped(port: &XdpPort, count: u64) {
    let clock = Clock::start();
    while port.counters().no_memory < count {
        assert!(clock.now() < Instant::ZERO + PATIENCE, "{:?}", port.counters());
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(port.counters().no_memory, count);
}

/// The next frames that arrive, at least `count`.
fn receive(port: &mut XdpPort, count: usize) -> Vec<Frame> {
    let (clock, mut burst, mut frames) = (Clock::start(), Burst::new(), Vec::new());
    while frames.len() < count {
        assert!(clock.now() < Instant::ZERO + PATIENCE, "{:?}", port.counters());
        port.receive(clock.now(), &mut burst);
        frames.extend(burst.drain());
        port.wait(clock.now(), Some(clock.now() + Duration::from_millis(1)));
    }
    frames
}

fn numbers(frames: &[Frame]) -> Vec<u32> {
    frames.iter().map(number).collect()
}

#[test]
fn an_empty_fill_ring_drops_counts_and_recovers() {
    const FILL: u32 = 64;
    if !privileged("an_empty_fill_ring_drops_counts_and_recovers") {
        return;
    }
    let veth = Veth::new(1);
    let (mut near, _near) = Veth::inside_here(&veth.near, || {
        let config = XdpConfig { fill: FILL, chunks: 512, ..XdpConfig::new(Veth::NEAR, 0) };
        let port = XdpPort::open(&config).unwrap();
        let mut steering = steering(NEAR);
        steering.register(0, port.as_fd()).unwrap();
        steering.attach(Veth::NEAR).unwrap();
        (port, steering)
    });
    let (mut far, _far) = Veth::inside_here(&veth.far, || open(Veth::FAR, 1, FAR));
    let far = &mut far[0];

    // Nobody looks: what waits in the kernel is used up, and the rest is dropped.
    send(far, 0..200);
    dropped(&near, 200 - u64::from(FILL));
    assert!(near.counters().fill_empty > 0, "{:?}", near.counters());
    assert_eq!(near.counters().ring_full, 0);
    assert_eq!(numbers(&receive(&mut near, 64)), (0..64).collect::<Vec<_>>());
    send(far, 200..230);
    assert_eq!(numbers(&receive(&mut near, 30)), (200..230).collect::<Vec<_>>());

    // No chunk is free either: the fill ring stays empty until some come back.
    let mut taken: Vec<Frame> = std::iter::from_fn(|| near.allocate()).collect();
    send(far, 230..294);
    let before = near.counters().no_memory;
    taken.extend(receive(&mut near, 64));
    assert_eq!((near.occupancy().free, near.occupancy().filled), (0, 0));
    send(far, 294..304);
    dropped(&near, before + 10);
    assert!(near.allocate().is_none());
    taken.clear();
    near.receive(Instant::ZERO, &mut Burst::new());
    send(far, 304..314);
    assert_eq!(numbers(&receive(&mut near, 10)), (304..314).collect::<Vec<_>>());
    assert_eq!(near.pool().available(), near.pool().chunks() - FILL as usize);
}

/// The next frame that arrives.
fn receive_one(port: &mut XdpPort) -> Frame {
    let (clock, mut burst) = (Clock::start(), Burst::new());
    while burst.is_empty() {
        assert!(clock.now() < Instant::ZERO + PATIENCE, "nothing arrives");
        port.wait(clock.now(), Some(clock.now() + Duration::from_millis(10)));
        port.receive(clock.now(), &mut burst);
    }
    burst.drain().next().unwrap()
}

#[test]
fn a_program_is_attached_until_its_interface_goes_and_to_another_afterwards() {
    if !privileged("a_program_is_attached_until_its_interface_goes_and_to_another_afterwards") {
        return;
    }
    let veth = Veth::new(1);
    Veth::inside_here(&veth.near, || {
        let mut steering = steering(NEAR);
        assert!(!steering.is_attached().unwrap(), "only loaded");
        steering.attach(Veth::NEAR).unwrap();
        assert!(steering.is_attached().unwrap());
        // Also anew where it is already.
        steering.attach(Veth::NEAR).unwrap();
        assert!(steering.is_attached().unwrap());
        pair::ip(&format!("-n {} link del near0", veth.near));
        assert!(!steering.is_attached().unwrap());
        assert!(steering.attach(Veth::NEAR).is_err());
        pair::ip(&format!("-n {} link add near0 type veth peer name other0", veth.near));
        steering.attach(Veth::NEAR).unwrap();
        assert!(steering.is_attached().unwrap());
    });
}

#[test]
fn where_native_xdp_is_refused_generic_xdp_serves_and_the_reason_is_told() {
    if !privileged("where_native_xdp_is_refused_generic_xdp_serves_and_the_reason_is_told") {
        return;
    }
    let veth = Veth::new(1);
    pair::ip(&format!("-n {} link set far0 mtu 9000", veth.far));
    let (mut near, _steering) = Veth::inside_here(&veth.near, || {
        let port = XdpPort::open(&XdpConfig::new(Veth::NEAR, 0)).unwrap();
        let mut steering = steering(NEAR);
        steering.register(0, port.as_fd()).unwrap();
        let attached = steering.attach(Veth::NEAR).unwrap();
        assert_eq!(attached.place, XdpPlace::Generic);
        assert_eq!(
            attached.to_string(),
            "near0: generic XDP (native refused: the other end of the veth pair has an MTU above \
             3,506)"
        );
        (port, steering)
    });
    pair::ip(&format!("-n {} link set far0 mtu 1500", veth.far));
    let mut far =
        Veth::inside_here(&veth.far, || XdpPort::open(&XdpConfig::new(Veth::FAR, 0)).unwrap());
    let mut frame = far.allocate().unwrap();
    fill(&mut frame, 7, 1_000);
    far.transmit(frame).unwrap();
    assert_eq!(far.flush(Instant::ZERO), Flush::Taken);
    assert_eq!(number(&receive_one(&mut near)), 7);
}

#[test]
fn a_link_that_is_down_or_gone_says_so_and_one_that_is_back_goes_on() {
    if !privileged("a_link_that_is_down_or_gone_says_so_and_one_that_is_back_goes_on") {
        return;
    }
    let veth = Veth::new(1);
    let (mut ports, steering) = Veth::inside_here(&veth.near, || open(Veth::NEAR, 1, NEAR));
    let port = &mut ports[0];
    let send = |port: &mut XdpPort| {
        let mut frame = port.allocate().unwrap();
        fill(&mut frame, 1, 60);
        port.transmit(frame).unwrap();
        port.flush(Instant::ZERO)
    };
    assert_eq!(send(port), Flush::Taken);
    pair::ip(&format!("-n {} link set near0 down", veth.near));
    assert_eq!(send(port), Flush::Down);
    port.wait(Instant::ZERO, None);
    pair::ip(&format!("-n {} link set near0 up", veth.near));
    assert_eq!(send(port), Flush::Taken);
    pair::ip(&format!("-n {} link del near0", veth.near));
    assert_eq!(send(port), Flush::Down);
    port.receive(Instant::ZERO, &mut Burst::new());
    port.wait(Instant::ZERO, Some(Instant::from_millis(1)));
    assert_eq!(port.counters().link_down, 2);
    drop((ports, steering));
}
