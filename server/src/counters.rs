//! What one shard has done. Written by its core alone, read by anybody.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use pagewire_stack::{CloseReason, Figure};

use crate::{histogram::Histogram, http::Status};

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident: $label:literal,)*) => {
        /// Something that is counted.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum Counter {
            $($(#[doc = $doc])* $name,)*
        }

        impl Counter {
            /// All of them, in the order of their values.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// What it is called in a summary.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }
        }

        const COUNTERS: usize = Counter::ALL.len();
    };
}

counters! {
    /// Connections opened.
    Opened: "connections",
    /// Requests answered, errors included.
    Requests: "requests",
    /// Bytes of responses handed to the transport, heads included.
    Bytes: "bytes",
    /// Responses of 2xx.
    Successes: "2xx",
    /// Responses of 3xx.
    Redirects: "3xx",
    /// Responses of 4xx.
    ClientErrors: "4xx",
    /// Responses of 5xx.
    ServerErrors: "5xx",
    /// Times a request had to wait for a helper.
    Waits: "disk waits",
    /// Heads that took too long.
    HeadTimeouts: "head timeouts",
    /// Requests whose content took too long.
    BodyTimeouts: "body timeouts",
    /// Connections closed because nothing was asked.
    IdleTimeouts: "idle timeouts",
    /// Connections cut because their source has too many.
    SourceRefused: "refused for their source",
    /// Idle and slow connections closed early because there were too many.
    Relieved: "closed for want of room",
    /// Connections cut because the client took too little of what was sent.
    SendTimeouts: "send timeouts",
    /// Lines of the access log handed to its writer.
    LogLines: "log lines",
    /// Lines of the access log lost for want of a buffer: its writer is behind.
    LogLost: "log lines lost",
    /// Connections that ended in order.
    Finished: "finished",
    /// Connections that this side cut.
    Aborted: "aborted",
    /// Connections that the client reset.
    Reset: "reset by peer",
    /// Connections whose client stopped answering.
    TimedOut: "peer timed out",
    /// Connections that could not be opened.
    Unreachable: "unreachable",
    /// Idle connections closed to make room for others.
    Displaced: "displaced",
    /// Connections cut because the file changed while it was sent.
    ContentChanged: "content changed",
    /// Connections cut because the file could not be read.
    ContentUnreadable: "content unreadable",
    /// Turns of the core's loop.
    Turns: "turns",
}

impl Counter {
    /// What counts the ends of connections by this reason.
    pub const fn of_close(reason: CloseReason) -> Self {
        match reason {
            CloseReason::Finished => Self::Finished,
            CloseReason::Aborted => Self::Aborted,
            CloseReason::Reset => Self::Reset,
            CloseReason::TimedOut => Self::TimedOut,
            CloseReason::Unreachable => Self::Unreachable,
            CloseReason::Displaced => Self::Displaced,
            CloseReason::ContentChanged => Self::ContentChanged,
            CloseReason::ContentUnreadable => Self::ContentUnreadable,
        }
    }

    /// What it is in metrics.
    pub const fn figure(self) -> Figure {
        let responses = Figure::counter("responses", "Responses, by the class of their status.");
        let timeouts = Figure::counter("timeouts", "Connections ended for slowness, by the limit.");
        let ended = Figure::counter("connections_ended", "Connections ended, by how.");
        match self {
            Self::Opened => Figure::counter("connections_opened", "Connections opened."),
            Self::Requests => Figure::counter("requests", "Requests answered, errors included."),
            Self::Bytes => Figure::counter("response_bytes", "Bytes of responses, heads included."),
            Self::Successes | Self::Redirects | Self::ClientErrors | Self::ServerErrors => {
                responses.caused_by(self.label())
            }
            Self::Waits => Figure::counter("request_waits", "Requests that waited for a helper."),
            Self::HeadTimeouts => timeouts.caused_by("head"),
            Self::BodyTimeouts => timeouts.caused_by("body"),
            Self::SourceRefused => {
                Figure::counter("connections_refused", "Connections beyond their source's share.")
            }
            Self::Relieved => Figure::counter(
                "connections_relieved",
                "Idle and slow connections closed early because there were too many.",
            ),
            Self::IdleTimeouts => timeouts.caused_by("idle"),
            Self::SendTimeouts => timeouts.caused_by("send"),
            Self::Turns => Figure::counter("turns", "Turns of the core's loop."),
            Self::LogLines => Figure::counter("access_log_lines", "Lines of the access log."),
            Self::LogLost => Figure::counter(
                "access_log_lines_lost",
                "Lines of the access log lost since its writer was behind.",
            ),
            Self::Finished
            | Self::Aborted
            | Self::Reset
            | Self::TimedOut
            | Self::Unreachable
            | Self::Displaced
            | Self::ContentChanged
            | Self::ContentUnreadable => ended.caused_by(self.label()),
        }
    }
}

/// The counters of one shard, on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counters {
    values: [AtomicU64; COUNTERS],
    /// From when a request is first seen until its response, with all that were queued before it, is
    /// sent.
    pub latency: Histogram,
}

impl Counters {
    /// Adds to a counter. For the shard's own thread alone: it is not a read-modify-write.
    pub fn add(&self, counter: Counter, amount: u64) {
        let value = &self.values[counter as usize];
        value.store(value.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    /// The value of a counter.
    pub fn get(&self, counter: Counter) -> u64 {
        self.values[counter as usize].load(Ordering::Relaxed)
    }

    /// Counts a response.
    pub fn add_response(&self, status: Status, bytes: u64) {
        self.add(Counter::Requests, 1);
        self.add(Counter::Bytes, bytes);
        let class = match status.code() {
            ..300 => Counter::Successes,
            300..400 => Counter::Redirects,
            400..500 => Counter::ClientErrors,
            500.. => Counter::ServerErrors,
        };
        self.add(class, 1);
    }

    /// Counts the end of a connection.
    pub fn add_closed(&self, reason: CloseReason) {
        self.add(Counter::of_close(reason), 1);
    }
}

/// The first three always, the others where they are not zero.
impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (index, &counter) in Counter::ALL.iter().enumerate() {
            let value = self.get(counter);
            if index < 3 || value > 0 {
                write!(f, "{separator}{} {value}", counter.label())?;
                separator = ", ";
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_names_what_happened() {
        let counters = Counters::default();
        assert_eq!(counters.to_string(), "connections 0, requests 0, bytes 0");
        counters.add_response(Status::NotFound, 300);
        counters.add_closed(CloseReason::Reset);
        let summary = "connections 0, requests 1, bytes 300, 4xx 1, reset by peer 1";
        assert_eq!(counters.to_string(), summary);
    }
}
