//! What the sender alone costs: an answer with its acknowledgement, a segment of a large transfer, and
//! acknowledgements with a 16 MiB window of which a hostile peer makes the most.

use std::{ops::Range, time::Duration};

use pagewire_driver::Instant;
use pagewire_stack::user::recovery::{Ack, Chance, FlightPool, Sender, Terms};

use crate::{cpu::Stopwatch, figures::Figure};

const MSS: u64 = 1_448;
/// In flight where a lot is.
const WINDOW: u64 = 16 << 20;
/// What the peer lets be in flight.
const PEER_WINDOW: u32 = 1 << 30;
const RTT: Duration = Duration::from_millis(1);

/// A sender, its pool, and the time.
struct Bench {
    sender: Sender,
    pool: FlightPool,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let now = Instant::from_millis(1_000);
        let terms = Terms {
            mss: MSS as u32,
            has_sack: true,
            window: PEER_WINDOW,
            window_sequence: 0,
            rtt: Some(RTT),
            timeouts: 0,
        };
        Self { sender: Sender::new(now, &terms), pool: FlightPool::default(), now }
    }

    /// Sends what may be sent of `unsent` bytes, and returns how many that were.
    fn send(&mut self, unsent: u64) -> u64 {
        let mut sent = 0;
        while sent < unsent {
            match self.sender.next(self.now, unsent - sent) {
                Chance::Fresh { len } => {
                    self.sender.sent_fresh(self.now, len, false, &mut self.pool);
                    sent += len;
                }
                Chance::Again { .. } => self.sender.sent_again(self.now, 0),
                Chance::Later(at) => self.now = at,
                Chance::Nothing => break,
            }
        }
        sent
    }

    fn ack(&mut self, offset: u64, blocks: &[Range<u64>]) {
        self.ack_with(offset, blocks, false);
    }

    fn ack_with(&mut self, offset: u64, blocks: &[Range<u64>], is_marked: bool) {
        let ack = Ack {
            offset,
            window: PEER_WINDOW,
            sequence: 0,
            blocks,
            echo: None,
            has_data: false,
            is_marked,
        };
        self.sender.on_ack(self.now, &ack, &mut self.pool);
    }

    /// Ends slow start, and leaves what the window then allows in flight.
    fn avoid_congestion(&mut self) {
        self.now += RTT;
        let end = self.sender.sent();
        self.ack_with(self.sender.acknowledged() + MSS, &[], true);
        self.ack(end, &[]);
        self.send(u64::MAX >> 1);
    }

    /// Grows the window until [`WINDOW`] is in flight.
    fn fill(&mut self) {
        let (mut sent, mut acked) = (0, 0);
        while sent - acked + MSS <= WINDOW {
            let more = self.send(WINDOW + acked - sent);
            sent += more;
            if sent - acked + MSS <= WINDOW {
                self.now += RTT;
                acked = sent;
                self.ack(acked, &[]);
            }
        }
    }
}

/// Nanoseconds of the thread for each of the `steps` that `step` takes until `time` is over.
fn nanos(time: Duration, steps: u64, mut step: impl FnMut()) -> f64 {
    let (start, mut count) = (Stopwatch::start(), 0);
    loop {
        for _ in 0..1_000 {
            step();
        }
        count += 1_000 * steps;
        let elapsed = start.elapsed();
        if elapsed >= time {
            return elapsed.as_secs_f64() * 1e9 / count as f64;
        }
    }
}

/// Measures each for about a sixth of `time`.
pub fn measure(time: Duration) -> Vec<Figure> {
    let time = time / 6;
    let mut answer = Bench::new();
    let answers = nanos(time, 1, || {
        answer.now += Duration::from_micros(50);
        let sent = answer.sender.sent() + answer.send(200);
        let _ = answer.sender.timer(false);
        answer.ack(sent, &[]);
    });
    let bulk = |each: u64| {
        let mut bench = Bench::new();
        bench.fill();
        bench.avoid_congestion();
        nanos(time, each, || {
            bench.now += Duration::from_micros(each);
            let acked = bench.sender.acknowledged() + each * MSS;
            bench.ack(acked, &[]);
            bench.send(u64::MAX >> 1);
            let _ = bench.sender.timer(true);
        })
    };
    let (segments, together) = (bulk(2), bulk(32));
    let hostile = |blocks: &dyn Fn(u64, u64, u64) -> [Range<u64>; 3]| {
        let mut bench = Bench::new();
        bench.fill();
        let (una, next, mut number) = (bench.sender.acknowledged(), bench.sender.sent(), 0);
        nanos(time, 1, || {
            number += 1;
            bench.now += Duration::from_micros(1);
            bench.ack(una, &blocks(number, una, next));
            while let Chance::Again { .. } = bench.sender.next(bench.now, 0) {
                bench.sender.sent_again(bench.now, 0);
            }
        })
    };
    let repeated =
        hostile(&|_, una, next| [una + MSS..next, una + 2 * MSS..next, una + MSS..next - MSS]);
    let scattered = hostile(&|number, una, next| {
        let at = |salt: u64| {
            una + ((number * 7_919 + salt * 104_729) % ((next - una) / MSS - 2) + 1) * MSS
        };
        [1, 2, 3].map(|salt| at(salt)..at(salt) + MSS)
    });
    let figure =
        |what: &str, value| Figure { name: format!("engine/sender/{what}"), value, unit: "ns" };
    vec![
        figure("an answer and its acknowledgement", answers),
        figure("a segment, every second acknowledged", segments),
        figure("a segment, 32 acknowledged at once", together),
        figure("an acknowledgement of everything again and again", repeated),
        figure("an acknowledgement of three scattered segments", scattered),
    ]
}
