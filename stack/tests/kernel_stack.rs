//! What only the kernel's TCP does: its errors with their causes, limits, sleeping, congestion control.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant as RealInstant},
};

use pagewire_driver::Clock;
use pagewire_stack::{
    Close, DiskPool, Event, EventBatch, KernelConfig, KernelError, KernelStack, Transport,
};

const ANY_PORT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

fn stack(config: KernelConfig) -> KernelStack {
    KernelStack::new(config, &DiskPool::start(1, 8).unwrap()).unwrap()
}

/// Polls until `done` says so of all events seen; returns how many turns it took.
fn poll_until(
    stack: &mut KernelStack,
    clock: Clock,
    seen: &mut EventBatch,
    mut done: impl FnMut(&EventBatch) -> bool,
) -> usize {
    let start = RealInstant::now();
    for turns in 1.. {
        let now = clock.now();
        stack.poll(now, seen);
        if done(seen) {
            return turns;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "too long; seen: {seen:?}");
        stack.wait(now, Some(now + Duration::from_millis(200)));
    }
    unreachable!()
}

fn opened(seen: &EventBatch) -> usize {
    seen.iter().filter(|event| matches!(event, Event::Opened { .. })).count()
}

#[test]
fn an_address_in_use_is_named() {
    let other = TcpListener::bind(ANY_PORT).unwrap();
    let address = other.local_addr().unwrap();
    let error = stack(KernelConfig::default()).listen(address).unwrap_err();
    assert!(matches!(error, KernelError::InUse(taken) if taken == address), "{error}");
}

#[test]
fn stacks_of_several_cores_share_an_address() {
    let mut first = stack(KernelConfig::default());
    let address = first.listen(ANY_PORT).unwrap();
    assert_eq!(stack(KernelConfig::default()).listen(address).unwrap(), address);
}

#[test]
fn both_families_listen_on_one_port() {
    let mut stack = stack(KernelConfig::default());
    let v6 = stack.listen("[::]:0".parse().unwrap()).unwrap();
    let v4 = SocketAddr::new("0.0.0.0".parse().unwrap(), v6.port());
    assert_eq!(stack.listen(v4).unwrap(), v4);
}

#[test]
fn an_address_of_another_machine_is_refused() {
    let error = stack(KernelConfig::default()).listen("192.0.2.1:80".parse().unwrap()).unwrap_err();
    assert!(matches!(error, KernelError::NotLocal(_)), "{error}");
}

#[test]
fn an_unknown_congestion_control_is_refused_with_those_there_are() {
    let disk = DiskPool::start(1, 8).unwrap();
    let config =
        KernelConfig { congestion_control: Some("swift".into()), ..KernelConfig::default() };
    let error = KernelStack::new(config, &disk).unwrap_err().to_string();
    assert!(error.contains("`swift`") && error.contains("reno"), "{error}");
}

#[test]
fn a_known_congestion_control_is_used() {
    let config =
        KernelConfig { congestion_control: Some("reno".into()), ..KernelConfig::default() };
    assert_eq!(stack(config).congestion_control(), "reno");
    assert!(!stack(KernelConfig::default()).congestion_control().is_empty());
}

#[test]
fn more_connections_than_slots_wait_their_turn_without_keeping_the_core_awake() {
    let clock = Clock::start();
    let mut stack = stack(KernelConfig { connections_max: 2, ..KernelConfig::default() });
    let address = stack.listen(ANY_PORT).unwrap();
    let clients: Vec<_> = (0..4).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut seen = EventBatch::new();
    poll_until(&mut stack, clock, &mut seen, |seen| opened(seen) == 2);
    let since = RealInstant::now();
    let turns =
        poll_until(&mut stack, clock, &mut seen, |_| since.elapsed() > Duration::from_millis(500));
    assert!(turns < 50, "{turns} turns in half a second");
    assert_eq!((stack.connections(), opened(&seen)), (2, 2));
    assert!(stack.counters().accept_no_slots > 0);
    drop(clients);
    let mut closing = 0;
    while opened(&seen) < 4 || stack.connections() > 0 {
        poll_until(&mut stack, clock, &mut seen, |seen| seen.len() > closing);
        for event in &seen[closing..] {
            if let Event::PeerClosed(id) = event {
                stack.close(*id, Close::AfterSent);
            }
        }
        closing = seen.len();
    }
    assert_eq!(stack.counters().closed.finished, 4);
    assert_eq!(stack.counters().closed.total(), 4);
}

#[test]
fn after_listening_is_stopped_open_connections_go_on() {
    let clock = Clock::start();
    let mut stack = stack(KernelConfig::default());
    let address = stack.listen(ANY_PORT).unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    let mut seen = EventBatch::new();
    poll_until(&mut stack, clock, &mut seen, |seen| opened(seen) == 1);
    stack.stop_listening();
    TcpStream::connect(address).unwrap_err();
    client.write_all(b"still here").unwrap();
    poll_until(&mut stack, clock, &mut seen, |seen| seen.len() > 1);
    let Event::Received(id) = seen[1] else { panic!("{seen:?}") };
    assert_eq!(stack.received(id), b"still here");
    stack.close(id, Close::Now);
    poll_until(&mut stack, clock, &mut seen, |seen| matches!(seen[..], [.., Event::Closed(..)]));
    client.read(&mut [0; 1]).unwrap_err();
}

#[test]
fn a_wake_ends_the_sleep_even_if_poll_saw_it_first() {
    let clock = Clock::start();
    let mut stack = stack(KernelConfig::default());
    let (waker, start) = (stack.waker(), RealInstant::now());
    waker.wake();
    stack.poll(clock.now(), &mut EventBatch::new());
    stack.wait(clock.now(), None);
    let helper = thread::spawn(move || {
        thread::sleep(Duration::from_millis(30));
        waker.wake();
    });
    stack.wait(clock.now(), None);
    assert!(start.elapsed() < Duration::from_secs(10));
    helper.join().unwrap();
}

#[test]
fn a_deadline_ends_the_sleep() {
    let clock = Clock::start();
    let mut stack = stack(KernelConfig::default());
    let now = clock.now();
    stack.wait(now, Some(now + Duration::from_millis(40)));
    let slept = clock.now() - now;
    assert!((Duration::from_millis(40)..Duration::from_secs(5)).contains(&slept), "{slept:?}");
}
