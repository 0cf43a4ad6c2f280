//! RACK: a segment is lost if one sent later has arrived and it has not, within a reordering window (RFC
//! 8985 section 6).

use std::time::Duration;

use pagewire_driver::Instant;

use super::{rtt::RoundTrip, scoreboard::Record};

/// Segments received out of order that count as a loss by themselves (RFC 8985 section 3.3).
const DUPLICATE_THRESHOLD: usize = 3;
/// Recoveries for which a widened window is kept (section 6.2, step 4).
const PERSISTENCE: u8 = 16;
/// Most quarters of the round-trip time in the window: more than a whole one is never used.
const MOST_STEPS: u8 = 8;

/// What a connection has learned of reordering on its path.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reordering {
    /// Whether there has been any.
    pub seen: bool,
    /// Additional quarters of the minimal round-trip time.
    steps: u8,
    persistence: u8,
}

/// The latest deliveries.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rack {
    /// When the most recently sent of all delivered segments was sent, and its end.
    latest: Option<(Instant, u64)>,
    /// When it was delivered.
    delivered: Instant,
    /// Highest end of anything delivered.
    highest: u64,
    /// The window is not widened again before this is acknowledged.
    widened_until: u64,
}

impl Rack {
    /// Takes a delivered segment. `minimum` is the least round-trip time: what was sent again and comes
    /// back sooner is the answer to the first transmission.
    pub fn deliver(
        &mut self,
        now: Instant,
        record: &Record,
        minimum: Duration,
        reordering: &mut Reordering,
    ) {
        if record.end() > self.highest {
            self.highest = record.end();
        } else if !record.again {
            reordering.seen = true;
        }
        let sent = (record.sent, record.end());
        if self.latest.is_some_and(|latest| latest >= sent) {
            return;
        }
        if record.again && now - record.sent < minimum {
            return;
        }
        self.latest = Some(sent);
        self.delivered = now;
    }

    /// The most recent round-trip time.
    pub fn rtt(&self) -> Duration {
        self.latest.map_or(Duration::ZERO, |(sent, _)| self.delivered - sent)
    }

    /// When a flying segment should have been delivered, if something sent after it has been. A reordering
    /// window later it is lost.
    pub fn overtaken_at(&self, record: &Record) -> Option<Instant> {
        let (time, end) = self.latest?;
        record.sent_before(time, end).then(|| record.sent + self.rtt())
    }

    /// Takes note of a duplicate that the peer reports: the window was too small (step 4).
    pub fn widen(&mut self, una: u64, next: u64, reordering: &mut Reordering) {
        if una >= self.widened_until {
            self.widened_until = next;
            reordering.steps = (reordering.steps + 1).min(MOST_STEPS);
            reordering.persistence = PERSISTENCE;
        }
    }
}

impl Reordering {
    /// The reordering window: none while there is no sign of reordering and something is lost for sure.
    pub fn window(self, is_recovering: bool, received: usize, rtt: &RoundTrip) -> Duration {
        if !self.seen && (is_recovering || received >= DUPLICATE_THRESHOLD) {
            return Duration::ZERO;
        }
        let steps = 1 + u32::from(self.steps);
        (rtt.minimum() * steps / 4).min(rtt.smoothed().unwrap_or_default())
    }

    /// Takes note of a recovery that has ended.
    pub fn recovered(&mut self) {
        self.persistence = self.persistence.saturating_sub(1);
        if self.persistence == 0 {
            self.steps = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::scoreboard::Scoreboard, *};

    const MS: Duration = Duration::from_millis(1);
    const MINIMUM: Duration = Duration::from_millis(20);

    fn at(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    /// Of a path with this minimum, and this smoothed time.
    fn round_trip(smoothed: Duration) -> RoundTrip {
        let mut rtt = RoundTrip::default();
        rtt.sample(at(0), smoothed);
        rtt.see_minimum_since(at(0) + MINIMUM, at(0));
        rtt
    }

    fn delivered(rack: &mut Rack, now: Instant, board: &Scoreboard, reordering: &mut Reordering) {
        let back = board.back().unwrap();
        rack.deliver(now, &back, MINIMUM, reordering);
    }

    /// RFC 8985 section 3.3.1's idea: what was sent before something that has arrived is lost a quarter of
    /// the round-trip time later, or at once with three duplicates.
    #[test]
    fn what_was_sent_before_something_delivered_is_lost_after_the_window() {
        let (mut board, mut rack) = (Scoreboard::default(), Rack::default());
        let mut reordering = Reordering::default();
        board.push(at(0), 0, 100, 100, false);
        board.push(at(1), 100, 100, 100, false);
        delivered(&mut rack, at(21), &board, &mut reordering);
        let first = board.front().unwrap();
        let window = |received| reordering.window(false, received, &round_trip(MINIMUM));
        assert_eq!(rack.overtaken_at(&first), Some(at(20)));
        assert_eq!([1, 3].map(window), [5 * MS, Duration::ZERO]);
        let last = board.back().unwrap();
        assert_eq!(rack.overtaken_at(&last), None);
    }

    #[test]
    fn the_answer_to_a_retransmission_that_comes_too_soon_says_nothing() {
        let mut board = Scoreboard::default();
        let (mut rack, mut reordering) = (Rack::default(), Reordering::default());
        board.push(at(0), 0, 100, 100, false);
        board.lose_oldest();
        board.sent_again(at(30));
        let again = board.front().unwrap();
        rack.deliver(at(35), &again, MINIMUM, &mut reordering);
        assert_eq!(rack.latest, None);
        rack.deliver(at(50), &again, MINIMUM, &mut reordering);
        assert_eq!(rack.rtt(), 20 * MS);
    }

    #[test]
    fn duplicates_widen_the_window_once_a_round_and_sixteen_recoveries_forget_it() {
        let (mut rack, mut reordering) =
            (Rack::default(), Reordering { seen: true, ..Reordering::default() });
        let long = round_trip(MINIMUM * 9);
        let window = |reordering: Reordering| reordering.window(true, 9, &long);
        assert_eq!(window(reordering), 5 * MS);
        rack.widen(0, 1_000, &mut reordering);
        rack.widen(500, 1_500, &mut reordering);
        assert_eq!(window(reordering), 10 * MS);
        rack.widen(1_000, 2_000, &mut reordering);
        assert_eq!(window(reordering), 15 * MS);
        for round in 2..2 + u64::from(MOST_STEPS) {
            rack.widen(round * 1_000, (round + 1) * 1_000, &mut reordering);
        }
        assert_eq!(window(reordering), MINIMUM * 9 / 4);
        let most = reordering.window(true, 9, &round_trip(MINIMUM));
        assert_eq!(most, MINIMUM, "a round trip at most");
        for _ in 0..PERSISTENCE {
            reordering.recovered();
        }
        assert_eq!(window(reordering), 5 * MS);
    }

    #[test]
    fn a_hole_filled_by_its_first_transmission_is_reordering() {
        let mut board = Scoreboard::default();
        let (mut rack, mut reordering) = (Rack::default(), Reordering::default());
        board.push(at(0), 0, 100, 100, false);
        board.push(at(0), 100, 100, 100, false);
        delivered(&mut rack, at(20), &board, &mut reordering);
        assert!(!reordering.seen);
        let first = board.front().unwrap();
        rack.deliver(at(21), &first, MINIMUM, &mut reordering);
        assert!(reordering.seen);
    }
}
