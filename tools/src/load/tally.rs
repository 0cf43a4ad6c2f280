//! What is counted: by each core for itself, handed over once a second, and added up.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;

/// Why a request or connection failed.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Cause {
    /// The server refused a connection, or is unreachable.
    Refused,
    /// A connection was not established in time.
    ConnectTimeout,
    /// No local port, descriptor or slot was left for a connection.
    Exhausted,
    /// There is no way to the server from our addresses.
    NoRoute,
    /// The server reset the connection before the response was complete.
    Reset,
    /// The server closed the connection before the response had begun, or within its head.
    Closed,
    /// The server closed the connection within the body.
    ShortBody,
    /// Nothing arrived in time.
    Timeout,
    /// It was no HTTP response, one of unknown length, or more than was asked for.
    Malformed,
    /// The status was not the expected one.
    Status,
    /// The body was not as long as the same path's before.
    Length,
    /// The body had another content than it should.
    Content,
}

impl Cause {
    /// All causes, in order.
    pub const ALL: [Self; 12] = [
        Self::Refused,
        Self::ConnectTimeout,
        Self::Exhausted,
        Self::NoRoute,
        Self::Reset,
        Self::Closed,
        Self::ShortBody,
        Self::Timeout,
        Self::Malformed,
        Self::Status,
        Self::Length,
        Self::Content,
    ];

    /// A name for machines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::Exhausted => "exhausted",
            Self::NoRoute => "no_route",
            Self::Reset => "reset",
            Self::Closed => "closed",
            Self::ShortBody => "short_body",
            Self::Timeout => "timeout",
            Self::Malformed => "malformed",
            Self::Status => "status",
            Self::Length => "length",
            Self::Content => "content",
        }
    }

    /// What happened, for people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Refused => "connection refused, or the server unreachable",
            Self::ConnectTimeout => "connection not established in time",
            Self::Exhausted => "no local port, descriptor or slot left",
            Self::NoRoute => "no way to the server from our addresses",
            Self::Reset => "connection reset by the server",
            Self::Closed => "connection closed before the body",
            Self::ShortBody => "connection closed within the body",
            Self::Timeout => "nothing arrived in time",
            Self::Malformed => "no HTTP response of known length",
            Self::Status => "unexpected status",
            Self::Length => "length differs from earlier responses",
            Self::Content => "content differs",
        }
    }
}

/// The longest latency that is told apart from longer ones: an hour.
const LATENCY_MAX_NANOS: u64 = 3_600_000_000_000;

/// Three digits of each latency are kept.
const DIGITS: u8 = 3;

/// Counts of one core and one stretch of time, or of several.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Right responses.
    pub answered: u64,
    /// Those among them that came after the last request was started.
    pub late: u64,
    /// Bytes of heads and bodies received.
    pub received_bytes: u64,
    /// Connections opened.
    pub opened: u64,
    /// Connections that the server ended while nothing was asked of it, or announced to end.
    pub ended: u64,
    /// Failures, in the order of [`Cause::ALL`].
    pub failed: [u64; Cause::ALL.len()],
    /// Statuses other than the expected one.
    pub statuses: BTreeMap<u16, u64>,
    /// Open loop: requests that never found a free connection. Their waits are among the latencies.
    pub unsent: u64,
    /// Requests under way when the run was over.
    pub unfinished: u64,
    /// Latencies of right responses, in nanoseconds.
    pub latency: Histogram<u64>,
}

impl Default for Tally {
    fn default() -> Self {
        let latency = Histogram::new_with_max(LATENCY_MAX_NANOS, DIGITS);
        Self {
            answered: 0,
            late: 0,
            received_bytes: 0,
            opened: 0,
            ended: 0,
            failed: [0; Cause::ALL.len()],
            statuses: BTreeMap::new(),
            unsent: 0,
            unfinished: 0,
            latency: latency.expect("the bounds are right"),
        }
    }
}

impl Tally {
    /// Counts a latency that so many requests had.
    pub(super) fn record(&mut self, latency: Duration, count: u64) {
        self.latency.saturating_record_n(latency.as_nanos() as u64, count);
    }

    /// Counts a failure.
    pub(super) fn fail(&mut self, cause: Cause) {
        self.failed[cause as usize] += 1;
    }

    /// How many failures had this cause.
    pub fn failed(&self, cause: Cause) -> u64 {
        self.failed[cause as usize]
    }

    /// How many failures there were.
    pub fn failures(&self) -> u64 {
        self.failed.iter().sum()
    }

    /// The latency that this part of the responses, from 0 to 1, did not exceed.
    pub fn quantile(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.latency.value_at_quantile(quantile))
    }

    /// Adds what another has counted.
    pub(super) fn add(&mut self, other: &Self) {
        self.answered += other.answered;
        self.late += other.late;
        self.received_bytes += other.received_bytes;
        self.opened += other.opened;
        self.ended += other.ended;
        self.unsent += other.unsent;
        self.unfinished += other.unfinished;
        for (sum, count) in self.failed.iter_mut().zip(other.failed) {
            *sum += count;
        }
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
        self.latency.add(&other.latency).expect("all histograms have the same bounds");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_numbered_in_order_and_named_apart() {
        let mut names: Vec<_> = Cause::ALL.iter().map(|cause| cause.name()).collect();
        assert!(Cause::ALL.iter().enumerate().all(|(at, cause)| *cause as usize == at));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Cause::ALL.len());
    }

    #[test]
    fn tallies_add_up() {
        let mut one = Tally { answered: 2, ..Tally::default() };
        one.fail(Cause::Status);
        one.statuses.insert(404, 1);
        one.record(Duration::from_millis(1), 1);
        let mut sum = one.clone();
        sum.add(&one);
        assert_eq!((sum.answered, sum.failures(), sum.failed(Cause::Status)), (4, 2, 2));
        assert_eq!((sum.statuses[&404], sum.latency.len()), (2, 2));
    }

    #[test]
    fn latencies_keep_three_digits_and_none_is_too_long() {
        let mut tally = Tally::default();
        for nanos in [123_456, 1_000, 5_000_000_000] {
            tally.record(Duration::from_nanos(nanos), 1);
        }
        let median = tally.quantile(0.5).as_nanos();
        assert!((123_300..=123_600).contains(&median), "{median}");
        tally.record(Duration::from_hours(48), 1);
        assert!(tally.quantile(1.0) >= Duration::from_hours(1));
    }
}
