//! What is said on the control socket: a request is one line of JSON, an answer one or several.
//!
//! ```text
//! → {"version":1,"ask":"about"}
//! ← {"about":{"version":1,"server":"0.1.0","pid":4711,"transport":"xdp",…}}
//! → {"version":1,"ask":"connections","state":"estab","limit":2}
//! ← {"connection":{"shard":0,"peer":"192.0.2.7:40112",…}}
//! ← {"connection":{"shard":1,"peer":"192.0.2.9:51034",…}}
//! ← {"end":{"shown":2,"looked_at":311,"complete":false}}
//! → {"version":1,"ask":"deny","network":"192.0.2.0/24"}
//! ← {"changed":true}
//! ```
//!
//! Several requests may follow each other on one connection. A request of another version is answered
//! by an error that names ours. Whoever reads must bear fields that it does not know.

use std::{borrow::Cow, net::SocketAddr, time::Duration};

use pagewire_stack::{ConnectionState, Figure, Kind, Prefix};
use serde::{Deserialize, Serialize};

use super::{
    census,
    observer::{Observer, ShardSnapshot},
};
use crate::{
    histogram::Distribution,
    shard::inquiry::{Activity, Row},
};

/// The version of this protocol. It changes when what is there changes its meaning.
pub const VERSION: u32 = 1;

/// Longest request, in bytes.
pub const REQUEST_BYTES: usize = 4096;

/// Most connections that one request is answered with.
pub const MOST_CONNECTIONS: u32 = 1_000_000;

/// A request.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Request {
    /// The version of the protocol that the asker speaks.
    pub version: u32,
    /// What is asked.
    #[serde(flatten)]
    pub ask: Ask,
}

/// What is asked.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Ask {
    /// What the server is: [`Answer::About`].
    About,
    /// All figures: [`Answer::Figures`].
    Figures,
    /// Connections: an [`Answer::Connection`] for each, and [`Answer::End`].
    Connections(Filter),
    /// Drops from now on what comes from a network: [`Answer::Changed`].
    Deny {
        /// An address, or a network such as `192.0.2.0/24`.
        network: String,
    },
    /// Takes a network off the deny list, as it was put there: [`Answer::Changed`].
    Allow {
        /// As in [`Ask::Deny`].
        network: String,
    },
    /// The deny list: [`Answer::Denied`].
    Denied,
}

/// Which connections are asked for: those that fulfil all that is given.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Filter {
    /// In this TCP state, such as `estab`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// With which the server does this, such as `sending`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activity: Option<String>,
    /// Whose peer is this address, or in this network: `192.0.2.0/24`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// On this shard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard: Option<usize>,
    /// No more than so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Look at no more than so many slots of each shard, evenly spread: a sample.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<u32>,
}

/// One line of an answer.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// To [`Ask::About`].
    About(About),
    /// To [`Ask::Figures`].
    Figures(Figures),
    /// To [`Ask::Connections`].
    Connection(Box<Connection>),
    /// After the last connection.
    End(End),
    /// To [`Ask::Deny`] and [`Ask::Allow`]: whether the list is another than before.
    Changed(bool),
    /// To [`Ask::Denied`]: networks, IPv4 first, in order.
    Denied(Vec<String>),
    /// There is no other answer, for this reason.
    Error(String),
}

/// What a server is.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct About {
    /// The version of the protocol.
    pub version: u32,
    /// The version of the server.
    pub server: Cow<'static, str>,
    /// Its process.
    pub pid: u32,
    /// Whose TCP carries the connections.
    pub transport: Cow<'static, str>,
    /// Where it listens.
    pub addresses: Vec<SocketAddr>,
    /// The core of each shard.
    pub cores: Vec<usize>,
}

/// All figures at a moment.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Figures {
    /// For how long the server has run.
    pub uptime_seconds: f64,
    /// By shard.
    pub shards: Vec<ShardFigures>,
    /// What is no shard's: the interface, what was done with frames before them, and the access log.
    pub whole: Vec<Value>,
}

/// The figures of a shard.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ShardFigures {
    /// The core that it runs on.
    pub core: usize,
    /// Whether the core has answered. Without, only what the server has counted is known.
    pub answered: bool,
    /// Its figures.
    pub figures: Vec<Value>,
    /// How long requests took.
    pub latency: Latency,
    /// What its connections are doing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub census: Option<Census>,
}

/// What the connections of a shard are doing; estimated where there are many.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Census {
    /// How many there are in each state of TCP.
    pub states: Vec<(Cow<'static, str>, u64)>,
    /// With how many the server does what.
    pub activities: Vec<(Cow<'static, str>, u64)>,
    /// The 50th, 90th and 99th percentile of smoothed round-trip times.
    pub rtt_seconds: Option<[f64; 3]>,
    /// The same of congestion windows.
    pub cwnd_bytes: Option<[u64; 3]>,
}

/// A figure's value.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Value {
    /// Its name.
    pub name: Cow<'static, str>,
    /// Why, where there are several causes of the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cow<'static, str>>,
    /// `counter` or `gauge`.
    pub kind: Cow<'static, str>,
    /// Its value.
    pub value: u64,
}

/// How long something took.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Latency {
    /// The sum, in microseconds.
    pub sum_us: u64,
    /// Buckets that are not empty: microseconds that all in it are below, and how many.
    pub buckets: Vec<(u64, u64)>,
}

/// A connection. Times are in seconds; what is not known is absent.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Connection {
    /// The shard that has it.
    pub shard: usize,
    /// The other end.
    pub peer: SocketAddr,
    /// Our end.
    pub local: SocketAddr,
    /// The state of its TCP.
    pub state: Cow<'static, str>,
    /// What the server does with it.
    pub activity: Cow<'static, str>,
    /// Bytes submitted and not yet sent.
    pub pending_bytes: u64,
    /// Bytes received and not yet consumed.
    pub received_bytes: u64,
    /// Bytes sent and not yet acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight_bytes: Option<u64>,
    /// How many bytes may be in flight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwnd_bytes: Option<u64>,
    /// The smoothed round-trip time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_seconds: Option<f64>,
    /// Segments that were sent again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retransmits: Option<u64>,
    /// For how long nothing has come from the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent_seconds: Option<f64>,
}

/// The end of a list of connections.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct End {
    /// How many were told.
    pub shown: u64,
    /// How many were looked at.
    pub looked_at: u64,
    /// Whether that were all: no limit was reached, nothing left out, and every core has answered.
    pub complete: bool,
}

impl Request {
    /// A request in our version.
    pub const fn new(ask: Ask) -> Self {
        Self { version: VERSION, ask }
    }
}

impl About {
    /// What is seen by `observer`.
    pub fn of(observer: &Observer) -> Self {
        let about = observer.about();
        Self {
            version: VERSION,
            server: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            transport: about.transport.into(),
            addresses: about.addresses.clone(),
            cores: observer.cores().collect(),
        }
    }
}

impl Figures {
    /// What is seen by `observer`.
    pub fn of(observer: &Observer) -> Self {
        let snapshot = observer.snapshot();
        let shards = snapshot.shards.iter().enumerate().map(|(number, shard)| {
            let census = shard.answered.then(|| census::Census::of(observer, number)).flatten();
            let census = census.as_ref().map(Census::from);
            ShardFigures { census, ..ShardFigures::from(shard) }
        });
        Self {
            uptime_seconds: snapshot.uptime.as_secs_f64(),
            shards: shards.collect(),
            whole: snapshot.whole.iter().map(Value::from).collect(),
        }
    }
}

impl From<&ShardSnapshot> for ShardFigures {
    fn from(shard: &ShardSnapshot) -> Self {
        Self {
            core: shard.core,
            answered: shard.answered,
            figures: shard.figures.iter().map(Value::from).collect(),
            latency: Latency {
                sum_us: u64::try_from(shard.latency.sum().as_micros()).unwrap_or(u64::MAX),
                buckets: shard.latency.buckets().collect(),
            },
            census: None,
        }
    }
}

impl From<&census::Census> for Census {
    fn from(census: &census::Census) -> Self {
        let named = |(name, count): (&'static str, u64)| (Cow::from(name), count);
        Self {
            states: census.states.iter().map(|it| named((it.0.name(), it.1))).collect(),
            activities: census.activities.iter().map(|it| named((it.0.name(), it.1))).collect(),
            rtt_seconds: census.rtt.map(|rtt| rtt.map(|it| it.as_secs_f64())),
            cwnd_bytes: census.cwnd_bytes,
        }
    }
}

impl From<&(Figure, u64)> for Value {
    fn from(&(figure, value): &(Figure, u64)) -> Self {
        let kind = match figure.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let cause = figure.cause.map(Cow::from);
        Self { name: figure.name.into(), cause, kind: kind.into(), value }
    }
}

impl From<&Latency> for Distribution {
    fn from(latency: &Latency) -> Self {
        Self::from_buckets(latency.buckets.iter().copied(), latency.sum_us)
    }
}

impl Connection {
    /// A row of a shard.
    pub fn of(shard: usize, row: &Row) -> Self {
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        Self {
            shard,
            peer: row.view.peer,
            local: row.view.local,
            state: row.view.state.name().into(),
            activity: row.activity.name().into(),
            pending_bytes: row.view.pending_bytes,
            received_bytes: row.view.received_bytes,
            in_flight_bytes: row.view.in_flight_bytes,
            cwnd_bytes: row.view.cwnd_bytes,
            rtt_seconds: seconds(row.view.rtt),
            retransmits: row.view.retransmits,
            silent_seconds: seconds(row.view.silent),
        }
    }
}

/// A [`Filter`] that has been understood.
#[derive(Clone, Copy, Debug)]
pub struct Selection {
    state: Option<ConnectionState>,
    activity: Option<Activity>,
    peer: Option<Prefix>,
}

impl Selection {
    /// Understands a filter.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and what there is.
    pub fn new(filter: &Filter) -> Result<Self, String> {
        let state = filter.state.as_deref();
        let state = state.map(|name| named(&ConnectionState::ALL, ConnectionState::name, name));
        let activity = filter.activity.as_deref();
        let activity = activity.map(|name| named(&Activity::ALL, Activity::name, name));
        let peer = filter.peer.as_deref().map(parse_network);
        Ok(Self {
            state: state.transpose()?,
            activity: activity.transpose()?,
            peer: peer.transpose()?,
        })
    }

    /// Whether a row fulfils it.
    pub fn accepts(&self, row: &Row) -> bool {
        self.state.is_none_or(|state| row.view.state == state)
            && self.activity.is_none_or(|activity| row.activity == activity)
            && self.peer.is_none_or(|network| network.contains(row.view.peer.ip()))
    }
}

fn named<T: Copy>(all: &[T], name_of: fn(T) -> &'static str, name: &str) -> Result<T, String> {
    all.iter().copied().find(|&one| name_of(one) == name).ok_or_else(|| {
        let names: Vec<_> = all.iter().map(|&one| name_of(one)).collect();
        format!("there is no `{name}`; there are {}", names.join(", "))
    })
}

/// An address, or a network as `192.0.2.0/24`.
///
/// # Errors
///
/// What it should be.
pub fn parse_network(text: &str) -> Result<Prefix, String> {
    let wrong = || format!("`{text}` is neither an address nor a network such as 192.0.2.0/24");
    let (address, length) = text.split_once('/').map_or((text, None), |(a, l)| (a, Some(l)));
    let address: std::net::IpAddr = address.parse().map_err(|_| wrong())?;
    let whole = if address.is_ipv4() { 32 } else { 128 };
    let length = length.map_or(Ok(whole), str::parse).map_err(|_| wrong())?;
    Prefix::new(address, length).map_err(|_| wrong())
}
