//! What a transport tells about itself, for people and their instruments.
//!
//! Asked by its own core, now and then and in small pieces, so that a turn stays short. Nothing here is
//! on the way of a packet.

use std::{fmt, net::SocketAddr, time::Duration};

use pagewire_driver::Instant;

use crate::{ConnectionId, ResidencyCounters, Transport};

/// A transport that can be looked at.
pub trait Observe: Transport {
    /// Tells every figure that it keeps, always all and in the same order.
    fn figures(&self, tell: &mut dyn FnMut(Figure, u64));

    /// How many slots have ever been used: connections have lower numbers.
    fn slots(&self) -> u32;

    /// The connection in a slot, if there is one.
    fn view(&mut self, now: Instant, slot: u32) -> Option<ConnectionView>;
}

/// Whether a figure only ever grows.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    /// It does, from zero at the start.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// What a number means.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Figure {
    /// Its name: lower case, with the unit last. Counters of one name differ in their cause.
    pub name: &'static str,
    /// Why, where there are several causes of the same.
    pub cause: Option<&'static str>,
    /// What it counts, in a sentence.
    pub help: &'static str,
    /// Whether it only grows.
    pub kind: Kind,
}

impl Figure {
    /// A figure that only grows.
    pub const fn counter(name: &'static str, help: &'static str) -> Self {
        Self { name, cause: None, help, kind: Kind::Counter }
    }

    /// A figure that goes up and down.
    pub const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self { name, cause: None, help, kind: Kind::Gauge }
    }

    /// The same for one cause of several.
    #[must_use]
    pub const fn caused_by(self, cause: &'static str) -> Self {
        Self { cause: Some(cause), ..self }
    }
}

/// A connection's state (RFC 9293 section 3.3.2).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ConnectionState {
    /// Our SYN is out.
    SynSent,
    /// A SYN has come and been answered.
    SynReceived,
    /// Open both ways.
    Established,
    /// Our FIN is out.
    FinWait1,
    /// Our FIN is acknowledged.
    FinWait2,
    /// The peer's FIN has come, ours is not out.
    CloseWait,
    /// Both FINs are out, neither is acknowledged.
    Closing,
    /// The peer's FIN came first; ours waits for its acknowledgement.
    LastAck,
    /// Both sides have ended, we first.
    TimeWait,
    /// Gone, or about to be.
    Closed,
}

impl ConnectionState {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::SynSent,
        Self::SynReceived,
        Self::Established,
        Self::FinWait1,
        Self::FinWait2,
        Self::CloseWait,
        Self::Closing,
        Self::LastAck,
        Self::TimeWait,
        Self::Closed,
    ];

    /// Its name, as `ss` writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SynSent => "syn-sent",
            Self::SynReceived => "syn-recv",
            Self::Established => "estab",
            Self::FinWait1 => "fin-wait-1",
            Self::FinWait2 => "fin-wait-2",
            Self::CloseWait => "close-wait",
            Self::Closing => "closing",
            Self::LastAck => "last-ack",
            Self::TimeWait => "time-wait",
            Self::Closed => "closed",
        }
    }
}

impl fmt::Display for ConnectionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One connection, as its transport knows it. What it does not know is none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConnectionView {
    /// Its id.
    pub id: ConnectionId,
    /// The other end.
    pub peer: SocketAddr,
    /// Our end.
    pub local: SocketAddr,
    /// Its state.
    pub state: ConnectionState,
    /// Bytes submitted and not yet sent, in the sense of [`Transport::pending`].
    pub pending_bytes: u64,
    /// Bytes received and not yet consumed.
    pub received_bytes: u64,
    /// Bytes sent and not yet acknowledged.
    pub in_flight_bytes: Option<u64>,
    /// How many bytes may be in flight.
    pub cwnd_bytes: Option<u64>,
    /// The smoothed round-trip time.
    pub rtt: Option<Duration>,
    /// Segments that were sent again.
    pub retransmits: Option<u64>,
    /// For how long nothing has come from the peer.
    pub silent: Option<Duration>,
}

/// What is asked about files, by either transport.
pub(crate) fn tell_residency(counters: &ResidencyCounters, tell: &mut dyn FnMut(Figure, u64)) {
    let ResidencyCounters { looked_up, waited, ahead, renewed, lost, queue_full, failed } =
        *counters;
    let counted = [
        ("disk_windows_looked_up", "Windows of files looked up in the page table.", looked_up),
        ("disk_waits", "Windows of files that a connection had to wait for.", waited),
        ("disk_windows_ahead", "Windows of files requested ahead of need.", ahead),
        ("disk_windows_renewed", "Windows of files looked after while they are in use.", renewed),
        ("disk_windows_lost", "Windows of files in use whose memory the kernel had taken.", lost),
        ("disk_queue_full", "Requests that found the helpers' queue full.", queue_full),
        ("disk_failures", "Windows that could not be read, or whose file changed.", failed),
    ];
    for (name, help, count) in counted {
        tell(Figure::counter(name, help), count);
    }
}
