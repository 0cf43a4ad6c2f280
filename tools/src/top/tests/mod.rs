//! What is drawn, as text beside this file. `PW_TOP_UPDATE=1` writes it anew, to be looked at.

use std::{
    env, fs,
    path::Path,
    time::{Duration, Instant},
};

use pagewire::control::protocol::{
    About, Census, Connection, Figures, Latency, ShardFigures, Value,
};
use ratatui::crossterm::event::KeyCode;

use super::{
    Then, Watch, Which,
    model::{Listing, Moment},
    view::{Page, Screen, as_text},
};

fn about() -> About {
    About {
        version: 1,
        server: "0.1.0".into(),
        pid: 4711,
        transport: "xdp".into(),
        addresses: vec!["192.0.2.1:80".parse().unwrap(), "[2001:db8::1]:80".parse().unwrap()],
        cores: vec![0, 1, 2],
    }
}

fn value(name: &'static str, cause: Option<&'static str>, value: u64) -> Value {
    Value { name: name.into(), cause: cause.map(Into::into), kind: "counter".into(), value }
}

/// A shard that has done `times` as much as the first.
fn shard(core: usize, times: u64) -> ShardFigures {
    let figures = vec![
        value("requests", None, 117_200 * times),
        value("response_bytes", None, 612_500_000 * times),
        value("responses", Some("5xx"), 0),
        value("request_waits", None, 12 * times),
        value("disk_waits", None, 3 * times),
        value("connections", None, 512),
        value("cache_lookups", Some("hit"), 117_100 * times),
        value("cache_lookups", Some("miss"), 100 * times),
        value("port_frames_received", None, 240_000 * times),
        value("port_frames_sent", None, 530_000 * times),
        value("payload_sent_bytes", None, 600_000_000 * times),
        value("payload_retransmitted_bytes", None, 180_000 * times),
        value("packets_hopped_in", None, 7 * times),
        value("back_pressure_turns", None, if core == 1 { 40 * times } else { 0 }),
        value("packets_dropped", Some("not for us"), 3 * times),
        value("packets_dropped", Some("bad checksum"), if core == 1 { 25 * times } else { 0 }),
        value(
            "port_frames_dropped",
            Some("receive ring full"),
            if core == 1 { 3 * times } else { 0 },
        ),
        value("port_frames", Some("free"), if core == 1 { 100 } else { 3_000 }),
        value("port_frames", Some("filled"), if core == 1 { 3_996 } else { 1_096 }),
    ];
    let census = Census {
        states: vec![("estab".into(), 500), ("close-wait".into(), 12)],
        activities: vec![("idle".into(), 400), ("sending".into(), 112)],
        rtt_seconds: Some([0.000_09, 0.0012, 0.085]),
        cwnd_bytes: Some([14_600, 29_200, 1 << 20]),
    };
    let buckets = vec![(56, 70_000 * times), (120, 40_000 * times), (5_120, 7_000 * times)];
    let latency = Latency { sum_us: 1_000_000 * times, buckets };
    ShardFigures { core, answered: true, figures, latency, census: Some(census) }
}

fn moment(at: Instant, times: u64) -> Moment {
    let silent = ShardFigures {
        core: 2,
        answered: false,
        figures: vec![value("requests", None, 5)],
        latency: Latency::default(),
        census: None,
    };
    let shards = vec![shard(0, times), shard(1, times), silent];
    Moment { at, figures: Figures { uptime_seconds: 3_720.0, shards, whole: Vec::new() } }
}

fn screen() -> Screen {
    let mut screen = Screen::new(about());
    let start = Instant::now();
    screen.moments.add(moment(start, 3));
    screen.moments.add(moment(start + Duration::from_secs(2), 5));
    let row = |number: u16, peer: &str| Connection {
        shard: 0,
        peer: peer.parse().unwrap(),
        local: "192.0.2.1:80".parse().unwrap(),
        state: if number == 1 { "close-wait".into() } else { "estab".into() },
        activity: if number.is_multiple_of(2) { "idle".into() } else { "sending".into() },
        pending_bytes: u64::from(number % 2) * u64::from(number) * 100_000,
        received_bytes: 0,
        in_flight_bytes: Some(u64::from(number % 2) * 14_600),
        cwnd_bytes: Some(u64::from(number) * 14_600),
        rtt_seconds: (number != 2).then(|| f64::from(number) * 0.0123),
        retransmits: Some(u64::from(number == 3) * 17),
        silent_seconds: Some(if number == 3 { 42.0 } else { 0.25 }),
    };
    let rows = vec![
        row(1, "198.51.100.7:40112"),
        row(2, "198.51.100.8:51034"),
        row(3, "203.0.113.200:65535"),
        row(4, "[2001:db8:85a3:1234:5678:8a2e:370:7334]:44321"),
        row(5, "198.51.100.9:40113"),
    ];
    screen.listing = Listing { rows, is_sample: false };
    screen
}

fn check(name: &str, screen: &mut Screen, (width, height): (u16, u16)) {
    let drawn = as_text(screen, width, height);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/top/tests/{name}.txt"));
    if env::var_os("PW_TOP_UPDATE").is_some() {
        fs::write(&path, &drawn).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap();
    assert!(drawn == expected, "{name} is drawn otherwise:\n{drawn}\nexpected:\n{expected}");
    assert!(drawn.lines().all(|line| line.chars().count() <= usize::from(width)));
}

#[test]
fn cores_are_drawn_at_80_columns() {
    check("cores", &mut screen(), (80, 24));
}

#[test]
fn connections_are_drawn_at_80_columns() {
    let mut screen = Screen { page: Page::Connections, ..screen() };
    check("connections", &mut screen, (80, 12));
    screen.filter = "198.51".to_owned();
    check("connections_filtered", &mut screen, (100, 8));
}

#[test]
fn a_server_that_is_gone_is_told_and_what_was_seen_stays() {
    let trouble = Some("the server does not answer: it has ended, or is too busy".to_owned());
    check("gone", &mut Screen { trouble, ..screen() }, (80, 12));
}

#[test]
fn trouble_with_the_interface_is_marked() {
    let mut screen = screen();
    let mut last = moment(Instant::now() + Duration::from_secs(9), 7);
    last.figures.whole = vec![value("link_up", None, 1), value("fallback", None, 0)];
    screen.moments.add(last.clone());
    let title = |screen: &mut Screen| as_text(screen, 80, 12).lines().next().unwrap().to_owned();
    assert!(!title(&mut screen).contains('▲'), "{}", title(&mut screen));
    for (name, mark) in [("link_up", "▲ link down"), ("fallback", "▲ no AF_XDP")] {
        last.figures.whole = vec![value(name, None, u64::from(name == "fallback"))];
        screen.moments.add(last.clone());
        assert!(title(&mut screen).contains(mark), "{}", title(&mut screen));
    }
}

#[test]
fn no_size_makes_it_panic() {
    for page in [Page::Cores, Page::Connections] {
        let mut screen = Screen { page, scroll: 1_000, ..screen() };
        for width in [1, 2, 10, 40, 79, 200] {
            for height in [1, 2, 3, 5, 9, 60] {
                as_text(&mut screen, width, height);
            }
        }
        as_text(&mut Screen { page, ..Screen::new(about()) }, 80, 24);
    }
}

#[test]
fn what_was_counted_becomes_what_happens_in_a_second() {
    let overview = screen().moments.overview();
    let first = &overview.cores[0].pace;
    assert!((first.requests - 117_200.0).abs() < 1.0, "{first:?}");
    assert!((first.bits - 4.9e9).abs() < 1e6);
    assert!((first.waits - 15.0).abs() < 0.1);
    assert!((first.hits().unwrap() - 0.999).abs() < 0.001);
    assert!((first.retransmitted().unwrap() - 0.0003).abs() < 1e-6);
    // Frames for others are no loss.
    assert!(first.drops.abs() < 0.001);
    assert!((overview.cores[1].pace.drops - 28.0).abs() < 0.1);
    assert!(!overview.cores[2].answers);
    assert_eq!((overview.total.open, overview.latency.count()), (1_024, 468_000));
    assert_eq!(overview.drops[0].0, "bad checksum");
}

#[test]
fn a_server_that_was_started_again_has_no_rates_yet() {
    let mut screen = screen();
    let mut again = moment(Instant::now() + Duration::from_secs(9), 1);
    again.figures.uptime_seconds = 0.5;
    screen.moments.add(again);
    assert!(screen.moments.overview().total.requests.abs() < f64::EPSILON);
}

#[test]
fn keys_do_what_the_footer_says() {
    let mut watch = Watch {
        which: Which { socket: Some("/nowhere".into()), pid: None },
        client: None,
        interval: Duration::from_secs(1),
        screen: screen(),
        is_paused: false,
    };
    let mut press = |code: KeyCode| {
        let then = watch.press(code.into());
        (then, watch.screen.page, watch.screen.filter.clone(), watch.is_paused)
    };
    assert_eq!(press(KeyCode::Char('2')).1, Page::Connections);
    press(KeyCode::Char('/'));
    for character in "estaq".chars() {
        assert_eq!(press(KeyCode::Char(character)).0, Then::GoOn);
    }
    assert_eq!(press(KeyCode::Backspace).2, "esta");
    assert_eq!(press(KeyCode::Enter).2, "esta");
    press(KeyCode::Char('/'));
    assert_eq!(press(KeyCode::Esc).2, "");
    assert!(press(KeyCode::Char(' ')).3);
    assert_eq!(press(KeyCode::Tab).1, Page::Cores);
    assert_eq!(press(KeyCode::Char('q')).0, Then::Quit);
}
