//! Flows whose packets change queues: two shards, each with its own queue, and a peer whose frames
//! arrive on either.

mod common;

use std::time::Duration;

use common::{Peer, Seen, Sent, config};
use pagewire_driver::{
    Burst, Flush, Frame, Instant, MemoryConfig, MemoryPort, Port, PortCapabilities, PortCounters,
    Random, Waker, memory_link,
};
use pagewire_stack::{
    Close, CloseReason, Event, Part, Transport,
    user::{DropCause, Mesh, UserStack},
};
use smoltcp::wire::TcpControl;

/// A client's port whose frames go to one of several queues of the server, whichever chance picks.
struct Spray {
    queues: Vec<MemoryPort>,
    random: Random,
    capabilities: PortCapabilities,
}

impl Port for Spray {
    fn capabilities(&self) -> &PortCapabilities {
        &self.capabilities
    }

    fn counters(&self) -> PortCounters {
        self.queues[0].counters()
    }

    fn receive(&mut self, now: Instant, burst: &mut Burst) {
        for queue in &mut self.queues {
            queue.receive(now, burst);
        }
    }

    fn credits(&self) -> usize {
        self.queues.iter().map(Port::credits).min().unwrap_or(0)
    }

    fn allocate(&mut self) -> Option<Frame> {
        self.queues[0].allocate()
    }

    fn transmit(&mut self, frame: Frame) -> Result<(), Frame> {
        let queue = self.random.below(self.queues.len() as u64) as usize;
        let Some(mut theirs) = self.queues[queue].allocate() else { return Err(frame) };
        theirs.copy_from(frame.bytes());
        self.queues[queue].transmit(theirs).map_err(|_| frame)
    }

    fn flush(&mut self, now: Instant) -> Flush {
        for queue in &mut self.queues {
            let _ = queue.flush(now);
        }
        Flush::Taken
    }

    fn wait(&mut self, _now: Instant, _deadline: Option<Instant>) {}

    fn waker(&self) -> Waker {
        self.queues[0].waker()
    }
}

/// The server's shards, and the far ends of their queues.
fn shards(count: usize, embryonic: usize) -> (Vec<UserStack<MemoryPort>>, Vec<MemoryPort>) {
    let link = || memory_link(MemoryConfig::default()).unwrap();
    let (near, far): (Vec<_>, Vec<_>) = (0..count).map(|_| link()).unzip();
    let stacks = near.into_iter().zip(Mesh::new(count));
    let stacks = stacks.map(|(port, mesh)| {
        let mut config = config(1, Some(80), mesh);
        config.limits.embryonic = embryonic;
        UserStack::new(port, Instant::ZERO, config).unwrap()
    });
    (stacks.collect(), far)
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|byte| (byte ^ (byte >> 8)) as u8).collect()
}

#[test]
fn a_flow_that_hops_with_every_packet_goes_on_and_opens_once() {
    hop_with_every_packet(64);
}

#[test]
fn a_cookie_is_taken_once_whichever_queue_it_comes_back_on() {
    hop_with_every_packet(0);
}

fn hop_with_every_packet(embryonic: usize) {
    for seed in 0..20 {
        let (mut stacks, queues) = shards(4, embryonic);
        let capabilities = *queues[0].capabilities();
        let spray = Spray { queues, random: Random::new(seed), capabilities };
        let client_config = config(2, None, Mesh::new(1).remove(0));
        let mut client = UserStack::new(spray, Instant::ZERO, client_config).unwrap();
        let mut connections = Vec::new();
        for _ in 0..8 {
            let target = "10.0.0.1:80".parse().unwrap();
            connections.push(client.connect(Instant::ZERO, target).unwrap());
        }
        let (mut opened, mut closed, mut received) = (0, 0, vec![0; connections.len()]);
        let (mut now, mut events) = (Instant::ZERO, Vec::new());
        while closed < connections.len() && now < Instant::from_millis(60_000) {
            for stack in &mut stacks {
                stack.poll(now, &mut events);
                for event in events.drain(..) {
                    match event {
                        Event::Opened { .. } => opened += 1,
                        Event::Received(id) => {
                            let len = stack.received(id).len();
                            stack.consume(id, len);
                            stack.submit(id, &mut vec![Part::Bytes(pattern(50_000))]).unwrap();
                            stack.close(id, Close::AfterSent);
                        }
                        Event::Closed(_, reason) => {
                            assert_eq!(reason, CloseReason::Finished, "seed {seed}");
                        }
                        Event::PeerClosed(_) | Event::Sent(_) => {}
                    }
                }
            }
            client.poll(now, &mut events);
            for event in events.drain(..) {
                match event {
                    Event::Opened { id, .. } => {
                        client.submit(id, &mut vec![Part::Bytes(b"GET".to_vec())]).unwrap();
                    }
                    Event::Received(id) => {
                        let fresh = client.received(id).to_vec();
                        let index = connections.iter().position(|&one| one == id).unwrap();
                        let start: usize = received[index];
                        received[index] += fresh.len();
                        assert_eq!(fresh, pattern(50_000)[start..received[index]], "seed {seed}");
                        client.consume(id, fresh.len());
                    }
                    Event::PeerClosed(id) => client.close(id, Close::AfterSent),
                    Event::Closed(_, reason) => {
                        assert_eq!(reason, CloseReason::Finished, "seed {seed}");
                        closed += 1;
                    }
                    Event::Sent(_) => {}
                }
            }
            now += Duration::from_micros(100);
        }
        assert_eq!((opened, closed), (8, 8), "seed {seed}");
        assert_eq!(received, [50_000; 8], "seed {seed}");
        let hopped: u64 = stacks.iter().map(|stack| stack.counters().hopped_in).sum();
        assert!(hopped > 50, "seed {seed}: {hopped}");
        let cookies: u64 = stacks.iter().map(|stack| stack.counters().cookies_accepted).sum();
        assert_eq!(cookies, if embryonic == 0 { 8 } else { 0 }, "seed {seed}");
        let resets: u64 = stacks.iter().map(|stack| stack.counters().resets_sent).sum();
        assert_eq!(resets, 0, "seed {seed}");
    }
}

/// Two shards and one hand-made peer with a port on each queue.
struct Scene {
    stacks: Vec<UserStack<MemoryPort>>,
    peers: [Peer; 2],
    now: Instant,
    opened: usize,
}

impl Scene {
    fn new() -> Self {
        let (stacks, mut far) = shards(2, 64);
        let second = far.pop().unwrap();
        let first = far.pop().unwrap();
        let peers = [Peer::new(first, false), Peer::new(second, false)];
        Self { stacks, peers, now: Instant::from_millis(1_000), opened: 0 }
    }

    fn turn(&mut self) -> [Vec<Seen>; 2] {
        let mut seen = [Vec::new(), Vec::new()];
        for _ in 0..8 {
            for (index, stack) in self.stacks.iter_mut().enumerate() {
                let mut events = Vec::new();
                stack.poll(self.now, &mut events);
                let opened = events.iter().filter(|event| matches!(event, Event::Opened { .. }));
                self.opened += opened.count();
                seen[index].extend(self.peers[index].receive());
            }
        }
        seen
    }

    fn send(&mut self, queue: usize, sent: &Sent<'_>) -> [Vec<Seen>; 2] {
        self.peers[queue].send(sent);
        self.turn()
    }
}

#[test]
fn a_retransmitted_syn_on_another_queue_opens_one_connection() {
    for stamped in [false, true] {
        let mut scene = Scene::new();
        let timestamps = stamped.then_some((100, 0));
        let syn = Sent { control: TcpControl::Syn, sequence: 7, timestamps, ..Sent::default() };
        let first = scene.send(0, &syn)[0].clone();
        let second = scene.send(1, &syn)[1].clone();
        assert_eq!((&*first[0].flags, &*second[0].flags), ("SA", "SA"));
        assert_ne!(first[0].sequence, second[0].sequence, "else both would be opened");
        // The peer takes the first one that reached it; its ACK comes on the other queue.
        let echo = first[0].timestamps.map(|(tsval, _)| (101, tsval));
        let ack = Sent {
            sequence: 8,
            acknowledgement: Some(first[0].sequence.wrapping_add(1)),
            timestamps: echo,
            payload: b"GET",
            ..Sent::default()
        };
        let seen = scene.send(1, &ack);
        assert_eq!(scene.opened, 1);
        assert!(seen.iter().flatten().all(|seen| !seen.flags.contains('R')), "{seen:?}");
        assert_eq!(scene.stacks[0].counters().accepted, 1);
        // What the other shard began is given up in silence.
        for _ in 0..12 {
            scene.now += Duration::from_secs(1);
            let seen = scene.turn();
            assert!(seen.iter().flatten().all(|seen| !seen.flags.contains('R')), "{seen:?}");
        }
        assert_eq!(scene.stacks[1].connections(), 0);
    }
}

#[test]
fn a_neighbor_whose_answers_come_on_another_queue_is_not_forgotten() {
    let mut scene = Scene::new();
    let syn = Sent { control: TcpControl::Syn, sequence: 7, ..Sent::default() };
    scene.send(0, &syn);
    for _ in 0..100 {
        scene.now += Duration::from_secs(1);
        for (index, stack) in scene.stacks.iter_mut().enumerate() {
            stack.poll(scene.now, &mut Vec::new());
            let frames = scene.peers[index].receive_raw();
            for frame in frames.iter().filter(|frame| frame[12..14] == [8, 6]) {
                scene.peers[1 - index].answer_arp(&frame[14..]);
            }
        }
    }
    for stack in &scene.stacks {
        assert_eq!(stack.counters().dropped(DropCause::NoNeighbor), 0);
    }
    scene.peers[0].source_port += 1;
    let frame = scene.peers[0].frame(&syn);
    scene.peers[0].send_raw(&frame);
    scene.stacks[0].poll(scene.now, &mut Vec::new());
    let frames = scene.peers[0].receive_raw();
    assert!(frames.iter().any(|frame| frame[12..14] == [8, 0]), "the SYN-ACK at once");
}

#[test]
fn a_segment_that_nobody_knows_is_reset_once_after_all_have_said_so() {
    let mut scene = Scene::new();
    let stray = Sent { sequence: 5, acknowledgement: Some(900), ..Sent::default() };
    let seen = scene.send(0, &stray);
    let flags: Vec<_> = seen.iter().flatten().map(|seen| seen.flags.clone()).collect();
    assert_eq!(flags, ["R"]);
    assert_eq!(scene.stacks[0].counters().questions, 1);
    assert_eq!(scene.stacks[0].counters().dropped(DropCause::NoConnection), 1);
}

#[test]
fn a_neighbor_learned_on_one_queue_is_known_on_all() {
    let mut scene = Scene::new();
    let syn = Sent { control: TcpControl::Syn, sequence: 7, ..Sent::default() };
    scene.send(0, &syn);
    scene.peers[1].source_port += 1;
    let frame = scene.peers[1].frame(&syn);
    scene.peers[1].send_raw(&frame);
    scene.stacks[1].poll(scene.now, &mut Vec::new());
    let frames = scene.peers[1].receive_raw();
    assert_eq!(frames.len(), 1, "the SYN-ACK at once, no ARP");
    assert_eq!(frames[0][12..14], [8, 0]);
}
