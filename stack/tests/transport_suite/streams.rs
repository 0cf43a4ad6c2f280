//! Bytes in order: every kind of part, back-pressure both ways, fairness.

use pagewire_stack::{Close, Event, FileObject, Part, Refused, Transport};

use super::{
    Harness,
    world::{End, World, file_of, pattern, range, whole},
};

pub fn both_ends_open_and_bytes_come_back<H: Harness>(world: &mut World<H>) {
    let pair = world.open();
    let address = world.harness.address();
    let Some(&Event::Opened { peer, local, .. }) = world.log(End::Server).first() else {
        panic!("the first event is not Opened");
    };
    assert_eq!(local, address);
    let expected = Event::Opened { id: pair.client, peer: address, local: peer };
    assert_eq!(world.log(End::Client)[0], expected);
    world.echo(pair);
    world.until("Sent at both ends", |world| {
        world.count(End::Server, Event::Sent(pair.server)) == 1
            && world.count(End::Client, Event::Sent(pair.client)) == 1
    });
    assert_eq!(world.pending(End::Server, pair.server), 0);
    world.close_all(&[pair]);
}

pub fn parts_of_every_kind_arrive_in_order_and_whole<H: Harness>(world: &mut World<H>) {
    let bytes = pattern(5_000_000);
    let (_large_file, large) = file_of(&bytes);
    let (_middle_file, middle) = file_of(&bytes[..150_000]);
    let (_small_file, small) = file_of(&bytes[..7_000]);
    let made = FileObject::from_bytes(b"made up".to_vec());
    let parts = vec![
        Part::Bytes(b"head".to_vec()),
        whole(&small),
        Part::Bytes(Vec::new()),
        range(&large, 1_234_567, 3_000_001),
        range(&middle, 149_999, 1),
        range(&large, 5_000_000, 0),
        whole(&made),
        range(&small, 17, 4_000),
        whole(&middle),
        Part::Bytes(b"tail".to_vec()),
    ];
    let mut expected = b"head".to_vec();
    expected.extend(&bytes[..7_000]);
    expected.extend(&bytes[1_234_567..4_234_568]);
    expected.push(bytes[149_999]);
    expected.extend(b"made up");
    expected.extend(&bytes[17..4_017]);
    expected.extend(&bytes[..150_000]);
    expected.extend(b"tail");
    let pair = world.open();
    world.submit(End::Server, pair.server, parts).unwrap();
    assert_eq!(world.pending(End::Server, pair.server), expected.len() as u64);
    assert!(world.read(End::Client, pair.client, expected.len()) == expected);
    world.until("Sent", |world| world.count(End::Server, Event::Sent(pair.server)) == 1);
    world.echo(pair);
    world.close_all(&[pair]);
}

pub fn submissions_queue_behind_each_other_and_too_many_are_refused<H: Harness>(
    world: &mut World<H>,
) {
    let pair = world.open();
    let (mut submitted, mut expected) = (0, Vec::new());
    let mut received = Vec::new();
    let mut refusals = 0;
    while submitted < 2_000 {
        let text = format!("answer {submitted}\n");
        match world.submit(End::Server, pair.server, vec![Part::Bytes(text.clone().into())]) {
            Ok(()) => {
                expected.extend(text.into_bytes());
                submitted += 1;
            }
            Err(refused) => {
                assert_eq!(refused, Refused::Busy);
                refusals += 1;
                world.until("room", |world| {
                    received.extend(world.take(End::Client, pair.client));
                    world.pending(End::Server, pair.server) == 0
                });
            }
        }
    }
    received.extend(world.read(End::Client, pair.client, expected.len() - received.len()));
    assert!(received == expected);
    assert!(refusals > 0, "2,000 submissions without a step in between were all taken");
    world.close_all(&[pair]);
}

pub fn a_reader_that_stops_holds_the_sender_back_and_loses_nothing<H: Harness>(
    world: &mut World<H>,
) {
    // More than kernels buffer on both sides of a connection.
    let bytes = pattern(24 << 20);
    let (_file, object) = file_of(&bytes);
    let pair = world.open();
    world.submit(End::Server, pair.server, vec![whole(&object)]).unwrap();
    for _ in 0..300 {
        world.step();
    }
    let pending = world.pending(End::Server, pair.server);
    assert!(pending > 0, "nobody reads, yet all is sent");
    assert!(world.harness.client().received(pair.client).len() <= 1 << 20);
    assert_eq!(world.count(End::Server, Event::Sent(pair.server)), 0);
    assert!(world.read(End::Client, pair.client, bytes.len()) == bytes);
    world.close_all(&[pair]);
}

pub fn a_sender_is_held_back_at_the_head_limit_and_loses_nothing<H: Harness>(world: &mut World<H>) {
    let bytes = pattern(1_000_000);
    let pair = world.open();
    world.send(End::Client, pair.client, &bytes);
    for _ in 0..100 {
        world.step();
    }
    let waiting = world.harness.server().received(pair.server).to_vec();
    assert!(!waiting.is_empty() && waiting.len() < bytes.len());
    assert_eq!(waiting, bytes[..waiting.len()]);
    // In uneven bites, so that the rest of one read stays in front of the next.
    let mut received = Vec::<u8>::new();
    world.until("reading in bites", |world| {
        let bite = world.harness.server().received(pair.server);
        let len = bite.len().min(700);
        received.extend(&bite[..len]);
        world.harness.server().consume(pair.server, len);
        received.len() == bytes.len()
    });
    assert!(received == bytes);
    world.close_all(&[pair]);
}

pub fn small_answers_pass_a_large_transfer<H: Harness>(world: &mut World<H>) {
    let bytes = pattern(48 << 20);
    let (_file, object) = file_of(&bytes);
    let large = world.open();
    world.submit(End::Server, large.server, vec![whole(&object)]).unwrap();
    let small: Vec<_> = (0..20).map(|_| world.open()).collect();
    let mut received = world.take(End::Client, large.client);
    for pair in &small {
        world.send(End::Server, pair.server, b"small");
    }
    let mut waiting = small.clone();
    world.until("small answers", |world| {
        received.extend(world.take(End::Client, large.client));
        waiting.retain(|pair| world.take(End::Client, pair.client).is_empty());
        waiting.is_empty()
    });
    assert!(received.len() < bytes.len(), "the small answers came after the large one");
    received.extend(world.read(End::Client, large.client, bytes.len() - received.len()));
    assert!(received == bytes);
    world.close_all(&[vec![large], small].concat());
}

pub fn bytes_and_end_that_arrive_together_are_both_reported<H: Harness>(world: &mut World<H>) {
    let pair = world.open();
    world.send(End::Client, pair.client, b"last words");
    world.close(End::Client, pair.client, Close::AfterSent);
    world.until("the end", |world| world.count(End::Server, Event::PeerClosed(pair.server)) == 1);
    let log = world.log(End::Server);
    let received = log.iter().position(|event| *event == Event::Received(pair.server));
    let ended = log.iter().position(|event| *event == Event::PeerClosed(pair.server));
    assert!(received.unwrap() < ended.unwrap());
    assert_eq!(world.take(End::Server, pair.server), b"last words");
    world.close_all(&[pair]);
}
