//! The control socket.

use std::{
    fs, io,
    io::Read,
    os::unix::{fs::MetadataExt, net::UnixListener, net::UnixStream},
    time::{Duration, Instant},
};

use pagewire::control::{
    protocol::{Answer, Ask, Connection, End, Figures, Filter, VERSION},
    socket::{ControlSocket, SocketError},
};

use crate::fixture::{Client, PATIENCE, Running, read, wait_until};

fn total(figures: &Figures, name: &str) -> u64 {
    let all = figures.shards.iter().flat_map(|shard| &shard.figures);
    all.filter(|value| value.name == name).map(|value| value.value).sum()
}

fn figures(client: &mut Client) -> Figures {
    match client.ask(Ask::Figures) {
        Answer::Figures(figures) => figures,
        other => panic!("{other:?}"),
    }
}

fn connections(client: &mut Client, filter: Filter) -> (Vec<Connection>, End) {
    let mut rows = Vec::new();
    let mut answer = client.ask(Ask::Connections(filter));
    loop {
        match answer {
            Answer::Connection(row) => rows.push(*row),
            Answer::End(end) => return (rows, end),
            other => panic!("{other:?}"),
        }
        answer = client.next().unwrap();
    }
}

/// The connections, once the answer is as wanted: a shard that does not run for a while is left out of one.
fn listed(
    client: &mut Client,
    filter: &Filter,
    is_wanted: impl Fn(&[Connection], End) -> bool,
) -> (Vec<Connection>, End) {
    let mut answer = connections(client, filter.clone());
    wait_until("connections are listed", || {
        let is_so = is_wanted(&answer.0, answer.1);
        if !is_so {
            answer = connections(client, filter.clone());
        }
        is_so
    });
    answer
}

#[test]
fn it_is_for_its_user_alone() {
    let running = Running::start(&[]);
    let mode = fs::symlink_metadata(running.path()).unwrap().mode();
    assert_eq!(mode & 0o777, 0o600, "{mode:o}");
}

#[test]
fn it_tells_what_the_server_is_and_has_counted() {
    let running = Running::start(&["--cores=0"]);
    let mut client = running.visit();
    let Answer::About(about) = client.ask(Ask::About) else { panic!() };
    assert_eq!((about.version, about.pid), (VERSION, std::process::id()));
    assert_eq!(about.addresses, [running.address()]);
    assert_eq!((about.transport.as_ref(), about.cores), ("kernel", vec![0]));
    for _ in 0..5 {
        running.fetch();
    }
    let mut seen = figures(&mut client);
    // The end of a connection comes after its last byte.
    wait_until("all have ended", || {
        let all =
            seen.shards.iter().all(|shard| shard.answered) && total(&seen, "connections") == 0;
        if !all {
            seen = figures(&mut client);
        }
        all
    });
    for (name, count) in [
        ("requests", 5),
        ("responses", 5),
        ("connections_opened", 5),
        ("connections_accepted", 5),
        ("connections_ended", 5),
        ("connections", 0),
        ("cache_lookups", 5),
    ] {
        assert_eq!(total(&seen, name), count, "{name}: {seen:?}");
    }
    let latencies: u64 = seen.shards.iter().flat_map(|it| &it.latency.buckets).map(|it| it.1).sum();
    assert_eq!(latencies, 5);
    assert!(total(&seen, "response_bytes") > 5 * 6);
}

#[test]
fn it_lists_connections_by_what_is_asked_for() {
    let running = Running::start(&[]);
    let idle: Vec<_> = (0..150).map(|_| running.ask_for("/small.txt")).collect();
    for mut client in &idle {
        let mut bytes = [0; 1024];
        assert!(read(&mut client, &mut bytes) > 0);
    }
    // Nobody reads what it gets.
    let sending = running.ask_for("/large.bin");
    let mut client = running.visit();
    let is_sending = |rows: &[Connection]| rows.iter().any(|row| row.activity == "sending");
    let (rows, end) =
        listed(&mut client, &Filter::default(), |rows, end| is_sending(rows) && end.complete);
    assert_eq!(end, End { shown: 151, looked_at: 151, complete: true });
    let ours = |row: &&Connection| row.peer == sending.local_addr().unwrap();
    let row = rows.iter().find(ours).expect("it is not in the list");
    assert_eq!((row.state.as_ref(), row.activity.as_ref()), ("estab", "sending"));
    assert_eq!(row.local, running.address());
    assert!(row.pending_bytes > 1 << 20, "{row:?}");
    assert!(row.rtt_seconds.is_some_and(|rtt| rtt > 0.0 && rtt < 1.0), "{row:?}");
    assert!(row.cwnd_bytes.is_some_and(|cwnd| cwnd > 1_000), "{row:?}");

    let of = |filter: Filter, client: &mut Client| listed(client, &filter, |_, end| end.complete);
    let activity = Some("sending".to_owned());
    let (rows, _) = of(Filter { activity, ..Filter::default() }, &mut client);
    assert_eq!(rows.len(), 1);
    let ten = Filter { limit: Some(10), ..Filter::default() };
    let (rows, end) = listed(&mut client, &ten, |rows, _| rows.len() == 10);
    assert_eq!((rows.len(), end.shown, end.complete), (10, 10, false));
    let peer = |text: &str| Filter { peer: Some(text.to_owned()), ..Filter::default() };
    assert_eq!(of(peer("127.0.0.0/8"), &mut client).0.len(), 151);
    assert_eq!(of(peer("127.0.0.2"), &mut client).0.len(), 0);
    let state = Some("time-wait".to_owned());
    assert_eq!(of(Filter { state, ..Filter::default() }, &mut client).0.len(), 0);
    let sample = Filter { sample: Some(10), ..Filter::default() };
    let (rows, end) = listed(&mut client, &sample, |rows, _| rows.len() >= 5);
    assert!((5..=30).contains(&rows.len()) && !end.complete, "{end:?}");
    let wrong = Filter { state: Some("open".to_owned()), ..Filter::default() };
    let Answer::Error(message) = client.ask(Ask::Connections(wrong)) else { panic!() };
    assert!(message.contains("there is no `open`") && message.contains("estab"), "{message}");
}

#[test]
fn what_is_no_request_is_answered_by_an_error_and_the_end() {
    let running = Running::start(&["--cores=0"]);
    let long = "x".repeat(10_000);
    let cases = [
        ("nonsense\n", "not a request"),
        ("{\"version\":1}\n", "not a request"),
        ("{\"version\":1,\"ask\":\"everything\"}\n", "not a request"),
        ("{\"version\":99,\"ask\":\"about\"}\n", "speaks version 1, not 99"),
        ("\u{0}\u{1}\n", "not a request"),
        (&long, "at most 4096 bytes"),
    ];
    for (line, part) in cases {
        let mut client = running.visit();
        client.say(line);
        let Some(Answer::Error(message)) = client.next() else { panic!("{line:?}") };
        assert!(message.contains(part), "{line:?}: {message}");
    }
    running.fetch();
}

#[test]
fn hung_clients_are_few_and_cost_the_server_nothing() {
    let running = Running::start(&["--cores=0"]);
    let clients: Vec<_> = (0..150).map(|_| running.ask_for("/large.bin")).collect();
    running.serves_on_beside(|| {
        let hang = |number| {
            let mut client = running.visit();
            // Half of them ask for more than a socket's buffer holds, and never read it.
            if number % 2 == 0 {
                let ask = "{\"version\":1,\"ask\":\"connections\"}\n";
                let _ = client.try_say(&ask.repeat(100));
            }
            client
        };
        (0..20).map(hang).collect::<Vec<_>>()
    });
    drop(clients);
    wait_until("their places are free again", || {
        UnixStream::connect(running.path()).and_then(|mut stream| ask_once(&mut stream)).is_ok()
    });
}

fn ask_once(stream: &mut UnixStream) -> io::Result<()> {
    use std::io::Write;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(b"{\"version\":1,\"ask\":\"about\"}\n")?;
    let mut byte = [0];
    stream.read_exact(&mut byte)
}

#[test]
fn a_socket_left_behind_is_replaced_and_one_in_use_is_not() {
    let mut running = Running::start(&["--cores=0"]);
    let again = ControlSocket::open(&running.path(), running.server.observer());
    assert!(matches!(again, Err(SocketError::InUse(_))), "{again:?}");
    assert!(matches!(running.visit().ask(Ask::About), Answer::About(_)));

    let path = running.path();
    running.control = None;
    assert!(!path.exists(), "it is not removed");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    running.control = Some(ControlSocket::open(&path, running.server.observer()).unwrap());
    assert!(matches!(running.visit().ask(Ask::About), Answer::About(_)));
}

#[test]
fn a_file_that_is_no_socket_is_left_as_it_is() {
    let running = Running::start(&["--cores=0"]);
    let file = running.directory.path().join("precious");
    fs::write(&file, "precious").unwrap();
    assert!(ControlSocket::open(&file, running.server.observer()).is_err());
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
}

#[test]
fn a_runtime_directory_is_made_and_what_dead_servers_left_there_is_removed() {
    let running = Running::start(&["--cores=0"]);
    let directory = running.directory.path().join("run/pagewire");
    fs::create_dir_all(&directory).unwrap();
    let dead = directory.join("1.sock");
    drop(UnixListener::bind(&dead).unwrap());
    let strange = directory.join("strange.sock");
    drop(UnixListener::bind(&strange).unwrap());
    let control = ControlSocket::open_in(&directory, running.server.observer()).unwrap();
    assert_eq!(control.path().file_stem().unwrap(), &*std::process::id().to_string());
    assert!(!dead.exists() && strange.exists());
}

#[test]
fn a_server_that_has_ended_is_seen_as_one_that_does_not_answer() {
    let running = Running::start(&["--cores=0"]);
    let observer = running.server.observer();
    running.fetch();
    running.server.drain();
    assert!(running.server.wait_ended(Instant::now() + PATIENCE));
    let seen = observer.snapshot();
    assert!(!seen.shards[0].answered);
    // What the server counts by itself is still known.
    assert!(
        seen.shards[0]
            .figures
            .iter()
            .any(|(figure, value)| figure.name == "requests" && *value == 1)
    );
}

#[test]
fn shards_end_a_drain_together() {
    let running = Running::start(&["--cores=0,1"]);
    let mut last = running.ask_for("/large.bin");
    let received = read(&mut last, &mut [0; 1]);
    running.server.drain();
    // Whose turns count up is there, and would pass on what arrives for the other.
    for _ in 0..20 {
        let before: Vec<_> = running.server.turns().map(Option::unwrap).collect();
        running.server.wake();
        wait_until("both make turns", || {
            running.server.turns().zip(&before).all(|(now, &before)| now.unwrap() > before)
        });
    }
    let rest = last.read_to_end(&mut Vec::new()).unwrap();
    assert!(received + rest > 32 << 20);
    assert!(running.server.wait_ended(Instant::now() + PATIENCE));
}
