//! What an acknowledgement says, and what follows from it.

use std::ops::Range;

use pagewire_driver::Instant;

use super::{
    Flight, FlightPool, Sender, Stage, controller::Progress, flight::Doubt, prr::Delivery,
    rack::Reordering, rtt::us_between, scoreboard::Record,
};
use crate::user::sequence::ahead;

/// Most SACK blocks of one segment (RFC 2018 section 3).
const MOST_BLOCKS: usize = 4;
/// Duplicate acknowledgements that mean a loss (RFC 5681 section 3.2).
const DUPLICATES: u32 = 3;

/// An acknowledgement.
#[derive(Clone, Copy, Debug)]
pub struct Ack<'a> {
    /// Everything before this offset has arrived.
    pub offset: u64,
    /// The peer's window from there, in bytes.
    pub window: u32,
    /// The segment's sequence number.
    pub sequence: u32,
    /// SACK blocks, in the order of the option.
    pub blocks: &'a [Range<u64>],
    /// The timestamp echoed.
    pub echo: Option<u32>,
    /// Whether the segment carries data or a FIN: it then is no duplicate acknowledgement.
    pub has_data: bool,
    /// Whether the network has marked a packet of ours (ECE, RFC 3168).
    pub is_marked: bool,
}

/// What it has changed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Acknowledged {
    /// Bytes newly acknowledged in order, a FIN included.
    pub bytes: u64,
    /// A repair turned out not to have been needed, and was taken back.
    pub is_undone: bool,
    /// A reduction has begun.
    pub is_reduced: bool,
}

/// What was delivered by one acknowledgement.
#[derive(Default)]
pub(super) struct News {
    /// How much.
    pub bytes: u64,
    /// When the first and the last sent of what was sent once were sent.
    once: Option<(Instant, Instant)>,
    /// Whether something sent once, before the timeout, is among it.
    pub original: bool,
    /// Whether something sent more than once is among it.
    again: bool,
}

impl News {
    fn add(&mut self, record: &Record, stage_end: u64) {
        self.bytes += u64::from(record.len);
        if record.again {
            self.again = true;
            return;
        }
        let (first, last) = self.once.unwrap_or((record.sent, record.sent));
        self.once = Some((first.min(record.sent), last.max(record.sent)));
        // Stages begin and end between segments.
        self.original |= record.start < stage_end;
    }
}

impl Sender {
    /// Takes an acknowledgement whose offset is not beyond what was sent.
    pub fn on_ack(&mut self, now: Instant, ack: &Ack<'_>, pool: &mut FlightPool) -> Acknowledged {
        if ack.offset < self.una || ack.offset > self.next {
            return Acknowledged::default();
        }
        let is_update = self.update_window(now, ack);
        let bytes = ack.offset - self.una;
        if self.flight.is_none() {
            let is_part = bytes > 0 && ack.offset < self.next;
            if !is_part {
                return self.on_ack_of_one(now, ack, bytes);
            }
            self.unfold(pool);
        }
        let Some(mut flight) = self.flight.take() else { return Acknowledged::default() };
        let in_flight_before = flight.board.flying_bytes();
        let news = self.deliver(now, ack, &mut flight);
        self.una = ack.offset;
        self.measure(now, &news, bytes > 0);
        let duplicate = self.duplicates(ack, &mut flight);
        if bytes > 0 {
            (self.timer_from, self.backoff) = (now, 0);
            self.refresh_path(now);
        }
        if bytes > 0
            && let Some(threshold) = flight.unlike_congestion.take()
        {
            // RFC 8201 section 5.4: the smaller size was all that it took.
            self.window.threshold = threshold;
        }
        let hole = self.count_duplicates(ack, is_update, bytes, &mut flight);
        // For a round trip after the window has held something back.
        let was_limited = ack.offset - bytes < flight.limited_end
            || (self.window.is_slow_start() && self.window.cwnd < 2 * flight.most);
        self.flight = Some(flight);

        let mut outcome = Acknowledged { bytes, ..Acknowledged::default() };
        outcome.is_undone = self.undo(ack, &news, duplicate);
        self.settle_doubt(ack, bytes);
        let was_open = self.stage() == Stage::Open;
        let lost = self.repair(now, news.bytes, hole);
        if ack.is_marked && self.stage() == Stage::Open {
            self.reduce(Stage::Reduced, news.bytes);
        }
        outcome.is_reduced = was_open && self.stage() != Stage::Open;
        self.settle_probe(ack, bytes, duplicate);
        self.move_window(now, &news, bytes, lost, was_limited && in_flight_before > 0);
        self.end_stage();
        if let Some(flight) = self.flight.take_if(|flight| flight.board.is_empty()) {
            pool.give(flight);
        }
        outcome
    }

    /// An acknowledgement of all or nothing while at most one segment is in flight.
    fn on_ack_of_one(&mut self, now: Instant, ack: &Ack<'_>, bytes: u64) -> Acknowledged {
        if bytes > 0 {
            self.una = ack.offset;
            self.rtt.sample_since(now, self.last_sent);
            (self.timer_from, self.backoff) = (now, 0);
            self.refresh_path(now);
        }
        if self.probe.is_some() {
            let duplicate = self.reports_duplicate(ack);
            self.settle_probe(ack, bytes, duplicate);
        }
        if ack.is_marked && bytes > 0 {
            let mss = self.mss();
            self.window.reduce(mss);
            self.window.cwnd = self.window.cwnd.min(self.window.threshold);
        }
        Acknowledged { bytes, is_undone: false, is_reduced: ack.is_marked && bytes > 0 }
    }

    /// RFC 9293 section 3.10.7.4, with Linux's leniency towards windows that only grow. Says whether the
    /// window has changed.
    fn update_window(&mut self, now: Instant, ack: &Ack<'_>) -> bool {
        let end = ack.offset + u64::from(ack.window);
        let newer = ahead(ack.sequence, self.window_sequence);
        let takes = ack.offset > self.una
            || newer > 0
            || (newer == 0 && (end > self.window_end || ack.window == 0));
        if !takes {
            return false;
        }
        self.window_sequence = ack.sequence;
        if end == self.window_end {
            return false;
        }
        let was_shut = self.window_end <= ack.offset;
        self.most_window = self.most_window.max(ack.window);
        if was_shut && end > ack.offset {
            // What probed the closed window has most likely been thrown away.
            let old_end = self.window_end;
            if let Some(flight) = &mut self.flight
                && flight.board.front().is_some_and(|front| front.start >= old_end)
            {
                flight.board.lose_front();
            }
            self.forced = None;
            self.backoff = 0;
        }
        if !was_shut && end <= ack.offset {
            self.timer_from = now;
        }
        self.window_end = end;
        true
    }

    fn deliver(&mut self, now: Instant, ack: &Ack<'_>, flight: &mut Flight) -> News {
        let mut news = News::default();
        let minimum = self.rtt.minimum();
        let (next, una) = (self.next, ack.offset);
        let reordering: &mut Reordering = &mut self.reordering;
        let Flight { board, rack, stage_end, .. } = flight;
        let mut see = |record: &Record| {
            news.add(record, *stage_end);
            rack.deliver(now, record, minimum, reordering);
        };
        board.acknowledge(una, &mut see);
        if self.has_sack && !ack.blocks.is_empty() {
            // From the lowest on: what one acknowledgement tells has no order.
            let mut blocks = [const { 0..0 }; MOST_BLOCKS];
            for (sorted, block) in blocks.iter_mut().zip(ack.blocks) {
                if una < block.start && block.start < block.end && block.end <= next {
                    *sorted = block.clone();
                }
            }
            blocks.sort_unstable_by_key(|block| block.start);
            for block in blocks.into_iter().filter(|block| !block.is_empty()) {
                board.receive(block, &mut see);
            }
        }
        news
    }

    fn measure(&mut self, now: Instant, news: &News, in_order: bool) {
        let Some((first, last)) = news.once else { return };
        if news.again {
            // What is acknowledged with a retransmission may have waited for it.
            return;
        }
        self.rtt.sample_since(now, if in_order { first } else { last });
        if first != last {
            self.rtt.see_minimum_since(now, last);
        }
    }

    /// Peers without SACK say by duplicate acknowledgements that something has arrived.
    /// Says whether a loss shows by that.
    fn count_duplicates(
        &self,
        ack: &Ack<'_>,
        is_update: bool,
        bytes: u64,
        flight: &mut Flight,
    ) -> bool {
        if self.has_sack {
            return false;
        }
        if bytes > 0 {
            flight.duplicates = 0;
            // RFC 6582: a partial acknowledgement shows the next hole.
            let partial = flight.stage == Stage::Recovery && ack.offset < flight.stage_end;
            return partial && flight.board.lose_front();
        }
        if ack.has_data || is_update || flight.board.is_empty() {
            return false;
        }
        // One for each segment behind the first at most: a peer cannot make room by repeating itself.
        let most = flight.board.count() as u32 - 1;
        flight.duplicates = (flight.duplicates + 1).min(most);
        let once = flight.stage_end == 0 || self.una > flight.stage_end;
        let enough = flight.duplicates == DUPLICATES && flight.stage == Stage::Open && once;
        enough && flight.board.lose_front()
    }

    fn move_window(
        &mut self,
        now: Instant,
        news: &News,
        bytes: u64,
        lost: bool,
        was_limited: bool,
    ) {
        let (mss, una, next, in_flight) = (self.mss(), self.una, self.next, self.in_flight());
        let smoothed_us = self.rtt.smoothed_us().unwrap_or(1_000);
        let Some(flight) = &mut self.flight else { return };
        match flight.stage {
            Stage::Recovery | Stage::Reduced => {
                if news.bytes > 0 || lost || bytes > 0 || !self.has_sack {
                    let delivered =
                        if self.has_sack { news.bytes } else { news.bytes.max(mss.into()) };
                    let is_safe = bytes > 0 && !lost;
                    let delivery = Delivery { bytes: delivered, is_safe, in_flight };
                    let threshold = self.window.threshold;
                    self.window.cwnd = flight.prr.window(&delivery, threshold, mss);
                }
            }
            Stage::Open | Stage::Timeout => {
                let acked = if flight.stage == Stage::Timeout { news.bytes } else { bytes };
                let may = was_limited || flight.stage == Stage::Timeout;
                if acked > 0 && may && flight.doubt != Doubt::Second {
                    let rtt_us = news.once.map(|(_, last)| us_between(last, now));
                    let progress = Progress { now, acked, una, next, rtt_us, smoothed_us, mss };
                    self.window.grow(&mut flight.hystart, &progress);
                    flight.most = in_flight;
                }
            }
        }
    }

    fn end_stage(&mut self) {
        let una = self.una;
        let Some(flight) = &mut self.flight else { return };
        if flight.stage == Stage::Open || una < flight.stage_end {
            return;
        }
        if matches!(flight.stage, Stage::Recovery | Stage::Reduced) {
            self.window.cwnd = self.window.threshold;
        }
        flight.stage = Stage::Open;
        flight.undo = None;
        flight.doubt = Doubt::None;
        self.reordering.recovered();
    }
}
