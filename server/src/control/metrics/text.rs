//! The metrics as Prometheus reads them: text, families together, base units.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use pagewire_stack::{Figure, Kind};

use crate::{
    control::{
        census::{Census, PERCENTILES},
        observer::{Observer, Snapshot},
    },
    histogram::Distribution,
};

/// Ends of the buckets of histograms, as powers of two of microseconds: 16 us to 67 s.
const BUCKETS: std::ops::RangeInclusive<u32> = 4..=26;

/// Everything that `observer` sees.
pub fn render(observer: &Observer) -> String {
    let snapshot = observer.snapshot();
    let mut text = Text::default();
    let version =
        [("version", env!("CARGO_PKG_VERSION")), ("transport", observer.about().transport)];
    text.family("pagewire_build_info", "gauge", "What is running; always 1.");
    text.sample("pagewire_build_info", &version, 1);
    let started = SystemTime::now().checked_sub(snapshot.uptime).unwrap_or(UNIX_EPOCH);
    let started = started.duration_since(UNIX_EPOCH).unwrap_or_default();
    text.family("pagewire_start_time_seconds", "gauge", "When it started, in Unix time.");
    text.sample("pagewire_start_time_seconds", &[], Seconds(started));

    let places: Vec<_> = snapshot.shards.iter().enumerate().map(Place::of).collect();
    let name = "pagewire_shard_responding";
    text.family(name, "gauge", "Whether the shard's core answers; 0 if it is stuck or has ended.");
    for (shard, place) in snapshot.shards.iter().zip(&places) {
        text.sample(name, &place.labels(), u8::from(shard.answered));
    }
    text.figures(&snapshot, &places);
    text.latency(&snapshot, &places);
    let counted = snapshot.shards.iter().zip(&places).enumerate();
    let census = counted.filter(|(_, (shard, _))| shard.answered);
    let census: Vec<_> = census
        .filter_map(|(number, (_, place))| Some((place, Census::of(observer, number)?)))
        .collect();
    text.census(&census);
    text.out
}

/// Where something was counted.
struct Place {
    shard: String,
    core: String,
}

impl Place {
    fn of((shard, snapshot): (usize, &crate::control::observer::ShardSnapshot)) -> Self {
        Self { shard: shard.to_string(), core: snapshot.core.to_string() }
    }

    fn labels(&self) -> [(&str, &str); 2] {
        [("shard", &self.shard), ("core", &self.core)]
    }

    fn labels_and<'a>(&'a self, name: &'a str, value: &'a str) -> [(&'a str, &'a str); 3] {
        let [shard, core] = self.labels();
        [shard, core, (name, value)]
    }
}

/// A time as Prometheus has them.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.as_secs_f64())
    }
}

/// Text in the making.
#[derive(Default)]
struct Text {
    out: String,
}

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl fmt::Display) {
        self.out += name;
        let mut separator = '{';
        for (label, text) in labels {
            let _ = write!(self.out, "{separator}{label}=\"{}\"", Escaped(text));
            separator = ',';
        }
        let _ = writeln!(self.out, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    /// All figures, those of one name together, as the format demands.
    fn figures(&mut self, snapshot: &Snapshot, places: &[Place]) {
        type Samples<'a> = Vec<(Option<&'a Place>, Figure, u64)>;
        let mut families: BTreeMap<&str, Samples<'_>> = BTreeMap::new();
        let of_shards = snapshot.shards.iter().zip(places);
        let of_shards = of_shards.flat_map(|(shard, place)| {
            shard.figures.iter().map(move |&(figure, value)| (Some(place), figure, value))
        });
        let of_all = snapshot.whole.iter().map(|&(figure, value)| (None, figure, value));
        for sample in of_shards.chain(of_all) {
            families.entry(sample.1.name).or_default().push(sample);
        }
        for (name, samples) in families {
            let Some((_, first, _)) = samples.first() else { continue };
            let (name, kind) = match first.kind {
                Kind::Counter => (format!("pagewire_{name}_total"), "counter"),
                Kind::Gauge => (format!("pagewire_{name}"), "gauge"),
            };
            self.family(&name, kind, first.help);
            for (place, figure, value) in samples {
                let mut labels = Vec::with_capacity(3);
                labels.extend(place.iter().flat_map(|place| place.labels()));
                labels.extend(figure.cause.map(|cause| ("cause", cause)));
                self.sample(&name, &labels, value);
            }
        }
    }

    fn latency(&mut self, snapshot: &Snapshot, places: &[Place]) {
        let name = "pagewire_request_duration_seconds";
        let help = "From when a request is first seen until its response is sent.";
        self.family(name, "histogram", help);
        for (shard, place) in snapshot.shards.iter().zip(places) {
            self.histogram(name, place, &shard.latency);
        }
    }

    fn histogram(&mut self, name: &str, place: &Place, distribution: &Distribution) {
        let bucket = format!("{name}_bucket");
        for power in BUCKETS {
            let end = Seconds(Duration::from_micros(1 << power)).to_string();
            self.sample(&bucket, &place.labels_and("le", &end), distribution.below(1 << power));
        }
        let count = distribution.count();
        self.sample(&bucket, &place.labels_and("le", "+Inf"), count);
        self.sample(&format!("{name}_sum"), &place.labels(), Seconds(distribution.sum()));
        self.sample(&format!("{name}_count"), &place.labels(), count);
    }

    fn census(&mut self, census: &[(&Place, Census)]) {
        let name = "pagewire_connections_by_state";
        self.family(name, "gauge", "Connections by TCP state; estimated where there are many.");
        for (place, census) in census {
            for (state, count) in &census.states {
                self.sample(name, &place.labels_and("state", state.name()), count);
            }
        }
        let name = "pagewire_connections_by_activity";
        self.family(name, "gauge", "Connections by what the server does with them.");
        for (place, census) in census {
            for (activity, count) in &census.activities {
                self.sample(name, &place.labels_and("activity", activity.name()), count);
            }
        }
        let name = "pagewire_connection_rtt_seconds";
        self.family(name, "gauge", "Percentiles of the connections' smoothed round-trip times.");
        for (place, rtt) in census.iter().filter_map(|(place, it)| Some((place, it.rtt?))) {
            self.percentiles(name, place, rtt.map(Seconds));
        }
        let name = "pagewire_connection_cwnd_bytes";
        self.family(name, "gauge", "Percentiles of the connections' congestion windows.");
        for (place, cwnd) in census.iter().filter_map(|(place, it)| Some((place, it.cwnd_bytes?))) {
            self.percentiles(name, place, cwnd);
        }
    }

    fn percentiles<T: fmt::Display, const N: usize>(
        &mut self,
        name: &str,
        place: &Place,
        values: [T; N],
    ) {
        for (percent, value) in PERCENTILES.iter().zip(values) {
            self.sample(name, &place.labels_and("percentile", &percent.to_string()), value);
        }
    }
}

/// A label's value as the format wants it.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            c => f.write_char(c),
        })
    }
}
