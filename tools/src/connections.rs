//! `pw connections`: the connections of a running server as a list, for eyes and scripts.

use std::io::{self, Write};

use clap::{Args, ValueEnum};
use pagewire::control::protocol::{Connection, Filter};

use crate::{
    control::{Client, ControlError, Which},
    quantity::{bytes, seconds},
};

/// Which connections of which server, and how they are told
#[derive(Clone, Debug, Args)]
pub struct ConnectionsArgs {
    #[command(flatten)]
    which: Which,
    /// One JSON object a line, with all that is known
    #[arg(long)]
    json: bool,
    /// Only those in this TCP state, such as estab or close-wait
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// Only those with which the server does this: idle, reading, finding, sending, ending
    #[arg(long, value_name = "WHAT")]
    activity: Option<String>,
    /// Only those with this peer: an address, or a network such as 192.0.2.0/24
    #[arg(long, value_name = "ADDR[/LEN]")]
    peer: Option<String>,
    /// Only those on this shard
    #[arg(long, value_name = "N")]
    shard: Option<usize>,
    /// No more than so many
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// The largest first; without, as they come
    #[arg(long, value_enum, value_name = "BY")]
    sort: Option<Column>,
    /// Only say how many there are
    #[arg(long, conflicts_with_all = ["json", "sort"])]
    count: bool,
}

/// What connections can be sorted by.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Column {
    /// Bytes to be sent
    Pending,
    /// Round-trip time
    Rtt,
    /// Congestion window
    Cwnd,
    /// Bytes in flight
    Flight,
    /// Segments sent again
    Retransmits,
    /// Time since the peer was heard
    Silent,
    /// The peer's address, the smallest first
    Peer,
    /// The state, by its name
    State,
}

impl Column {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Pending,
        Self::Rtt,
        Self::Cwnd,
        Self::Flight,
        Self::Retransmits,
        Self::Silent,
        Self::Peer,
        Self::State,
    ];

    /// Sorts by it: numbers the largest first, the rest the smallest; unknown values last.
    pub fn sort(self, rows: &mut [Connection]) {
        let largest = |rows: &mut [Connection], of: fn(&Connection) -> Option<f64>| {
            let of = |row: &Connection| of(row).unwrap_or(-1.0);
            rows.sort_by(|a, b| of(b).total_cmp(&of(a)));
        };
        match self {
            Self::Pending => largest(rows, |row| Some(row.pending_bytes as f64)),
            Self::Rtt => largest(rows, |row| row.rtt_seconds),
            Self::Cwnd => largest(rows, |row| row.cwnd_bytes.map(|it| it as f64)),
            Self::Flight => largest(rows, |row| row.in_flight_bytes.map(|it| it as f64)),
            Self::Retransmits => largest(rows, |row| row.retransmits.map(|it| it as f64)),
            Self::Silent => largest(rows, |row| row.silent_seconds),
            Self::Peer => rows.sort_by_key(|row| row.peer),
            Self::State => rows.sort_by(|a, b| a.state.cmp(&b.state)),
        }
    }
}

/// Does what `args` say.
///
/// # Errors
///
/// Any [`ControlError`].
pub fn run(args: &ConnectionsArgs) -> Result<(), ControlError> {
    let mut client = Client::connect(&args.which.find()?)?;
    let filter = Filter {
        state: args.state.clone(),
        activity: args.activity.clone(),
        peer: args.peer.clone(),
        shard: args.shard,
        // What is sorted is all looked at.
        limit: args.limit.filter(|_| args.sort.is_none() || args.count),
        sample: None,
    };
    let mut out = io::BufWriter::new(io::stdout().lock());
    let told = tell(args, &mut client, filter, &mut out).and_then(|()| Ok(out.flush()?));
    match told {
        // A reader that has seen enough is no failure.
        Err(ControlError::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

fn tell(
    args: &ConnectionsArgs,
    client: &mut Client,
    filter: Filter,
    out: &mut impl Write,
) -> Result<(), ControlError> {
    let mut rows = Vec::new();
    let mut count = 0u64;
    let mut is_begun = args.json || args.count;
    let mut begin = |out: &mut dyn Write| {
        if !std::mem::replace(&mut is_begun, true) {
            writeln!(out, "{HEADER}")?;
        }
        io::Result::Ok(())
    };
    let end = client.connections(filter, |row| {
        count += 1;
        match args.sort {
            Some(_) => rows.push(row),
            None if args.count => {}
            None => {
                begin(out)?;
                write_row(out, &row, args.json)?;
            }
        }
        Ok(())
    })?;
    // Also above nothing, but not above an error.
    begin(out)?;
    if let Some(column) = args.sort {
        column.sort(&mut rows);
        for row in rows.iter().take(args.limit.map_or(usize::MAX, |limit| limit as usize)) {
            write_row(out, row, args.json)?;
        }
    }
    if args.count {
        writeln!(out, "{count}")?;
    }
    if !end.complete && args.limit.is_none() {
        eprintln!("pw: not all shards have answered; there may be more");
    }
    Ok(())
}

const HEADER: &str =
    "STATE      DOES     SHARD     RTT    CWND  FLIGHT PENDING REXMIT SILENT PEER > LOCAL";

fn write_row(out: &mut impl Write, row: &Connection, json: bool) -> io::Result<()> {
    if json {
        serde_json::to_writer(&mut *out, row)?;
        return writeln!(out);
    }
    let of = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), bytes);
    let time = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), seconds);
    writeln!(
        out,
        "{:<10} {:<8} {:>5} {:>7} {:>7} {:>7} {:>7} {:>6} {:>6} {} > {}",
        row.state,
        row.activity,
        row.shard,
        time(row.rtt_seconds),
        of(row.cwnd_bytes),
        of(row.in_flight_bytes),
        bytes(row.pending_bytes),
        row.retransmits.map_or_else(|| "-".to_owned(), |count| count.to_string()),
        time(row.silent_seconds),
        row.peer,
        row.local,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(peer: &str, rtt_seconds: Option<f64>) -> Connection {
        Connection {
            shard: 0,
            peer: peer.parse().unwrap(),
            local: "192.0.2.1:80".parse().unwrap(),
            state: "estab".into(),
            activity: "sending".into(),
            pending_bytes: 1 << 20,
            received_bytes: 0,
            in_flight_bytes: Some(29_200),
            cwnd_bytes: None,
            rtt_seconds,
            retransmits: Some(3),
            silent_seconds: Some(0.25),
        }
    }

    #[test]
    fn rows_stand_under_their_titles() {
        let mut out = Vec::new();
        write_row(&mut out, &row("192.0.2.7:4711", Some(0.0123)), false).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "estab      sending      0  12.3ms       -   28.5K    1.0M      3  250ms \
             192.0.2.7:4711 > 192.0.2.1:80\n"
        );
    }

    #[test]
    fn what_is_not_known_comes_last() {
        let mut rows =
            [row("1.0.0.3:1", None), row("1.0.0.1:1", Some(0.1)), row("1.0.0.2:1", Some(0.2))];
        Column::Rtt.sort(&mut rows);
        assert_eq!(
            rows.each_ref().map(|row| row.peer.ip().to_string()),
            ["1.0.0.2", "1.0.0.1", "1.0.0.3"]
        );
        Column::Peer.sort(&mut rows);
        assert_eq!(rows[0].rtt_seconds, Some(0.1));
    }
}
