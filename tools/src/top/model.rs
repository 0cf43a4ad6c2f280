//! What two looks at a server say about the time between them.

use std::{collections::BTreeMap, ops::Add, time::Instant};

use pagewire::{
    control::protocol::{Connection, Figures, ShardFigures, Value},
    histogram::Distribution,
};

/// A look at a server.
#[derive(Clone, Debug)]
pub struct Moment {
    /// When.
    pub at: Instant,
    /// What it said.
    pub figures: Figures,
}

/// The last two looks.
#[derive(Debug, Default)]
pub struct Moments {
    before: Option<Moment>,
    now: Option<Moment>,
}

/// A list of connections.
#[derive(Debug, Default)]
pub struct Listing {
    /// They.
    pub rows: Vec<Connection>,
    /// Whether there are more than these.
    pub is_sample: bool,
}

/// What a core, or all together, did in a second. What is not counted there is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pace {
    /// Requests.
    pub requests: f64,
    /// Bits of responses.
    pub bits: f64,
    /// Frames received.
    pub frames_in: Option<f64>,
    /// Frames sent.
    pub frames_out: Option<f64>,
    /// Frames and packets dropped.
    pub drops: f64,
    /// Waits for a file to be opened or read.
    pub waits: f64,
    /// Turns that ended with frames left over.
    pub back_pressure: f64,
    /// Packets handed from core to core.
    pub hops: f64,
    /// Responses of 5xx.
    pub server_errors: f64,
    /// Lookups of files, and those that found them cached.
    pub lookups: (f64, f64),
    /// Payload bytes sent for the first time, and again.
    pub payload: Option<(f64, f64)>,
    /// Connections open, at the second look.
    pub open: u64,
    /// Frames of the queue's memory, and those that are free, at the second look.
    pub frames: Option<(u64, u64)>,
}

/// A core.
#[derive(Clone, Debug, PartialEq)]
pub struct Core {
    /// Its number.
    pub number: usize,
    /// Whether it has answered.
    pub answers: bool,
    /// What it did.
    pub pace: Pace,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Overview {
    /// For how long the server has run, in seconds.
    pub uptime: f64,
    /// Its cores.
    pub cores: Vec<Core>,
    /// All of them together.
    pub total: Pace,
    /// Drops in a second by cause, the most first.
    pub drops: Vec<(String, f64)>,
    /// Connections by state.
    pub states: Vec<(String, u64)>,
    /// Connections by what the server does with them.
    pub activities: Vec<(String, u64)>,
    /// Percentiles of round-trip times: the worst core's.
    pub rtt_seconds: Option<[f64; 3]>,
    /// Percentiles of congestion windows: the worst core's.
    pub cwnd_bytes: Option<[u64; 3]>,
    /// How long requests took.
    pub latency: Distribution,
    /// Whether the interface carries nothing.
    pub is_link_down: bool,
    /// Whether the kernel's TCP serves since AF_XDP cannot be had.
    pub is_fallback: bool,
}

impl Moments {
    /// Takes another look.
    pub fn add(&mut self, moment: Moment) {
        self.before = self.now.replace(moment);
    }

    /// What the last two say. After one look, or a restart, there are no rates.
    pub fn overview(&self) -> Overview {
        let Some(now) = &self.now else { return Overview::default() };
        let before = self.before.as_ref().filter(|before| {
            before.figures.shards.len() == now.figures.shards.len()
                && before.figures.uptime_seconds <= now.figures.uptime_seconds
        });
        let seconds = before.map_or(1.0, |before| (now.at - before.at).as_secs_f64().max(0.001));
        let is = |name: &str, number: u64| {
            now.figures.whole.iter().any(|value| value.name == name && value.value == number)
        };
        let mut overview = Overview {
            uptime: now.figures.uptime_seconds,
            is_link_down: is("link_up", 0),
            is_fallback: is("fallback", 1),
            ..Overview::default()
        };
        let mut drops = BTreeMap::new();
        for (number, shard) in now.figures.shards.iter().enumerate() {
            let earlier = before.map_or(shard, |before| &before.figures.shards[number]);
            // A core that has not answered now or then has told too little to be compared.
            let earlier = if earlier.answered == shard.answered { earlier } else { shard };
            let between = Between { earlier, now: shard, seconds };
            let pace = between.pace();
            overview.total.add(&pace);
            overview.cores.push(Core { number: shard.core, answers: shard.answered, pace });
            between.add_drops(&mut drops);
            let latency = Distribution::from(&shard.latency);
            overview.latency.add(&latency.since(&Distribution::from(&earlier.latency)));
            overview.add_census(shard);
        }
        overview.drops = drops.into_iter().filter(|(_, rate)| *rate > 0.0).collect();
        overview.drops.sort_by(|a, b| b.1.total_cmp(&a.1));
        overview
    }
}

impl Overview {
    fn add_census(&mut self, shard: &ShardFigures) {
        let Some(census) = &shard.census else { return };
        add_counts(&mut self.states, &census.states);
        add_counts(&mut self.activities, &census.activities);
        self.rtt_seconds = worst(self.rtt_seconds, census.rtt_seconds, f64::max);
        self.cwnd_bytes = worst(self.cwnd_bytes, census.cwnd_bytes, u64::min);
    }
}

fn add_counts(to: &mut Vec<(String, u64)>, from: &[(std::borrow::Cow<'static, str>, u64)]) {
    for (name, count) in from {
        match to.iter_mut().find(|(known, _)| known == name) {
            Some((_, sum)) => *sum += count,
            None => to.push((name.to_string(), *count)),
        }
    }
}

fn worst<T: Copy>(a: Option<[T; 3]>, b: Option<[T; 3]>, of: fn(T, T) -> T) -> Option<[T; 3]> {
    match (a, b) {
        (Some(a), Some(b)) => Some([of(a[0], b[0]), of(a[1], b[1]), of(a[2], b[2])]),
        (a, b) => a.or(b),
    }
}

impl Pace {
    /// The share of lookups that were answered from the cache, unless there were none.
    pub fn hits(&self) -> Option<f64> {
        (self.lookups.0 > 0.0).then(|| self.lookups.1 / self.lookups.0)
    }

    /// Payload sent again, for each byte sent first.
    pub fn retransmitted(&self) -> Option<f64> {
        self.payload.filter(|(first, _)| *first > 0.0).map(|(first, again)| again / first)
    }

    /// The share of the queue's memory that is in use.
    pub fn memory_in_use(&self) -> Option<f64> {
        let (all, free) = self.frames?;
        (all > 0).then(|| (all - free) as f64 / all as f64)
    }

    fn add(&mut self, other: &Self) {
        let sum = |a: Option<f64>, b: Option<f64>| a.map_or(b, |a| Some(a + b.unwrap_or(0.0)));
        let pair = |(a, b): (f64, f64), (c, d): (f64, f64)| (a + c, b + d);
        self.requests += other.requests;
        self.bits += other.bits;
        self.frames_in = sum(self.frames_in, other.frames_in);
        self.frames_out = sum(self.frames_out, other.frames_out);
        self.drops += other.drops;
        self.waits += other.waits;
        self.back_pressure += other.back_pressure;
        self.hops += other.hops;
        self.server_errors += other.server_errors;
        self.lookups = pair(self.lookups, other.lookups);
        self.payload = match (self.payload, other.payload) {
            (Some(a), Some(b)) => Some(pair(a, b)),
            (a, b) => a.or(b),
        };
        self.open += other.open;
        self.frames = match (self.frames, other.frames) {
            (Some((a, b)), Some((c, d))) => Some((a + c, b + d)),
            (a, b) => a.or(b),
        };
    }
}

/// Two looks at a shard.
struct Between<'a> {
    earlier: &'a ShardFigures,
    now: &'a ShardFigures,
    seconds: f64,
}

/// Figures that count drops.
const DROPS: [&str; 2] = ["packets_dropped", "port_frames_dropped"];

/// The cause of what is dropped all the time on any network.
pub const HARMLESS: &str = "not for us";

impl Between<'_> {
    fn pace(&self) -> Pace {
        let sent = self.rate("payload_sent_bytes");
        let frames = self.now.figures.iter().filter(|value| value.name == "port_frames");
        let of = |cause: Option<&str>| -> u64 {
            let chosen = |value: &&Value| cause.is_none_or(|it| value.cause.as_deref() == Some(it));
            frames.clone().filter(chosen).map(|value| value.value).sum()
        };
        Pace {
            requests: self.rate("requests").unwrap_or_default(),
            bits: self.rate("response_bytes").unwrap_or_default() * 8.0,
            frames_in: self.rate("port_frames_received"),
            frames_out: self.rate("port_frames_sent"),
            drops: DROPS
                .iter()
                .filter_map(|name| self.rate_but(name, HARMLESS))
                .fold(0.0, f64::add),
            waits: ["request_waits", "disk_waits"]
                .iter()
                .filter_map(|name| self.rate(name))
                .fold(0.0, f64::add),
            back_pressure: self.rate("back_pressure_turns").unwrap_or_default(),
            hops: self.rate("packets_hopped_in").unwrap_or_default(),
            server_errors: self.rate_of("responses", "5xx").unwrap_or_default(),
            lookups: (
                self.rate("cache_lookups").unwrap_or_default(),
                self.rate_of("cache_lookups", "hit").unwrap_or_default(),
            ),
            payload: sent.zip(self.rate("payload_retransmitted_bytes")),
            open: sum(self.now, |value| value.name == "connections").unwrap_or_default(),
            frames: (of(None) > 0).then(|| (of(None), of(Some("free")))),
        }
    }

    fn add_drops(&self, drops: &mut BTreeMap<String, f64>) {
        for value in self.now.figures.iter().filter(|value| DROPS.contains(&&*value.name)) {
            let Some(cause) = value.cause.as_deref() else { continue };
            let rate = self.rate_of(&value.name, cause).unwrap_or_default();
            *drops.entry(cause.to_owned()).or_default() += rate;
        }
    }

    fn rate(&self, name: &str) -> Option<f64> {
        self.rate_where(|value| value.name == name)
    }

    fn rate_of(&self, name: &str, cause: &str) -> Option<f64> {
        self.rate_where(|value| value.name == name && value.cause.as_deref() == Some(cause))
    }

    fn rate_but(&self, name: &str, cause: &str) -> Option<f64> {
        self.rate_where(|value| value.name == name && value.cause.as_deref() != Some(cause))
    }

    fn rate_where(&self, chosen: impl Fn(&Value) -> bool) -> Option<f64> {
        let now = sum(self.now, &chosen)?;
        let earlier = sum(self.earlier, &chosen).unwrap_or(now);
        Some(now.saturating_sub(earlier) as f64 / self.seconds)
    }
}

/// The sum of those figures that are chosen; none if there are none.
fn sum(shard: &ShardFigures, chosen: impl Fn(&Value) -> bool) -> Option<u64> {
    let mut values = shard.figures.iter().filter(|value| chosen(value)).map(|value| value.value);
    let first = values.next()?;
    Some(first + values.sum::<u64>())
}
