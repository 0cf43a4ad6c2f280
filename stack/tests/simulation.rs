//! Two user-level stacks on a simulated link, in virtual time, from seeds: every byte arrives as it was
//! sent, whatever the link does, and every slot and frame comes back.
//!
//! `PAGEWIRE_SEEDS=first..end` runs other seeds, for instance the one that a failure has printed.

use std::{env, ops::Range, time::Duration};

use pagewire_driver::{
    Impaired, Impairment, Instant, MemoryConfig, MemoryPort, Random, memory_link,
};
use pagewire_stack::{
    Close, CloseReason, ConnectionId, DiskPool, Event, FileObject, FileRange, Part, Parts, Prefix,
    Transport,
    user::{Mesh, ServedAddress, UserConfig, UserLimits, UserStack},
};

type Stack = UserStack<Impaired<MemoryPort>>;

/// The terms of one transfer, drawn from a seed.
#[derive(Debug)]
struct Terms {
    impairment: Impairment,
    ipv6: bool,
    request: usize,
    response: usize,
    server_closes: bool,
    client_window: usize,
    mtu: usize,
}

impl Terms {
    fn draw(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut draw = |most: u64| random.below(most + 1);
        let percent = |value: u64| value as f64 / 100.0;
        let longest = [100, 3_000, 200_000][draw(2) as usize];
        Self {
            impairment: Impairment {
                loss: percent([0, 0, 1, 5, 20][draw(4) as usize]),
                corruption: percent([0, 0, 3][draw(2) as usize]),
                duplication: percent([0, 0, 10][draw(2) as usize]),
                rate_bits_per_s: [None, Some(100_000_000)][draw(1) as usize],
                queue_bytes: Some(64_000),
                delay: Duration::from_micros(draw(30_000)),
                jitter: Duration::from_micros([0, 5_000][draw(1) as usize]),
                reorder: percent([0, 0, 20][draw(2) as usize]),
                reorder_delay: Duration::from_millis(5),
                ..Impairment::default()
            },
            ipv6: draw(1) == 1,
            request: 1 + draw(12_000) as usize,
            response: 1 + draw(longest) as usize,
            server_closes: draw(1) == 1,
            client_window: [600, 4_096, 65_535][draw(2) as usize],
            mtu: [1_280, 1_500, 3_400][draw(2) as usize],
        }
    }
}

/// Byte `offset` of every stream and file here.
fn pattern(offset: usize) -> u8 {
    (offset ^ (offset >> 8) ^ (offset >> 15)) as u8
}

fn stack(port: MemoryPort, terms: &Terms, host: u8, seed: u64, is_server: bool) -> Stack {
    let served = |text: &str, bits| ServedAddress {
        prefix: Prefix::new(text.parse().unwrap(), bits).unwrap(),
        owned_alone: true,
    };
    let addresses =
        vec![served(&format!("10.0.0.{host}"), 24), served(&format!("fd00::{host}"), 64)];
    let port = Impaired::new(port, terms.impairment, seed ^ u64::from(host));
    let receive_window = if is_server { 4_096 } else { terms.client_window };
    let config = UserConfig {
        addresses,
        listen: is_server.then_some(80),
        limits: UserLimits {
            connections: 16,
            receive_window,
            silence: Duration::from_mins(10),
            handshake: Duration::from_mins(2),
            linger: Duration::from_mins(10),
            ..UserLimits::default()
        },
        mesh: Mesh::new(1).remove(0),
        disk: DiskPool::start(1, 16).unwrap(),
        network: None,
        probe: None,
    };
    UserStack::new(port, Instant::ZERO, config).unwrap()
}

#[derive(Default)]
struct Server {
    request: Vec<u8>,
    answered: bool,
    closed: Vec<CloseReason>,
}

#[derive(Default)]
struct Client {
    response: Vec<u8>,
    asked: bool,
    ended: bool,
    closed: Vec<CloseReason>,
}

fn serve(server: &mut Stack, state: &mut Server, terms: &Terms, event: Event) {
    match event {
        Event::Received(id) => {
            let fresh = server.received(id).to_vec();
            server.consume(id, fresh.len());
            state.request.extend(fresh);
            if state.request.len() >= terms.request && !state.answered {
                state.answered = true;
                answer(server, id, terms);
            }
        }
        Event::PeerClosed(id) => server.close(id, Close::AfterSent),
        Event::Closed(_, reason) => state.closed.push(reason),
        Event::Opened { .. } | Event::Sent(_) => {}
    }
}

/// The response in several parts: owned bytes, then the middle of a file, then owned bytes.
fn answer(server: &mut Stack, id: ConnectionId, terms: &Terms) {
    let (front, back) = (terms.response / 5, terms.response - terms.response / 7);
    let bytes = |range: Range<usize>| Part::Bytes(range.map(pattern).collect());
    let object = FileObject::from_bytes((0..terms.response).map(pattern).collect());
    let range = FileRange { object, start: front as u64, len: (back - front) as u64 };
    let mut parts: Parts = vec![bytes(0..front), Part::File(range), bytes(back..terms.response)];
    server.submit(id, &mut parts).unwrap();
    if terms.server_closes {
        server.close(id, Close::AfterSent);
    }
}

fn consume(client: &mut Stack, state: &mut Client, terms: &Terms, event: Event) {
    match event {
        Event::Opened { id, .. } if !state.asked => {
            state.asked = true;
            let request = (0..terms.request).map(pattern).collect();
            client.submit(id, &mut vec![Part::Bytes(request)]).unwrap();
        }
        Event::Received(id) => {
            let fresh = client.received(id).to_vec();
            client.consume(id, fresh.len());
            state.response.extend(fresh);
            if state.response.len() >= terms.response && !terms.server_closes {
                client.close(id, Close::AfterSent);
            }
        }
        Event::PeerClosed(id) => {
            state.ended = true;
            client.close(id, Close::AfterSent);
        }
        Event::Closed(_, reason) => state.closed.push(reason),
        Event::Opened { .. } | Event::Sent(_) => {}
    }
}

fn run(seed: u64) {
    let terms = Terms::draw(seed);
    let config = MemoryConfig { mtu: terms.mtu, chunks: 2_048, ..MemoryConfig::default() };
    let (near, far) = memory_link(config).unwrap();
    let pools = [near.pool().clone(), far.pool().clone()];
    let mut server = stack(near, &terms, 1, seed, true);
    let mut client = stack(far, &terms, 2, seed, false);
    let target = if terms.ipv6 { "[fd00::1]:80" } else { "10.0.0.1:80" };
    client.connect(Instant::ZERO, target.parse().unwrap()).unwrap();

    let (mut serving, mut asking) = (Server::default(), Client::default());
    let (mut now, mut events) = (Instant::ZERO, Vec::new());
    let end = Instant::from_millis(3_600_000);
    while now < end && (asking.closed.is_empty() || server.connections() > 0) {
        server.poll(now, &mut events);
        let busy = !events.is_empty();
        for event in events.drain(..) {
            serve(&mut server, &mut serving, &terms, event);
        }
        client.poll(now, &mut events);
        let busy = busy || !events.is_empty();
        for event in events.drain(..) {
            consume(&mut client, &mut asking, &terms, event);
        }
        now += Duration::from_micros(if busy { 20 } else { 500 });
    }

    let context = format!("seed {seed}: {terms:?}; {:?}", server.counters());
    assert_eq!(asking.closed, [CloseReason::Finished], "{context}");
    let wrong = asking.response.iter().enumerate().find(|&(at, &byte)| byte != pattern(at));
    assert_eq!(wrong, None, "{context}");
    assert_eq!(asking.response.len(), terms.response, "{context}");
    let wrong = serving.request.iter().enumerate().find(|&(at, &byte)| byte != pattern(at));
    assert_eq!(wrong, None, "{context}");
    assert_eq!(serving.request.len(), terms.request, "{context}");
    assert_eq!(asking.ended, terms.server_closes, "{context}");
    assert_eq!((server.connections(), client.connections()), (0, 0), "{context}");
    drop((server, client));
    for pool in pools {
        assert_eq!(pool.available(), pool.chunks(), "{context}");
    }
}

fn run_all(default: Range<u64>) {
    let seeds = env::var("PAGEWIRE_SEEDS").ok().and_then(|text| {
        let (first, end) = text.split_once("..")?;
        Some(first.parse().ok()?..end.parse().ok()?)
    });
    for seed in seeds.unwrap_or(default) {
        run(seed);
    }
}

#[test]
fn seeded_transfers_arrive_whole_and_leave_nothing_behind() {
    run_all(0..500);
}

#[test]
#[ignore = "long: run by ./dev soak"]
fn ten_thousand_seeded_transfers_arrive_whole_and_leave_nothing_behind() {
    run_all(500..10_500);
}
