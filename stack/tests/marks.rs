//! Marks by routers (ECN, RFC 3168): asked for by either side, put on what is sent for the first time, heeded
//! once a round trip, and echoed until the peer has heard.

mod common;

use std::{net::SocketAddr, time::Duration};

use common::{
    Sent,
    scene::{PEER_START, Scene, acknowledge, both, pattern},
};
use pagewire_stack::{Event, Part, Transport};
use smoltcp::wire::TcpControl;

const CWR: u8 = 0x80;
const ECE: u8 = 0x40;

/// What a test reads of a frame: the ECN field of the IP header, flags, sequence number, payload bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Raw {
    class: u8,
    flags: u8,
    port: u16,
    sequence: u32,
    len: usize,
}

fn tcp_at(frame: &[u8]) -> usize {
    14 + if frame[14] >> 4 == 4 { 20 } else { 40 }
}

/// Sends a segment with more flags, and perhaps marked on the way.
fn send(scene: &mut Scene, sent: &Sent<'_>, flags: u8, is_marked: bool) -> Vec<Raw> {
    let mut frame = scene.peer.frame(sent);
    let tcp = tcp_at(&frame);
    frame[tcp + 13] |= flags;
    add(&mut frame, tcp + 16, flags.into());
    if is_marked && tcp == 34 {
        frame[15] |= 3;
        add(&mut frame, 24, 3);
    } else if is_marked {
        frame[15] |= 0x30;
    }
    scene.peer.send_raw(&frame);
    turn(scene)
}

/// Adds to the words that a checksum is of (RFC 1624).
fn add(frame: &mut [u8], checksum: usize, word: u16) {
    let old = !u16::from_be_bytes([frame[checksum], frame[checksum + 1]]);
    let sum = u32::from(old) + u32::from(word);
    let folded = (sum & 0xffff) as u16 + (sum >> 16) as u16;
    frame[checksum..checksum + 2].copy_from_slice(&(!folded).to_be_bytes());
}

fn turn(scene: &mut Scene) -> Vec<Raw> {
    let mut all = Vec::new();
    for _ in 0..4 {
        scene.stack.poll(scene.now, &mut scene.events);
        for frame in scene.peer.receive_raw() {
            let tcp = tcp_at(&frame);
            let is_ipv4 = tcp == 34;
            let header = usize::from(frame[tcp + 12] >> 4) * 4;
            let end = if is_ipv4 {
                14 + usize::from(u16::from_be_bytes([frame[16], frame[17]]))
            } else {
                54 + usize::from(u16::from_be_bytes([frame[18], frame[19]]))
            };
            all.push(Raw {
                class: if is_ipv4 { frame[15] & 3 } else { frame[15] >> 4 & 3 },
                flags: frame[tcp + 13],
                port: u16::from_be_bytes([frame[tcp], frame[tcp + 1]]),
                sequence: u32::from_be_bytes(frame[tcp + 4..tcp + 8].try_into().unwrap()),
                len: end - tcp - header,
            });
        }
    }
    all
}

/// A connection whose peer has asked for marks. Returns the stack's next sequence number.
fn open(scene: &mut Scene) -> u32 {
    // The first connection resolves the neighbour.
    scene.open(60_000);
    scene.peer.source_port += 1;
    let syn = Sent { control: TcpControl::Syn, sequence: PEER_START, ..Sent::default() };
    let answer = send(scene, &syn, ECE | CWR, false);
    assert_eq!(answer.len(), 1);
    assert_eq!(answer[0].flags & (ECE | CWR), ECE, "agreed");
    assert_eq!(answer[0].class, 0, "a SYN is not marked");
    let next = answer[0].sequence.wrapping_add(1);
    assert_eq!(send(scene, &acknowledge(next), 0, false), []);
    next
}

/// Whether data of a connection that we open is marked, where this many SYNs are sent before the answer,
/// which has these flags besides.
fn marks_after_connecting(scene: &mut Scene, syns: usize, answer: u8) -> bool {
    scene.open(60_000);
    scene.peer.source_port = 9_000;
    let to = SocketAddr::new(scene.peer.address, 9_000);
    let id = scene.stack.connect(scene.now, to).unwrap();
    let mut syn = turn(scene);
    assert_eq!((syn[0].flags & (ECE | CWR), syn[0].class), (ECE | CWR, 0), "asked");
    while syns > 1 && syn.len() < syns {
        scene.now += Duration::from_millis(100);
        syn.extend(turn(scene));
    }
    assert!(syn[1..].iter().all(|again| again.flags & (ECE | CWR) == 0), "once: {syn:?}");
    scene.peer.target_port = syn[0].port;
    let next = syn[0].sequence.wrapping_add(1);
    let syn_ack = Sent {
        control: TcpControl::Syn,
        sequence: PEER_START,
        acknowledgement: Some(next),
        ..Sent::default()
    };
    assert_eq!(send(scene, &syn_ack, answer, false).len(), 1, "an acknowledgement");
    scene.stack.submit(id, &mut vec![Part::Bytes(pattern(10))]).unwrap();
    let data = turn(scene);
    assert_eq!(data[0].len, 10);
    data[0].class == 2
}

#[test]
fn our_first_syn_asks_and_marks_follow_only_if_the_answer_agrees() {
    for (syns, answer, agreed) in
        [(1, ECE, true), (1, 0, false), (1, ECE | CWR, false), (2, ECE, false)]
    {
        both(|mut scene| {
            assert_eq!(
                marks_after_connecting(&mut scene, syns, answer),
                agreed,
                "{syns}, {answer:x}"
            );
        });
    }
}

#[test]
fn who_does_not_ask_is_not_marked() {
    both(|mut scene| {
        let (id, _) = scene.open(60_000);
        scene.stack.submit(id, &mut vec![Part::Bytes(pattern(10))]).unwrap();
        let sent = turn(&mut scene);
        assert_eq!((sent[0].class, sent[0].flags & (ECE | CWR)), (0, 0));
    });
}

#[test]
fn an_echoed_mark_reduces_the_window_and_the_peer_is_told() {
    both(|mut scene| {
        let next = open(&mut scene);
        let Some(&Event::Opened { id, .. }) = scene.events.last() else { panic!("not open") };
        scene.stack.submit(id, &mut vec![Part::Bytes(pattern(30_000))]).unwrap();
        let mut sent = turn(&mut scene);
        assert!(sent.iter().all(|seen| seen.class == 2), "ECT(0): {sent:?}");
        let before = scene.stack.tcp_state(id).unwrap().recovery.cwnd;
        scene.now += Duration::from_millis(20);
        let first = next.wrapping_add(2_000);
        sent = send(&mut scene, &acknowledge(first), ECE, false);
        for _ in 0..20 {
            if sent.iter().any(|seen| seen.len > 0) {
                break;
            }
            scene.now += Duration::from_millis(10);
            sent = turn(&mut scene);
        }
        let after = scene.stack.tcp_state(id).unwrap().recovery;
        assert_eq!(after.threshold, before * 7 / 10);
        assert_eq!(after.retransmits, 0);
        let fresh: Vec<_> = sent.iter().filter(|seen| seen.len > 0).collect();
        if let Some(first) = fresh.first() {
            assert_eq!(first.flags & CWR, CWR, "told with the next data");
            assert!(fresh[1..].iter().all(|seen| seen.flags & CWR == 0), "and once");
        }
    });
}

#[test]
fn a_mark_that_comes_is_echoed_until_the_peer_has_reduced() {
    both(|mut scene| {
        let next = open(&mut scene);
        let mut sequence = PEER_START.wrapping_add(1);
        let mut echoed = |scene: &mut Scene, flags: u8, is_marked: bool| {
            let sent = Sent { payload: b"x", sequence, ..acknowledge(next) };
            send(scene, &sent, flags, is_marked);
            sequence = sequence.wrapping_add(1);
            scene.now += Duration::from_millis(40);
            let answer = turn(scene);
            answer.last().expect("an acknowledgement").flags & ECE == ECE
        };
        assert!(!echoed(&mut scene, 0, false));
        assert!(echoed(&mut scene, 0, true));
        assert!(echoed(&mut scene, 0, false), "until the peer says that it has heard");
        assert!(!echoed(&mut scene, CWR, false));
        assert!(echoed(&mut scene, CWR, true), "a new mark counts");
    });
}
