//! Proportional rate reduction (RFC 6937 and its successor's conservative bound): while a loss is being
//! repaired, what is sent follows what arrives, so that the window ends at the threshold without a pause
//! or a burst.

/// Accounts of one recovery, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Prr {
    /// In flight when it began (`RecoverFS`).
    began_with: u64,
    delivered: u64,
    sent: u64,
}

/// What an acknowledgement during recovery says.
#[derive(Clone, Copy, Debug)]
pub struct Delivery {
    /// Bytes that have newly arrived, in order or not.
    pub bytes: u64,
    /// Whether it acknowledges something in order and has shown no further loss.
    pub is_safe: bool,
    /// Bytes thought to be in flight after it.
    pub in_flight: u64,
}

impl Prr {
    /// Begins a recovery with that much in flight.
    pub fn begin(in_flight: u64) -> Self {
        Self { began_with: in_flight.max(1), delivered: 0, sent: 0 }
    }

    /// Takes note of what was sent.
    pub fn sent(&mut self, bytes: u64) {
        self.sent += bytes;
    }

    /// The window after an acknowledgement.
    pub fn window(&mut self, delivery: &Delivery, threshold: u64, mss: u32) -> u64 {
        let &Delivery { bytes, is_safe, in_flight } = delivery;
        let mss = u64::from(mss);
        self.delivered += bytes;
        let mut send = if in_flight > threshold {
            let share = u128::from(self.delivered) * u128::from(threshold);
            let due = share.div_ceil(u128::from(self.began_with)) as u64;
            due.saturating_sub(self.sent)
        } else {
            let mut most = self.delivered.saturating_sub(self.sent).max(bytes);
            if is_safe {
                most += mss;
            }
            most.min(threshold - in_flight)
        };
        if self.sent == 0 {
            // The first retransmission goes out in any case.
            send = send.max(mss);
        }
        in_flight + send
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u32 = 1_000;

    /// RFC 6937 section 5's first example: one of 20 segments is lost, the threshold is half. One goes out
    /// for every two that arrive, and at the end as many as the threshold are in flight.
    #[test]
    fn one_loss_of_twenty_sends_one_for_every_two_that_arrive() {
        let threshold = 10_000;
        // Three duplicate acknowledgements have come; the lost segment is not in flight.
        let mut in_flight = 16_000;
        let mut prr = Prr::begin(20_000);
        let mut each = Vec::new();
        for _ in 0..16 {
            in_flight -= 1_000;
            let delivery = Delivery { bytes: 1_000, is_safe: false, in_flight };
            let window = prr.window(&delivery, threshold, MSS);
            let send = (window - in_flight) / 1_000 * 1_000;
            prr.sent(send);
            in_flight += send;
            each.push(send / 1_000);
        }
        assert_eq!(each[..8], [1, 0, 0, 1, 0, 1, 0, 1]);
        assert_eq!(each.iter().sum::<u64>(), 10);
        assert!(in_flight <= threshold, "{in_flight}");
    }

    /// Its second example: most of a window is lost. What arrives lets as much out again, plus a segment
    /// if all goes well.
    #[test]
    fn heavy_loss_sends_as_much_as_arrives_and_a_little_more_when_that_is_safe() {
        let mut prr = Prr::begin(20_000);
        let window = |prr: &mut Prr, is_safe| {
            let delivery = Delivery { bytes: 1_000, is_safe, in_flight: 3_000 };
            prr.window(&delivery, 10_000, MSS)
        };
        assert_eq!(window(&mut prr, false), 4_000);
        prr.sent(1_000);
        assert_eq!(window(&mut prr, false), 4_000);
        prr.sent(1_000);
        assert_eq!(window(&mut prr, true), 5_000);
    }

    #[test]
    fn the_window_never_passes_the_threshold_from_below() {
        let mut prr = Prr::begin(20_000);
        let delivery = Delivery { bytes: 9_000, is_safe: true, in_flight: 4_000 };
        assert_eq!(prr.window(&delivery, 5_000, MSS), 5_000);
    }
}
