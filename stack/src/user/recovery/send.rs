//! What may be sent next.

use pagewire_driver::Instant;

use super::{Flight, FlightPool, Forced, Probe, Sender, Stage, flight::Doubt, pacing::Rate};

/// Why something is sent again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cause {
    /// Something sent later has arrived (RACK, or duplicate acknowledgements).
    Overtaken,
    /// The retransmission timer has run out.
    Timeout,
    /// A tail loss probe, or one of a closed window.
    Probe,
}

/// What a sender may do now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Chance {
    /// Send this stretch again, cut at the segment size.
    Again {
        /// Offset of its first byte.
        offset: u64,
        /// Bytes, a FIN included.
        len: u32,
        /// Why.
        cause: Cause,
    },
    /// Send up to this many bytes that were never sent, cut at the segment size.
    Fresh {
        /// At least 1.
        len: u64,
    },
    /// Pacing: nothing before this.
    Later(Instant),
    /// Nothing until an acknowledgement, a timer, or more to send.
    Nothing,
}

impl Sender {
    /// What may be sent now, with `unsent` bytes never sent. A bare FIN may always be.
    pub fn next(&mut self, now: Instant, unsent: u64) -> Chance {
        if let Some(forced) = self.forced {
            return self.next_forced(now, forced, unsent);
        }
        if let Some(flight) = &self.flight
            && let Some(lost) = flight.board.next_lost()
            && (flight.doubt != Doubt::Second || unsent == 0)
        {
            let (offset, len) = (lost.start, lost.len);
            let cause = match flight.stage {
                Stage::Timeout => Cause::Timeout,
                _ => Cause::Overtaken,
            };
            return self.next_lost(now, offset, len, cause);
        }
        if unsent == 0 {
            return Chance::Nothing;
        }
        let is_idle = self.una == self.next;
        if is_idle {
            self.resume(now);
        }
        self.next_fresh(now, unsent, is_idle)
    }

    fn next_forced(&mut self, now: Instant, forced: Forced, unsent: u64) -> Chance {
        let mss = u64::from(self.mss());
        let room = self.window_end.saturating_sub(self.next);
        let record = self.flight.as_ref().and_then(|flight| match forced {
            Forced::Tail => flight.board.back(),
            Forced::Window => flight.board.front(),
        });
        match (forced, record) {
            (Forced::Tail, _) if unsent > 0 && room >= unsent.min(mss) => {
                Chance::Fresh { len: unsent.min(mss) }
            }
            (_, Some(record)) => {
                Chance::Again { offset: record.start, len: record.len, cause: Cause::Probe }
            }
            (Forced::Window, None) if unsent > 0 => Chance::Fresh { len: 1 },
            _ => {
                // What was to be probed has been acknowledged meanwhile.
                self.forced = None;
                self.next(now, unsent)
            }
        }
    }

    fn next_lost(&mut self, now: Instant, offset: u64, len: u32, cause: Cause) -> Chance {
        let in_flight = self.in_flight();
        if in_flight > 0 && in_flight + u64::from(len) > self.window.cwnd {
            return Chance::Nothing;
        }
        if self.is_paced(now) {
            Chance::Later(self.pacing.next())
        } else {
            Chance::Again { offset, len, cause }
        }
    }

    fn next_fresh(&mut self, now: Instant, unsent: u64, is_idle: bool) -> Chance {
        let mss = u64::from(self.mss());
        let room = self.window.cwnd.saturating_sub(self.in_flight());
        let offered = self.window_end.saturating_sub(self.next);
        let mut len = unsent.min(room).min(offered);
        if len < unsent {
            if room < offered
                && let Some(flight) = &mut self.flight
            {
                flight.limited_end = self.next;
            }
            len -= len % mss;
            if len == 0 {
                // RFC 9293 section 3.8.6.2.1: a piece only if it is half of the largest window, or there
                // is no acknowledgement to wait for.
                let half = u64::from(self.most_window / 2).max(1);
                let piece = offered.min(unsent);
                if piece == 0 || piece > room || (piece < half && !is_idle) {
                    return Chance::Nothing;
                }
                len = piece.min(mss);
            }
        }
        if self.is_paced(now) {
            return Chance::Later(self.pacing.next());
        }
        let rate = || self.rate().unwrap_or(Rate::UNLIMITED);
        Chance::Fresh { len: self.pacing.allowance(now, rate, len, self.mss()) }
    }

    /// Whether pacing lets nothing out now.
    fn is_paced(&self, now: Instant) -> bool {
        self.pacing.next() > now
    }

    /// Before something is sent on an idle connection.
    fn resume(&mut self, now: Instant) {
        let idle = now - self.last_sent;
        let timeout = self.rtt.timeout(0);
        if idle > timeout && self.next > 0 {
            let mss = self.mss();
            self.window.resume(idle, timeout, mss);
            self.refresh_path(now);
            self.last_sent = now;
        }
    }

    /// Tries the full segment size again when it is time. The windows must have room for it.
    pub(super) fn refresh_path(&mut self, now: Instant) {
        if self.path.refresh(now) {
            self.window.floor(self.mss());
        }
    }

    /// Takes note of `len` bytes sent for the first time, in segments of the segment size, and of a FIN
    /// with the last of them or by itself.
    pub fn sent_fresh(&mut self, now: Instant, len: u64, fin: bool, pool: &mut FlightPool) {
        let mss = self.mss();
        let forced = self.forced.take();
        let is_first = self.una == self.next;
        if is_first {
            self.timer_from = now;
            // With less of a window it has to be seen whether that holds anything back.
            let is_wide = self.window.cwnd >= 4 * u64::from(mss);
            if len <= u64::from(mss) && is_wide && forced.is_none() {
                self.next += len + u64::from(fin);
                self.last_sent = now;
                return;
            }
        }
        self.unfold(pool);
        let rate = if is_first && len <= 2 * u64::from(mss) { None } else { self.rate() };
        let flight = self.flight.get_or_insert_with(|| pool.take());
        flight.board.push(now, self.next, (len + u64::from(fin)) as u32, mss, fin);
        self.next += len + u64::from(fin);
        flight.most = flight.most.max(flight.board.flying_bytes());
        if matches!(flight.stage, Stage::Recovery | Stage::Reduced) {
            flight.prr.sent(len);
        }
        if forced == Some(Forced::Tail) {
            self.probe = Some(Probe { end: self.next as u32, again: false });
        }
        self.last_sent = now;
        if let Some(rate) = rate {
            self.pacing.sent(now, len, rate);
        }
    }

    /// Takes note that what [`next`](Self::next) had to be sent again was, with this timestamp.
    pub fn sent_again(&mut self, now: Instant, timestamp: u32) {
        let rate = self.rate();
        let forced = self.forced.take();
        let next = self.next;
        self.retransmits = self.retransmits.saturating_add(1);
        let Some(flight) = &mut self.flight else { return };
        let Flight { board, undo, prr, stage, .. } = &mut **flight;
        let record = match forced {
            Some(Forced::Tail) => {
                board.probed(now, true);
                self.probe = Some(Probe { end: next as u32, again: true });
                return;
            }
            Some(Forced::Window) => return board.probed(now, false),
            None => board.next_lost().copied(),
        };
        let Some(record) = record else { return };
        board.sent_again(now);
        if let Some(undo) = undo {
            undo.unneeded += 1;
            undo.first.get_or_insert((record.end(), timestamp));
        }
        if matches!(stage, Stage::Recovery | Stage::Reduced) {
            prr.sent(record.len.into());
        }
        if record.start <= self.una {
            self.timer_from = now;
        }
        if let Some(rate) = rate {
            self.pacing.sent(now, record.len.into(), rate);
        }
    }
}
