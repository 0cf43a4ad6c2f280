//! The shard over a scripted transport, in made-up time, with a real directory and real helpers.

mod fixture;

use std::{fs, thread, time::Duration};

use self::fixture::{Fixture, GET, ID};
use super::{answering::MOST_QUEUED, change::Change, *};
use crate::{
    content::{CacheLimits, Catalogue},
    http::Limits,
};

#[test]
fn a_request_waits_for_its_file_once_and_then_not() {
    let mut fixture = Fixture::new();
    fixture.receive(GET);
    assert!(fixture.statuses().is_empty());
    fixture.await_responses(1);
    assert!(fixture.line().output.ends_with("\r\n\r\nabcde"));
    assert!(fixture.line().input.is_empty());
    fixture.sent();
    fixture.receive(GET);
    assert_eq!(fixture.statuses(), [200, 200]);
    assert_eq!((fixture.count(Counter::Waits), fixture.count(Counter::Requests)), (1, 2));
}

#[test]
fn a_request_that_waits_is_answered_by_what_is_served_then() {
    let mut fixture = Fixture::new();
    fixture.receive(GET);
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a"), "abc").unwrap();
    let change = Change {
        catalogue: Arc::new(Catalogue::of_directory(directory.path()).unwrap()),
        limits: Limits { head_bytes: 256, ..Limits::default() },
        cache: CacheLimits::default(),
        timeouts: Timeouts { idle: Duration::from_secs(1), ..Timeouts::default() },
        taken: crossbeam_channel::bounded(0).0,
    };
    fixture.shard.adopt(&change, fixture.now);
    fixture.await_responses(1);
    assert!(fixture.line().output.ends_with("\r\n\r\nabc"), "{}", fixture.line().output);
    fixture.sent();
    fixture.receive(GET);
    assert_eq!(fixture.statuses(), [200, 200], "each request once");
    fixture.sent();
    fixture.receive(&format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(300)));
    assert_eq!(fixture.statuses(), [200, 200, 414], "the new limits hold");
}

#[test]
fn a_request_is_answered_the_same_however_often_it_comes() {
    let mut fixture = Fixture::new();
    fixture.receive(GET);
    fixture.await_responses(1);
    let first = std::mem::take(&mut fixture.line().output);
    for _ in 0..3 {
        fixture.sent();
        fixture.receive(GET);
        assert_eq!(std::mem::take(&mut fixture.line().output), first);
        fixture.receive(&GET.replace("GET", "HEAD"));
        let head = std::mem::take(&mut fixture.line().output);
        assert_eq!(head + "abcde", first);
    }
    fixture.receive(&GET.replace("Host", "Connection: close\r\nHost"));
    let last = std::mem::take(&mut fixture.line().output);
    assert_eq!(last.replace("Connection: close\r\n", ""), first);
}

#[test]
fn pipelined_requests_are_answered_in_order_and_a_tail_waits() {
    let mut fixture = Fixture::new();
    let second = "GET /b HTTP/1.1\r\nHost: x\r\n\r\nGET /none HTTP/1.1\r\nHost: x\r\n\r\nGET ";
    fixture.receive(&(GET.to_owned() + second));
    fixture.await_responses(3);
    assert_eq!(fixture.statuses(), [200, 301, 404]);
    assert_eq!(fixture.line().input, b"GET ");
    assert!(fixture.line().output.contains("\r\nLocation: /b/\r\n"));
}

#[test]
fn requests_beyond_the_queue_wait_until_it_is_sent() {
    let mut fixture = Fixture::new();
    fixture.receive(GET);
    fixture.await_responses(1);
    fixture.sent();
    fixture.receive(&GET.repeat(100));
    assert_eq!(fixture.statuses().len(), 1 + MOST_QUEUED as usize);
    fixture.sent();
    assert_eq!(fixture.statuses().len(), 1 + 2 * MOST_QUEUED as usize);
    fixture.sent();
    fixture.sent();
    assert_eq!(fixture.statuses().len(), 101);
    assert!(fixture.line().input.is_empty());
}

#[test]
fn a_busy_transport_is_asked_again_when_it_has_sent() {
    let mut fixture = Fixture::new();
    fixture.line().room = 2;
    fixture.receive(&GET.repeat(3));
    fixture.await_responses(2);
    fixture.turn();
    assert_eq!((fixture.statuses().len(), fixture.line().input.len()), (2, GET.len()));
    fixture.line().room = 2;
    fixture.sent();
    assert_eq!(fixture.statuses().len(), 3);
}

#[test]
fn nothing_is_answered_after_a_close() {
    let mut fixture = Fixture::new();
    fixture.receive(&format!("GET /c HTTP/1.0\r\n\r\n{GET}"));
    fixture.await_responses(1);
    assert_eq!(fixture.statuses(), [404]);
    assert_eq!(fixture.line().closing, Some(Close::Concluded));
    fixture.sent();
    assert!(!fixture.is_open());
    assert_eq!(fixture.count(Counter::Finished), 1);
}

#[test]
fn garbage_is_answered_once_and_ends_the_connection() {
    let mut fixture = Fixture::new();
    fixture.receive("\x01\x02\x03\r\n\r\n");
    assert_eq!(fixture.statuses(), [400]);
    fixture.receive(GET);
    assert_eq!(fixture.statuses(), [400]);
    fixture.sent();
    assert!(!fixture.is_open());
}

#[test]
fn requests_before_a_half_close_are_answered() {
    let mut fixture = Fixture::new();
    fixture.receive(&GET.repeat(2));
    fixture.event(Event::PeerClosed(ID));
    assert!(fixture.is_open());
    fixture.await_responses(2);
    fixture.sent();
    assert!(!fixture.is_open());

    let mut fixture = Fixture::new();
    fixture.receive("GET /a HT");
    fixture.event(Event::PeerClosed(ID));
    fixture.turn();
    assert!(!fixture.is_open());
}

#[test]
fn a_slow_head_gets_408_however_it_drips() {
    let mut fixture = Fixture::new();
    fixture.receive("GET /a HTTP/1.1\r\n");
    for _ in 0..9 {
        fixture.pass(Duration::from_secs(1));
        fixture.receive("X: y\r\n");
    }
    assert!(fixture.statuses().is_empty());
    fixture.pass(Duration::from_millis(1_100));
    assert_eq!(fixture.statuses(), [408]);
    fixture.sent();
    assert!(!fixture.is_open());
    assert_eq!(fixture.count(Counter::HeadTimeouts), 1);
}

#[test]
fn each_head_has_its_own_time() {
    let mut fixture = Fixture::new();
    for round in 1..=5 {
        fixture.receive("GET /a HTTP/1.1\r\n");
        fixture.pass(Duration::from_secs(8));
        fixture.receive("Host: x\r\n\r\nGET ");
        fixture.await_responses(2 * round - 1);
        fixture.sent();
        fixture.receive("/a HTTP/1.1\r\nHost: x\r\n\r\n");
        fixture.await_responses(2 * round);
        fixture.sent();
    }
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let mut fixture = Fixture::new();
    fixture.pass(Duration::from_secs(59));
    assert!(fixture.is_open());
    fixture.receive(GET);
    fixture.await_responses(1);
    fixture.sent();
    fixture.pass(Duration::from_secs(59));
    assert!(fixture.is_open());
    fixture.pass(Duration::from_secs(2));
    assert!(!fixture.is_open());
    assert_eq!(fixture.count(Counter::IdleTimeouts), 1);
}

#[test]
fn deadlines_of_many_connections_take_turns() {
    let mut fixture = Fixture::new();
    for slot in 10..1_010 {
        fixture.open(ConnectionId { slot, generation: 1 });
    }
    // A core that was held up: the time of all is long over.
    fixture.now += Duration::from_mins(2);
    let (mut turns, mut before) = (0, 0);
    while before < 1_001 {
        fixture.turn();
        let closed = fixture.count(Counter::IdleTimeouts);
        assert!((1..=MOST_DUE as u64).contains(&(closed - before)), "{closed}");
        (turns, before) = (turns + 1, closed);
    }
    assert!(turns >= 1_001 / MOST_DUE, "{turns}");
}

#[test]
fn a_client_that_takes_nothing_is_cut_and_a_slow_one_is_not() {
    let mut fixture = Fixture::new();
    fixture.receive(GET);
    fixture.await_responses(1);
    fixture.line().pending = 100_000;
    // As if 100,000 bytes had been submitted.
    fixture.shard.connections.get(ID).unwrap().submitted += 100_000;
    for _ in 0..5 {
        fixture.pass(Duration::from_secs(29));
        fixture.line().pending -= 10_000;
    }
    fixture.pass(Duration::from_secs(31));
    assert!(fixture.is_open());
    fixture.pass(Duration::from_secs(31));
    assert!(!fixture.is_open());
    assert_eq!((fixture.count(Counter::SendTimeouts), fixture.count(Counter::Aborted)), (1, 1));
}

#[test]
fn a_drain_lets_responses_end_and_takes_no_more() {
    let mut fixture = Fixture::new();
    fixture.receive(GET);
    let other = ConnectionId { slot: 0, generation: 0 };
    fixture.open(other);
    fixture.shard.drain(fixture.now);
    fixture.turn();
    assert_eq!(fixture.shard.transport.connections(), 1, "the idle one is closed");
    assert!(!fixture.shard.transport.is_listening);
    fixture.await_responses(1);
    assert!(fixture.line().output.contains("\r\nConnection: close\r\n"));
    fixture.open(ConnectionId { slot: 0, generation: 1 });
    fixture.turn();
    assert_eq!(fixture.shard.transport.connections(), 1, "a new one is closed at once");
    fixture.sent();
    assert_eq!(fixture.shard.transport.connections(), 0);
}

#[test]
fn an_answer_for_a_connection_that_is_gone_is_dropped() {
    let mut fixture = Fixture::new();
    fixture.receive(GET);
    fixture.shard.transport.connections.remove(&ID);
    fixture.event(Event::Closed(ID, CloseReason::Reset));
    let next = ConnectionId { generation: 2, ..ID };
    fixture.open(next);
    thread::sleep(Duration::from_millis(50));
    fixture.turn();
    assert!(fixture.shard.transport.connections[&next].output.is_empty());
    assert_eq!(fixture.count(Counter::Reset), 1);
}

#[test]
fn events_of_unknown_connections_are_borne() {
    let mut fixture = Fixture::new();
    let gone = ConnectionId { slot: 9_999, generation: 7 };
    fixture.event(Event::Received(gone));
    fixture.event(Event::Sent(gone));
    fixture.event(Event::PeerClosed(gone));
    fixture.event(Event::Closed(gone, CloseReason::Unreachable));
    assert!(fixture.is_open());
}

const POST: &str = "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 8000\r\n\r\n";

#[test]
fn content_that_stops_coming_gets_408() {
    let mut fixture = Fixture::new();
    fixture.receive(POST);
    fixture.receive(&"x".repeat(2_600));
    fixture.pass(Duration::from_secs(9));
    assert!(fixture.statuses().is_empty());
    fixture.pass(Duration::from_secs(2));
    assert!(fixture.statuses().is_empty(), "2,600 bytes are more than 256 a second");
    fixture.pass(Duration::from_secs(10));
    assert_eq!(fixture.statuses(), [408]);
    assert_eq!(fixture.count(Counter::BodyTimeouts), 1);
}

#[test]
fn content_that_drips_gets_408_although_it_never_stops() {
    let mut fixture = Fixture::new();
    fixture.receive(POST);
    for _ in 0..10 {
        fixture.receive(&"x".repeat(200));
        fixture.pass(Duration::from_secs(1));
    }
    fixture.pass(Duration::from_millis(100));
    assert_eq!(fixture.statuses(), [408]);
    fixture.sent();
    assert!(!fixture.is_open());
}

#[test]
fn steady_content_is_waited_for_but_no_longer_than_a_request_may_take() {
    let mut fixture = Fixture::new();
    fixture.receive(POST);
    for _ in 0..25 {
        fixture.receive(&"x".repeat(300));
        fixture.pass(Duration::from_secs(1));
    }
    assert!(fixture.statuses().is_empty());
    fixture.receive(&"x".repeat(500));
    fixture.await_responses(1);
    assert_eq!(fixture.statuses(), [405], "it is whole");

    let mut fixture = Fixture::new();
    fixture.shard.timeouts.min_rate = 1;
    fixture.receive(POST);
    for _ in 0..60 {
        assert!(fixture.statuses().is_empty());
        fixture.receive(&"x".repeat(100));
        fixture.pass(Duration::from_secs(1));
    }
    fixture.pass(Duration::from_millis(100));
    assert_eq!(fixture.statuses(), [408]);
}

#[test]
fn a_client_that_takes_small_responses_one_by_one_is_not_slow() {
    let mut fixture = Fixture::new();
    fixture.receive(GET);
    fixture.await_responses(1);
    for round in 2..=31 {
        // The next is asked for before the last is taken, so something is always on its way.
        fixture.receive(GET);
        fixture.await_responses(round);
        fixture.line().pending /= 2;
        fixture.pass(Duration::from_secs(3));
    }
    assert!(fixture.is_open());
}

#[test]
fn a_source_gets_no_more_connections_than_its_share() {
    let mut fixture = Fixture::new();
    let limits = ConnectionLimits { connections: 100, per_source: 2 };
    fixture.shard.admission = Admission::new(limits);
    let id = |slot| ConnectionId { slot, generation: 0 };
    for slot in 10..14 {
        fixture.open_from(id(slot), 7);
    }
    fixture.open_from(id(20), 8);
    fixture.turn();
    assert_eq!(fixture.shard.transport.connections(), 4, "ours, two of one and one of another");
    assert_eq!(fixture.count(Counter::SourceRefused), 2);
    fixture.shard.transport.close(id(10), Close::Now);
    fixture.turn();
    fixture.open_from(id(10), 7);
    fixture.open_from(id(12), 7);
    fixture.turn();
    assert_eq!(fixture.shard.transport.connections(), 4);
}

#[test]
fn when_room_is_scarce_those_who_loiter_make_way_and_others_stay() {
    let mut fixture = Fixture::new();
    let limits = ConnectionLimits { connections: 400, per_source: 400 };
    fixture.shard.admission = Admission::new(limits);
    for slot in 10..300 {
        fixture.open(ConnectionId { slot, generation: 0 });
    }
    fixture.pass(Duration::from_secs(5));
    assert_eq!(fixture.shard.transport.connections(), 291, "there is room");
    fixture.receive(GET);
    fixture.await_responses(1);
    fixture.sent();
    for slot in 300..390 {
        fixture.open(ConnectionId { slot, generation: 0 });
    }
    for _ in 0..10 {
        // Ours goes on asking.
        let responses = fixture.statuses().len();
        fixture.receive(GET);
        fixture.await_responses(responses + 1);
        fixture.sent();
        fixture.pass(Duration::from_millis(500));
    }
    assert!(fixture.is_open());
    let left = fixture.shard.transport.connections();
    assert!((200..=301).contains(&left), "{left} are left");
    assert_eq!(fixture.count(Counter::Relieved), 381 - left as u64);
}

#[test]
fn when_room_is_scarce_those_who_hardly_read_make_way_and_readers_stay() {
    let mut fixture = Fixture::new();
    fixture.shard.admission = Admission::new(ConnectionLimits { connections: 88, per_source: 88 });
    let reader = ConnectionId { slot: 50, generation: 0 };
    for slot in 10..80 {
        let id = ConnectionId { slot, generation: 0 };
        fixture.open(id);
        let Some(connection) = fixture.shard.connections.get(id) else { panic!("{slot}") };
        connection.submitted = 1 << 20;
        fixture.shard.transport.connections.get_mut(&id).unwrap().pending = 1 << 20;
        fixture.event(Event::Received(id));
    }
    for _ in 0..60 {
        let line = fixture.shard.transport.connections.get_mut(&reader);
        line.expect("who reads stays").pending -= 100;
        fixture.pass(Duration::from_millis(100));
    }
    let left = fixture.shard.transport.connections();
    assert!((60..=67).contains(&left), "{left} are left");
}
