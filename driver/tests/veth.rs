//! Ports on the queues of a veth pair, with the kernel in between.

mod pair;
mod privileged;

use std::{
    env,
    io::{BufRead, BufReader},
    net::UdpSocket,
    os::fd::{AsFd, OwnedFd},
    process::{Child, Command, Stdio},
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Sender, channel},
    },
    thread,
    time::Duration,
};

use pagewire_driver::{Burst, Cause, Clock, Flush, Instant, Port, XdpConfig, XdpError, XdpPort};
use pair::{
    Veth,
    queues::{FAR, HEADERS, NEAR, fill, number, open, steering},
};
use privileged::privileged;

/// Longer than anything here takes, also where others have the machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Sends frames back to where they came from until `stop`, then checks that no memory is lost.
fn echo(interface: &str, queue: u32, sockets: &Sender<(u32, OwnedFd)>, stop: &AtomicBool) -> u64 {
    let config = XdpConfig::new(interface, queue);
    let mut port = XdpPort::open(&config).unwrap();
    sockets.send((queue, port.as_fd().try_clone_to_owned().unwrap())).unwrap();
    let clock = Clock::start();
    let mut burst = Burst::new();
    while !stop.load(Ordering::Relaxed) {
        port.receive(clock.now(), &mut burst);
        for mut frame in burst.drain() {
            let bytes = frame.bytes_mut();
            let (to, from) = bytes[26..34].split_at_mut(4);
            to.swap_with_slice(from);
            port.transmit(frame).unwrap();
        }
        if port.flush(clock.now()) == Flush::Taken {
            let now = clock.now();
            port.wait(now, Some(now + Duration::from_millis(20)));
        }
    }
    all_memory_is_back(&mut port, &config);
    port.counters().received
}

/// Every chunk is free again, but those that wait for packets.
fn all_memory_is_back(port: &mut XdpPort, config: &XdpConfig) {
    let clock = Clock::start();
    let free = port.pool().chunks() - config.fill as usize;
    while port.pool().available() < free && clock.now().since(Instant::ZERO) < PATIENCE {
        port.receive(clock.now(), &mut Burst::new());
        thread::yield_now();
    }
    assert_eq!(port.pool().available(), free, "{:?}", port.counters());
}

/// Sends `count` frames on each port, at most 64 outstanding, and checks those that come back.
fn exchange(ports: &mut [XdpPort], count: u32) {
    let clock = Clock::start();
    let mut burst = Burst::new();
    for (queue, port) in (0u32..).zip(&mut *ports) {
        let (mut sent, mut returned) = (0, 0);
        while returned < count {
            assert!(clock.now().since(Instant::ZERO) < PATIENCE, "queue {queue}");
            while sent < count && sent < returned + 64 {
                let Some(mut frame) = port.allocate() else { break };
                fill(&mut frame, sent, HEADERS + (sent % 1_400) as usize);
                port.transmit(frame).unwrap();
                sent += 1;
            }
            let flushed = port.flush(clock.now());
            assert_ne!(flushed, Flush::Down);
            port.receive(clock.now(), &mut burst);
            for frame in burst.drain() {
                assert_eq!(number(&frame), returned, "queue {queue}");
                assert_eq!(frame.len(), HEADERS + (returned % 1_400) as usize);
                assert_eq!(frame.bytes()[26..30], NEAR.octets());
                let payload = &frame.bytes()[HEADERS..];
                assert!(payload.iter().all(|&byte| byte == returned.to_le_bytes()[0]));
                returned += 1;
            }
            if flushed == Flush::Taken {
                let now = clock.now();
                port.wait(now, Some(now + Duration::from_millis(20)));
            }
        }
    }
}

/// Frames echoed on each queue.
const ECHOES: u32 = 5_000;

fn echo_on_all_queues(queues: u32) {
    let veth = Veth::new(queues);
    let stop = AtomicBool::new(false);
    let (sockets, opened) = channel();
    thread::scope(|scope| {
        let guard = StopOnDrop(&stop);
        let mut near = Veth::inside(&veth.near, || steering(NEAR));
        let threads: Vec<_> = (0..queues)
            .map(|queue| {
                let (sockets, stop, namespace) = (sockets.clone(), &stop, &veth.near);
                scope.spawn(move || {
                    Veth::inside(namespace, || echo(Veth::NEAR, queue, &sockets, stop))
                })
            })
            .collect();
        for (queue, socket) in opened.iter().take(queues as usize) {
            near.register(queue, socket.as_fd()).unwrap();
        }
        let attached = Veth::inside(&veth.near, || near.attach(Veth::NEAR)).unwrap();
        assert_eq!(attached.to_string(), "near0: native XDP");
        Veth::inside(&veth.far, || {
            let (mut ports, _steering) = open(Veth::FAR, queues, FAR);
            exchange(&mut ports, ECHOES);
            for port in &mut ports {
                let counters = port.counters();
                assert_eq!((counters.kick_lost, counters.no_memory), (0, 0));
                all_memory_is_back(port, &XdpConfig::new(Veth::FAR, 0));
            }
        });
        drop(guard);
        for thread in threads {
            assert_eq!(thread.join().unwrap(), ECHOES.into(), "each queue has its own packets");
        }
        let counters = near.counters().unwrap();
        assert_eq!(counters.of(Cause::ServedTcp), u64::from(ECHOES * queues));
    });
}

#[test]
fn frames_are_echoed_intact_on_two_queues() {
    if privileged("frames_are_echoed_intact_on_two_queues") {
        echo_on_all_queues(2);
    }
}

#[test]
fn frames_are_echoed_intact_on_four_queues() {
    if privileged("frames_are_echoed_intact_on_four_queues") {
        echo_on_all_queues(4);
    }
}

/// Tells other threads to end, also if this one panics: nobody waits for them for ever.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Exchanges datagrams over the pair through the kernel at both ends.
fn kernel_traffic_passes(veth: &Veth) {
    let near = Veth::inside(&veth.near, || UdpSocket::bind("10.99.0.1:7000").unwrap());
    let far = Veth::inside(&veth.far, || UdpSocket::bind("10.99.0.2:7000").unwrap());
    for socket in [&near, &far] {
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    }
    let mut datagram = [0; 64];
    let answered = (0..10).any(|_| {
        far.send_to(b"question", "10.99.0.1:7000").unwrap();
        let Ok((_, from)) = near.recv_from(&mut datagram) else { return false };
        near.send_to(b"answer", from).unwrap();
        far.recv(&mut datagram).is_ok_and(|len| &datagram[..len] == b"answer")
    });
    assert!(answered, "the interface is of no use to the kernel");
}

/// Another process that holds two queues until it is killed.
fn holder(namespace: &str) -> Child {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "the_holder_of_queues", "--nocapture"])
        .env("PAGEWIRE_TEST_HOLD", namespace)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("holding")), "the child could not open");
    child
}

#[test]
fn the_holder_of_queues() {
    let Ok(namespace) = env::var("PAGEWIRE_TEST_HOLD") else { return };
    Veth::inside(&namespace, || {
        let _held = open(Veth::NEAR, 2, NEAR);
        println!("holding");
        thread::sleep(Duration::from_mins(1));
    });
}

#[test]
fn after_a_kill_the_interface_is_free_at_once() {
    if !privileged("after_a_kill_the_interface_is_free_at_once") {
        return;
    }
    let veth = Veth::new(2);
    for _ in 0..3 {
        let mut child = holder(&veth.near);
        kernel_traffic_passes(&veth);
        let (busy, other) = Veth::inside(&veth.near, || {
            let busy = XdpPort::open(&XdpConfig::new(Veth::NEAR, 0)).unwrap_err();
            (busy, steering(NEAR).attach(Veth::NEAR).unwrap_err())
        });
        assert!(matches!(busy, XdpError::QueueBusy { queue: 0, .. }), "{busy}");
        assert!(matches!(&other, XdpError::OtherProgram { .. }), "{other}");
        assert!(other.to_string().contains("pagewire"), "{other}");
        child.kill().unwrap();
        child.wait().unwrap();
        kernel_traffic_passes(&veth);
        Veth::inside(&veth.near, || drop(open(Veth::NEAR, 2, NEAR)));
        kernel_traffic_passes(&veth);
    }
}

/// Frames in a flood.
const COUNT: u32 = 50_000;

/// Sends `count` frames as fast as they are taken to a far end that is scheduled apart from us, and
/// says how many were lost in kicks and how many arrived.
fn flood(veth: &Veth, config: &XdpConfig, count: u32) -> (u64, u64) {
    let (stop, arrived) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let guard = StopOnDrop(&stop);
        let (sockets, opened) = channel();
        let mut steering = Veth::inside(&veth.far, || steering(NEAR));
        let (stop, arrived) = (&stop, &arrived);
        let receiver = scope.spawn(move || {
            Veth::inside(&veth.far, || {
                let mut port = XdpPort::open(&XdpConfig::new(Veth::FAR, 0)).unwrap();
                sockets.send(port.as_fd().try_clone_to_owned().unwrap()).unwrap();
                let (clock, mut burst) = (Clock::start(), Burst::new());
                while !stop.load(Ordering::Relaxed) {
                    port.receive(clock.now(), &mut burst);
                    drop(burst.drain());
                    let counters = port.counters();
                    let count = counters.received + counters.no_memory + counters.ring_full;
                    arrived.store(count, Ordering::Relaxed);
                    port.wait(clock.now(), Some(clock.now() + Duration::from_millis(5)));
                }
            });
        });
        steering.register(0, opened.recv().unwrap().as_fd()).unwrap();
        Veth::inside(&veth.far, || steering.attach(Veth::FAR)).unwrap();
        // Else the far end would work within our kicks, and never be behind.
        veth.schedule_far_end_apart();
        let lost = Veth::inside(&veth.near, || {
            let mut port = XdpPort::open(config).unwrap();
            let (clock, mut sent) = (Clock::start(), 0);
            while sent < count {
                while sent < count
                    && port.credits() > 0
                    && let Some(mut frame) = port.allocate()
                {
                    fill(&mut frame, sent, 60);
                    port.transmit(frame).unwrap();
                    sent += 1;
                }
                let _ = port.flush(clock.now());
                port.receive(clock.now(), &mut Burst::new());
                let patient = clock.now().since(Instant::ZERO) < PATIENCE;
                assert!(patient, "{sent} sent, {:?}", port.counters());
            }
            while port.flush(clock.now()) == Flush::BackPressure {}
            all_memory_is_back(&mut port, config);
            assert_eq!(port.counters().sent, count.into());
            port.counters().kick_lost
        });
        let clock = Clock::start();
        let all_are_there = || lost + arrived.load(Ordering::Relaxed) >= count.into();
        while !all_are_there() && clock.now().since(Instant::ZERO) < PATIENCE {
            thread::sleep(Duration::from_millis(5));
        }
        // One that is counted twice would show soon.
        thread::sleep(Duration::from_millis(50));
        drop(guard);
        receiver.join().unwrap();
        (lost, arrived.load(Ordering::Relaxed))
    })
}

#[test]
fn in_a_flood_each_frame_arrives_or_is_counted_and_the_default_loses_none() {
    if !privileged("in_a_flood_each_frame_arrives_or_is_counted_and_the_default_loses_none") {
        return;
    }
    let veth = Veth::new(1);
    let all = XdpConfig { in_flight: Some(4_096), ..XdpConfig::new(Veth::NEAR, 0) };
    let (lost, arrived) = flood(&veth, &all, COUNT);
    assert_eq!(lost + arrived, COUNT.into(), "{lost} were counted as lost");
    assert_eq!(flood(&veth, &XdpConfig::new(Veth::NEAR, 0), COUNT), (0, COUNT.into()));
}

#[test]
fn frames_that_the_device_drops_in_a_kick_are_counted_and_their_memory_returns() {
    if !privileged("frames_that_the_device_drops_in_a_kick_are_counted_and_their_memory_returns") {
        return;
    }
    let veth = Veth::new(1);
    let config = XdpConfig::new(Veth::NEAR, 0);
    let mut port = Veth::inside_here(&veth.near, || XdpPort::open(&config).unwrap());
    // Without a carrier the device drops all that it is given.
    pair::ip(&format!("-n {} link set {} down", veth.far, Veth::FAR));
    for number in 0..10 {
        let mut frame = port.allocate().unwrap();
        fill(&mut frame, number, 60);
        port.transmit(frame).unwrap();
    }
    assert_eq!(port.flush(Instant::ZERO), Flush::Taken);
    assert_eq!((port.counters().sent, port.counters().kick_lost), (10, 10));
    all_memory_is_back(&mut port, &config);
}

/// Frames that a source sends in one go.
const FRAMES: u32 = 5_000;

/// Sends that many frames from a source, as fast as they are taken.
fn send_from(port: &mut XdpPort, source: [u8; 4], count: u32) {
    let (clock, mut sent) = (Clock::start(), 0);
    while sent < count {
        assert!(clock.now().since(Instant::ZERO) < PATIENCE);
        for _ in 0..64.min(count - sent) {
            let Some(mut frame) = port.allocate() else { break };
            fill(&mut frame, sent, HEADERS);
            frame.bytes_mut()[26..30].copy_from_slice(&source);
            if port.transmit(frame).is_err() {
                break;
            }
            sent += 1;
        }
        let _ = port.flush(clock.now());
        port.receive(clock.now(), &mut Burst::new());
    }
    while port.flush(clock.now()) == Flush::BackPressure {}
}

#[test]
fn a_denied_source_costs_the_queue_nothing_and_others_go_on() {
    if !privileged("a_denied_source_costs_the_queue_nothing_and_others_go_on") {
        return;
    }
    let veth = Veth::new(1);
    let attacker = [198, 51, 100, 7];
    Veth::inside(&veth.near, || {
        let (mut near, steering) = open(Veth::NEAR, 1, NEAR);
        let (mut far, _far_steering) = Veth::inside_here(&veth.far, || open(Veth::FAR, 1, FAR));
        // Sends from a source, and says how many have come in once `judged` of them have been judged.
        let round = |source, far: &mut XdpPort, near: &mut XdpPort, denied: u64| {
            let (clock, mut burst, mut received) = (Clock::start(), Burst::new(), 0);
            let mut take = |near: &mut XdpPort| {
                near.receive(clock.now(), &mut burst);
                received += burst.drain().count();
                received
            };
            for _ in 0..FRAMES / 50 {
                send_from(far, source, 50);
                take(near);
            }
            let judged = |received: usize| {
                received as u64 + steering.counters().unwrap().of(Cause::Denied) - denied
            };
            while judged(take(near)) < FRAMES.into() {
                assert!(clock.now().since(Instant::ZERO) < PATIENCE, "{:?}", near.counters());
                thread::yield_now();
            }
            // What was denied and came in as well would be there by now.
            take(near)
        };
        let (near, far) = (&mut near[0], &mut far[0]);
        assert_eq!(round(attacker, far, near, 0), FRAMES as usize);
        steering.deny(attacker.into(), 32).unwrap();
        let before = near.counters().received;
        assert_eq!(round(attacker, far, near, 0), 0);
        assert_eq!(near.counters().received, before);
        let denied = u64::from(FRAMES);
        assert_eq!(steering.counters().unwrap().of(Cause::Denied), denied);
        let others = round([10, 99, 1, 2], far, near, denied);
        assert_eq!(others, FRAMES as usize, "others are not touched");
        assert!(steering.allow(attacker.into(), 32).unwrap());
        assert_eq!(round(attacker, far, near, denied), FRAMES as usize);
    });
}
