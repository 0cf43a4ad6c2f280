//! A sender, a link each way, and a receiver, in virtual time.

use std::time::Duration;

use pagewire_driver::{DelayLine, Impairment, Instant, LinkModel};

use super::receiver::{Answer, Manners, Receiver, Segment};
use crate::user::recovery::{Ack, Cause, Chance, Expired, FlightPool, Sender, Terms};

/// Bytes of headers in front of every payload.
const HEADERS: usize = 66;
/// How coarse timestamps are, as those of the stack.
const TIMESTAMP_MS: u64 = 64;

/// What has happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub sent: u64,
    pub again: u64,
    pub overtaken: u64,
    pub timeouts: u64,
    pub probes: u64,
    pub undone: u64,
}

pub struct World {
    pub now: Instant,
    pub sender: Sender,
    pub receiver: Receiver,
    pub tally: Tally,
    pool: FlightPool,
    forward: LinkModel,
    backward: LinkModel,
    wire: DelayLine<Segment>,
    answers: DelayLine<Answer>,
    /// Bytes of the stream, without the FIN behind them.
    total: u64,
    fin_sent: bool,
    paced_until: Option<Instant>,
}

impl World {
    pub fn new(
        total: u64,
        mss: u32,
        manners: Manners,
        there: Impairment,
        back: Impairment,
        seed: u64,
    ) -> Self {
        let now = Instant::from_millis(1_000);
        let rtt = there.delay + back.delay;
        let terms = Terms {
            mss,
            has_sack: manners.has_sack,
            window: manners.capacity as u32,
            window_sequence: 0,
            rtt: (!rtt.is_zero()).then_some(rtt),
            timeouts: 0,
        };
        Self {
            now,
            sender: Sender::new(now, &terms),
            receiver: Receiver::new(manners),
            tally: Tally::default(),
            pool: FlightPool::default(),
            forward: LinkModel::new(there, seed),
            backward: LinkModel::new(back, seed ^ 0x5555),
            wire: DelayLine::default(),
            answers: DelayLine::default(),
            total,
            fin_sent: false,
            paced_until: None,
        }
    }

    /// Runs until all is acknowledged, and says how long it took. Fails after `limit`.
    pub fn run(&mut self, limit: Duration) -> Result<Duration, String> {
        let start = self.now;
        loop {
            self.turn();
            if self.fin_sent && self.sender.acknowledged() == self.total + 1 {
                self.check_end()?;
                return Ok(self.now - start);
            }
            let timer = self.sender.timer(self.unsent() > 0);
            let dues = [
                self.wire.next_due(),
                self.answers.next_due(),
                self.receiver.due(),
                self.paced_until,
                timer,
            ];
            let Some(next) = dues.into_iter().flatten().min() else {
                return Err(format!("stands still at {:?}", self.sender.snapshot()));
            };
            if next - start > limit {
                return Err(format!("takes too long: {:?}", self.sender.snapshot()));
            }
            // Timers have a grain.
            self.now = if next > self.now { next } else { self.now + Duration::from_micros(50) };
        }
    }

    fn check_end(&self) -> Result<(), String> {
        if self.receiver.next() != self.total + 1 {
            return Err(format!("{} of {} bytes", self.receiver.next(), self.total + 1));
        }
        let end = self.sender.snapshot();
        let quiet = end.in_flight == 0 && self.sender.timer(false).is_none();
        if quiet { Ok(()) } else { Err(format!("something is left: {end:?}")) }
    }

    fn unsent(&self) -> u64 {
        self.total.saturating_sub(self.sender.sent())
    }

    fn turn(&mut self) {
        while let Some(segment) = self.wire.pop(self.now) {
            let answer = self.receiver.receive(self.now, segment);
            self.answer(answer);
        }
        let due = self.receiver.turn(self.now);
        self.answer(due);
        while let Some(answer) = self.answers.pop(self.now) {
            let ack = Ack {
                offset: answer.offset,
                window: answer.window,
                sequence: 0,
                blocks: &answer.blocks,
                echo: answer.echo,
                has_data: false,
                is_marked: false,
            };
            let done = self.sender.on_ack(self.now, &ack, &mut self.pool);
            self.tally.undone += u64::from(done.is_undone);
        }
        let unsent = self.unsent() > 0;
        let expired = self.sender.expire(self.now, unsent, &mut self.pool);
        self.tally.timeouts += u64::from(expired == Expired::Timeout);
        self.send();
    }

    fn answer(&mut self, answer: Option<Answer>) {
        let Some(answer) = answer else { return };
        let mut frame = [0; HEADERS];
        let arrival = self.backward.pass(self.now, &mut frame);
        for due in [arrival.frame, arrival.twin].into_iter().flatten() {
            self.answers.push(due, answer.clone());
        }
    }

    fn send(&mut self) {
        self.paced_until = None;
        for _ in 0..10_000 {
            let is_forced = self.sender.forced.is_some();
            match self.sender.next(self.now, self.unsent()) {
                Chance::Again { offset, len, cause } => {
                    self.tally.overtaken += u64::from(cause == Cause::Overtaken);
                    self.tally.probes += u64::from(cause == Cause::Probe);
                    self.tally.again += u64::from(len);
                    self.transmit(offset, len.into());
                    self.sender.sent_again(self.now, self.timestamp());
                }
                Chance::Fresh { len } => {
                    assert!(len > 0 && len <= self.unsent());
                    let (offset, is_last) = (self.sender.sent(), len == self.unsent());
                    self.transmit(offset, len + u64::from(is_last));
                    self.sender.sent_fresh(self.now, len, is_last, &mut self.pool);
                    self.fin_sent |= is_last;
                    let after = self.sender.snapshot();
                    let extra = u64::from(is_last);
                    if !is_forced {
                        assert!(after.in_flight <= after.cwnd + extra, "{after:?}");
                        assert!(after.next <= self.sender.window_end + extra, "{after:?}");
                    }
                }
                Chance::Later(at) => {
                    self.paced_until = Some(at);
                    return;
                }
                Chance::Nothing => {
                    let all = self.total == self.sender.sent() && !self.fin_sent;
                    if !all {
                        return;
                    }
                    self.fin_sent = true;
                    self.transmit(self.total, 1);
                    self.sender.sent_fresh(self.now, 0, true, &mut self.pool);
                }
            }
        }
        panic!("no end of sending: {:?}", self.sender.snapshot());
    }

    fn transmit(&mut self, offset: u64, len: u64) {
        let mss = u64::from(self.sender.mss());
        let (mut at, end, timestamp) = (offset, offset + len, self.timestamp());
        self.tally.sent += len;
        while at < end {
            // A FIN goes with the last segment.
            let most = if end - at == mss + 1 { mss + 1 } else { mss };
            let len = most.min(end - at);
            let mut frame = vec![0; HEADERS + len as usize];
            let corrupted = self.forward.counters().corrupted;
            let arrival = self.forward.pass(self.now, &mut frame);
            if self.forward.counters().corrupted == corrupted {
                for due in [arrival.frame, arrival.twin].into_iter().flatten() {
                    self.wire.push(due, Segment { start: at, len, timestamp });
                }
            }
            at += len;
        }
    }

    fn timestamp(&self) -> u32 {
        (self.now.millis() / TIMESTAMP_MS * TIMESTAMP_MS) as u32
    }
}
