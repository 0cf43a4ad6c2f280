//! The link does what was asked of it, in both directions, as packets between kernel sockets see it.

mod life;
mod probe;

use std::{fmt::Debug, fs, thread, time::Duration};

use pagewire_tools::lab::{Side, privileged};
use probe::{Bench, Train, delays, lost_runs, overtaken};

const MICROSECOND: Duration = Duration::from_micros(1);
const MILLISECOND: Duration = Duration::from_millis(1);
/// Packets where shares of them are counted.
const COUNT: u32 = 20_000;
const BOTH: [Side; 2] = [Side::Client, Side::Server];

/// How late packets may be in the median, in milliseconds.
const LATE_MS: f64 = 0.5;

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn train(from: Side, count: u32, len: usize, gap: Duration) -> Train {
    Train { from, count, len, gap }
}

fn within(what: &str, value: f64, from: f64, to: f64) -> Result<(), String> {
    let fits = (from..=to).contains(&value);
    if fits { Ok(()) } else { Err(format!("{what}: {value}, not from {from} to {to}")) }
}

/// Whether so much was counted.
fn counted<T: Copy + Debug + PartialEq>(what: &str, count: T, expected: T) -> Result<(), String> {
    let fits = count == expected;
    if fits { Ok(()) } else { Err(format!("{what}: {count:?}, not {expected:?}")) }
}

/// Whether something is so.
fn so(what: &str, is_so: bool) -> Result<(), String> {
    is_so.then_some(()).ok_or_else(|| what.to_owned())
}

/// Measures, which other work of the machine spoils: times, and what a link loses whose emulator has to wait for
/// a core. So again, if need be; it fails if it does so each time.
fn patiently(measure: impl Fn() -> Result<(), String>) {
    let disturbed: Vec<_> = (0..5).map_while(|_| measure().err()).collect();
    assert!(disturbed.len() < 5, "{disturbed:#?}");
}

#[test]
fn packets_take_the_delay_and_keep_their_order() {
    if !privileged() {
        return;
    }
    let bench = Bench::up("--delay 20ms");
    for from in BOTH {
        patiently(|| {
            let (arrivals, _) = bench.send(train(from, 300, 500, MILLISECOND));
            counted("arrived, overtaken", (arrivals.len(), overtaken(&arrivals).len()), (300, 0))?;
            let delays = delays(&arrivals);
            assert!(delays[0] >= 20 * MILLISECOND, "{:?}", delays[0]);
            within("median, ms", millis(delays[150]), 20.0, 20.0 + LATE_MS)
        });
    }
}

#[test]
fn jitter_adds_up_to_its_time_and_lets_packets_overtake() {
    if !privileged() {
        return;
    }
    let bench = Bench::up("--delay 5ms --jitter 10ms");
    patiently(|| {
        let (arrivals, _) = bench.send(train(Side::Server, 1_000, 200, 300 * MICROSECOND));
        counted("arrived", arrivals.len(), 1_000)?;
        so("many are overtaken", overtaken(&arrivals).len() > 300)?;
        let delays = delays(&arrivals);
        assert!(delays[0] >= 5 * MILLISECOND);
        // Evenly spread: a quarter of the packets in each quarter of the time.
        [(250, 7.5), (500, 10.0), (750, 12.5)].into_iter().try_for_each(|(share, expected)| {
            let (from, to) = (expected - 0.6, expected + 0.6 + LATE_MS);
            within("quartile, ms", millis(delays[share]), from, to)
        })
    });
}

#[test]
fn more_than_the_rate_leaves_at_the_rate_with_a_full_queue_in_front() {
    if !privileged() {
        return;
    }
    for from in BOTH {
        patiently(|| {
            let bench = Bench::up("--delay 2ms --rate 40mbit --queue 400k");
            // 240 Mbit/s of frames for 0.6 s. So much, and the queue so long, that it does not run empty
            // when the sender pauses.
            let (arrivals, _) = bench.send(train(from, 12_000, 1_500, 50 * MICROSECOND));
            let report = bench.report(from);
            counted("failures", report.failures(), 0)?;
            counted("dropped", report.link.queue_full, (12_000 - arrivals.len()) as u64)?;
            let later = &arrivals[arrivals.len() / 4..];
            let time = later[later.len() - 1].arrived.saturating_sub(later[0].arrived);
            let rate = ((later.len() - 1) * 1_500 * 8) as f64 / time.as_secs_f64();
            within("Mbit/s", rate / 1e6, 39.0, 41.0)?;
            // 273 frames fit, each of which takes 0.3 ms.
            let delays = delays(later);
            let delay = millis(delays[delays.len() / 2]);
            within("delay behind a full queue, ms", delay, 76.0, 88.0)
        });
    }
}

#[test]
fn a_queue_takes_as_much_as_asked_and_drops_the_tail() {
    if !privileged() {
        return;
    }
    // A frame of 1,500 bytes takes 2.4 ms. The BDP is 25,000 bytes.
    for (flags, fitting) in [
        ("--rate 5mbit --queue 64k", 43),
        ("--rate 5mbit --queue 20p", 20),
        ("--rate 5mbit --delay 20ms --queue 1bdp", 16),
        ("--rate 5mbit --delay 20ms --queue 3bdp", 50),
    ] {
        patiently(|| {
            let bench = Bench::up(flags);
            let (arrivals, time) = bench.send(train(Side::Server, 100, 1_500, Duration::ZERO));
            let drained = time.as_micros() as usize / 2_400 + 1;
            let taken =
                arrivals.iter().zip(0..).take_while(|(arrival, n)| arrival.number == *n).count();
            let most = (fitting + drained) as f64;
            within(&format!("{flags}: taken"), taken as f64, fitting as f64, most)?;
            within(&format!("{flags}: arrived"), arrivals.len() as f64, 0.0, most)
        });
    }
}

#[test]
fn packets_are_lost_as_often_as_asked_and_none_besides() {
    if !privileged() {
        return;
    }
    for from in BOTH {
        patiently(|| {
            let bench = Bench::up("--delay 1ms --loss 5% --seed 11");
            let (arrivals, _) = bench.send(train(from, COUNT, 100, 15 * MICROSECOND));
            let report = bench.report(from);
            let apart = (report.failures(), overtaken(&arrivals).len());
            counted("failures, overtaken", apart, (0, 0))?;
            let lost = COUNT as usize - arrivals.len();
            counted("lost", report.link.lost, lost as u64)?;
            // Four standard deviations.
            within("lost", lost as f64, 876.0, 1_124.0)?;
            // One by one: a packet in 20 follows a lost one.
            let alone = lost_runs(&arrivals, COUNT).len();
            within("alone", alone as f64 / lost as f64, 0.92, 0.98)
        });
    }
}

#[test]
fn bursts_are_as_long_and_as_many_as_asked() {
    if !privileged() {
        return;
    }
    patiently(|| {
        let bench = Bench::up("--burst-loss 5%,10 --seed 12");
        let (arrivals, _) = bench.send(train(Side::Server, COUNT, 100, 15 * MICROSECOND));
        let runs = lost_runs(&arrivals, COUNT);
        let lost: u32 = runs.iter().sum();
        counted("lost", bench.report(Side::Server).link.burst_lost, u64::from(lost))?;
        within("share", f64::from(lost) / f64::from(COUNT), 0.035, 0.065)?;
        within("length", f64::from(lost) / runs.len() as f64, 7.0, 13.0)
    });
}

#[test]
fn packets_are_held_back_doubled_and_corrupted_as_often_as_asked() {
    if !privileged() {
        return;
    }
    patiently(|| {
        let flags = "--delay 1ms --reorder 5%,4ms --duplicate 3% --corrupt 2% --seed 13";
        let bench = Bench::up(flags);
        let (arrivals, _) = bench.send(train(Side::Client, COUNT, 1_000, 30 * MICROSECOND));
        let report = bench.report(Side::Client);
        // Four standard deviations each.
        within("held back", report.link.reordered as f64, 906.0, 1_154.0)?;
        let late = overtaken(&arrivals);
        within("overtaken", late.len() as f64, 800.0, 1_154.0)?;
        so("they are late", late.iter().all(|arrival| arrival.delay() >= 5 * MILLISECOND))?;
        within("doubled", report.link.duplicated as f64, 504.0, 696.0)?;
        // The kernel finds the bad checksum of nearly all, and so they do not arrive.
        assert!(arrivals.iter().all(|arrival| arrival.intact));
        let missing: u32 = lost_runs(&arrivals, COUNT).iter().sum();
        let corrupted = report.link.corrupted as f64;
        within("corrupted", corrupted, 321.0, 479.0)?;
        within("missing", f64::from(missing), 0.9 * corrupted, corrupted)
    });
}

#[test]
fn packets_larger_than_the_path_carries_are_dropped_and_their_sender_is_told_unless_it_is_silent() {
    if !privileged() {
        return;
    }
    for (flags, told) in [("--path-mtu 1300", true), ("--path-mtu 1300,silent", false)] {
        patiently(|| {
            let bench = Bench::up(flags);
            for (from, to) in [(Side::Server, "10.77.0.2"), (Side::Client, "10.77.0.1")] {
                // Of as many bytes as fit, with the Ethernet header, and then of one more.
                let (arrivals, _) = bench.send(train(from, 5, 1_314, MILLISECOND));
                counted("arrived", arrivals.len(), 5)?;
                let (arrivals, _) = bench.send(train(from, 1, 1_315, MILLISECOND));
                assert_eq!(arrivals.len(), 0, "{flags}");
                counted("too large", bench.report(from).too_large, 1)?;
                let route = bench.lab.command(from, "ip").args(["route", "get", to]).output();
                let route = String::from_utf8_lossy(&route.unwrap().stdout).into_owned();
                counted("told", route.contains("mtu 1300"), told)?;
            }
            Ok(())
        });
    }
}

/// By the emulator's own CPU time, since the senders and receivers do not leave it a whole core of two.
#[test]
#[ignore = "takes all cores for 20 seconds"]
fn one_core_carries_a_gigabit_per_second_in_both_directions_at_once() {
    const FRAMES: u32 = 500_000;
    const FRAME_BITS: f64 = 1_500.0 * 8.0;
    if !privileged() {
        return;
    }
    let bench = Bench::up("--delay 20ms --rate 2gbit --queue 1bdp");
    let before = emulator_time();
    let sent = thread::scope(|scope| {
        let send = |from| bench.send(train(from, FRAMES, 1_500, 12 * MICROSECOND));
        BOTH.map(|from| scope.spawn(move || send(from))).map(|thread| thread.join().unwrap())
    });
    let time = emulator_time().saturating_sub(before).as_secs_f64();
    for (from, (arrivals, _)) in BOTH.into_iter().zip(sent) {
        let span = arrivals[arrivals.len() - 1].arrived.saturating_sub(arrivals[0].arrived);
        let rate = arrivals.len() as f64 * FRAME_BITS / span.as_secs_f64() / 1e9;
        let report = bench.report(from);
        println!("from the {from:?}: {rate:.2} Gbit/s; {report}");
        assert_eq!((arrivals.len(), report.failures()), (FRAMES as usize, 0), "{report}");
    }
    let micros_per_frame = time * 1e6 / f64::from(2 * FRAMES);
    let per_core = f64::from(2 * FRAMES) * FRAME_BITS / time / 1e9;
    println!(
        "{micros_per_frame:.2} us a frame: {per_core:.2} Gbit/s a core, both directions together"
    );
    assert!(per_core > 2.0, "{per_core} Gbit/s");
}

/// The CPU time of the emulator's thread: fields 14 and 15 of its `stat`, in hundredths of a second (see
/// proc(5)).
fn emulator_time() -> Duration {
    let threads = fs::read_dir("/proc/self/task").unwrap();
    let stats =
        threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("stat")).unwrap());
    let stat = stats.into_iter().find(|stat| stat.contains("(pw-link)")).unwrap();
    let ticks = stat.split_whitespace().skip(13).take(2).map(|ticks| ticks.parse::<u64>().unwrap());
    Duration::from_millis(ticks.sum::<u64>() * 10)
}
