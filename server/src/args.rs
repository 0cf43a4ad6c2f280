//! The command line: flags, their help and their syntax. What they mean together is in `config`.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use clap::{Parser, Subcommand, ValueEnum};
use pagewire_stack::Prefix;

const EXIT_STATUSES: &str = "\
Exit statuses:
  0  served, and stopped in order
  1  something else failed
  2  wrong usage
  3  not enough privilege
  4  the interface or its driver cannot be used
  5  the address cannot be used
  6  the directory cannot be read

Signals:
  SIGINT, SIGTERM  finish what is being sent, for at most --drain-timeout, then end;
                   a second one ends at once";

/// Serves files over HTTP, on a user-level TCP or the kernel's.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_STATUSES)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the files below a directory over HTTP/1.1.
    #[command(after_help = EXIT_STATUSES)]
    Serve(Box<ServeArgs>),
}

/// Whose TCP carries the connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum TransportName {
    /// The kernel's, with epoll and sendfile; needs no privileges.
    Kernel,
    /// The user-level stack on `AF_XDP` queues of one interface; needs root or capabilities.
    Xdp,
}

/// The flags of `pagewire serve`.
#[derive(Clone, Debug, clap::Args)]
pub struct ServeArgs {
    /// Directory to serve. Nothing outside it is ever sent.
    #[arg(value_name = "DIR")]
    pub root: PathBuf,

    /// Answer 404 for names that start with a dot, such as `.git`, but for `/.well-known`.
    #[arg(long)]
    pub hide_dotfiles: bool,

    /// Whose TCP carries the connections.
    #[arg(long, value_enum, default_value = "kernel")]
    pub transport: TransportName,

    /// Cores to run on, one shard each: `0-1` or `0,2-3`. [default: all that this process may use]
    #[arg(long, value_name = "LIST", value_parser = parse_list)]
    pub cores: Option<NumberList>,

    /// Address to listen on; may be given several times. [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR:PORT", help_heading = "Kernel transport")]
    pub listen: Vec<SocketAddr>,

    /// Congestion control of the kernel's TCP, such as `cubic` or `bbr`. [default: the system's]
    #[arg(long, value_name = "NAME", help_heading = "Kernel transport")]
    pub congestion_control: Option<String>,

    /// Interface whose queues are used.
    #[arg(long, value_name = "IF", help_heading = "XDP transport")]
    pub interface: Option<String>,

    /// Address to serve, with its prefix length: `10.77.0.1/24`; may be given several times. If the
    /// kernel has it too, only the TCP port is taken; if not, ARP, NDP and ICMP are answered as well.
    #[arg(long = "address", value_name = "ADDR/LEN", value_parser = parse_prefix,
        help_heading = "XDP transport")]
    pub addresses: Vec<Prefix>,

    /// TCP port to serve. [default: 80]
    #[arg(long, value_name = "PORT", help_heading = "XDP transport")]
    pub port: Option<u16>,

    /// Queues to serve, one shard each: `0-1`. [default: all of the interface]
    #[arg(long, value_name = "LIST", value_parser = parse_list, help_heading = "XDP transport")]
    pub queues: Option<NumberList>,

    /// Never sleep: less latency for a whole core's time.
    #[arg(long, help_heading = "XDP transport")]
    pub busy: bool,

    /// Connections at once on each core.
    #[arg(long, value_name = "N", default_value_t = 4096, help_heading = "Limits",
        value_parser = clap::value_parser!(u32).range(1..=4_000_000))]
    pub connections: u32,

    /// Largest request head (431, 414), in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 8192, help_heading = "Limits",
        value_parser = clap::value_parser!(u32).range(256..=24_576))]
    pub head_bytes: u32,

    /// Largest request content (413), in bytes. It is read and discarded.
    #[arg(long, value_name = "BYTES", default_value_t = 8192, help_heading = "Limits",
        value_parser = clap::value_parser!(u32).range(0..=24_576))]
    pub body_bytes: u32,

    /// Files that each core keeps open.
    #[arg(long, value_name = "N", default_value_t = 4096, help_heading = "Limits",
        value_parser = clap::value_parser!(u32).range(16..=30_000))]
    pub cache_entries: u32,

    /// Memory that each core fills with small files, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20, help_heading = "Limits")]
    pub cache_bytes: u64,

    /// Threads that open and read files for the cores.
    #[arg(long, value_name = "N", default_value_t = 4, help_heading = "Limits",
        value_parser = clap::value_parser!(u32).range(1..=256))]
    pub disk_threads: u32,

    /// For a request, from its first byte to its last (408).
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_timeout,
        help_heading = "Timeouts")]
    pub head_timeout: Duration,

    /// Without a request; the connection is then closed.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_timeout,
        help_heading = "Timeouts")]
    pub idle_timeout: Duration,

    /// Without the client taking 4 KiB of what is sent to it; the connection is then cut.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_timeout,
        help_heading = "Timeouts")]
    pub send_timeout: Duration,

    /// For what is being sent when the server is told to stop.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_timeout,
        help_heading = "Timeouts")]
    pub drain_timeout: Duration,
}

/// Numbers of cores or queues, in the order given.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NumberList(pub Vec<u32>);

/// Reads `0-1` or `0,2-3`.
///
/// # Errors
///
/// What is wrong, for people.
pub fn parse_list(text: &str) -> Result<NumberList, String> {
    const MOST: u32 = 1024;
    let mut numbers = Vec::new();
    let mut seen = BTreeSet::new();
    for range in text.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (Ok(first), Ok(last)) = (first.parse::<u32>(), last.parse::<u32>()) else {
            return Err(format!("`{range}` is neither a number nor a range such as 0-3"));
        };
        if first > last || last >= MOST {
            return Err(format!("`{range}` is not a rising range below {MOST}"));
        }
        for number in first..=last {
            if !seen.insert(number) {
                return Err(format!("{number} stands in it twice"));
            }
            numbers.push(number);
        }
    }
    Ok(NumberList(numbers))
}

/// Reads `10.77.0.1/24`.
///
/// # Errors
///
/// What is wrong, for people.
pub fn parse_prefix(text: &str) -> Result<Prefix, String> {
    let form = "write it with its prefix length, such as 10.77.0.1/24 or fd77::1/64";
    let (address, length) = text.split_once('/').ok_or(form)?;
    let address: IpAddr = address.parse().map_err(|_| form)?;
    let length = length.parse().map_err(|_| form)?;
    if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
        return Err(format!("{address} is not the address of a host on a network"));
    }
    Prefix::new(address, length).map_err(|error| error.to_string())
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    let range = Duration::from_millis(100)..=Duration::from_hours(24);
    match humantime::parse_duration(text) {
        Ok(timeout) if range.contains(&timeout) => Ok(timeout),
        Ok(_) => Err("it must be between 100ms and 24h".to_owned()),
        Err(error) => Err(format!("{error}; write it with its unit, such as 30s or 500ms")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn lists_are_numbers_and_ranges() {
        let list = |text| parse_list(text).map(|list| list.0).ok();
        assert_eq!(list("0"), Some(vec![0]));
        assert_eq!(list("0-3"), Some(vec![0, 1, 2, 3]));
        assert_eq!(list("2,0-1"), Some(vec![2, 0, 1]));
        for text in ["", "a", "3-1", "0,0", "0-", "-1", "0-2,1", "0-99999999999", "0-1024", "0 1"] {
            assert_eq!(list(text), None, "{text:?}");
        }
    }

    #[test]
    fn prefixes_are_addresses_with_a_length() {
        let text = |text| parse_prefix(text).map(|prefix| (prefix.address(), prefix.length())).ok();
        assert_eq!(text("10.77.0.1/24"), Some(([10, 77, 0, 1].into(), 24)));
        assert_eq!(text("fd77::1/64"), Some(("fd77::1".parse().unwrap(), 64)));
        for bad in ["10.77.0.1", "10.77.0.1/33", "10.77.0.1/x", "0.0.0.0/0", "ff02::1/8", "::1/128"]
        {
            assert_eq!(text(bad), None, "{bad}");
        }
    }

    #[test]
    fn times_have_units() {
        assert_eq!(parse_timeout("1m30s"), Ok(Duration::from_secs(90)));
        for bad in ["", "10", "1ms", "25h", "-1s", "soon"] {
            assert!(parse_timeout(bad).is_err(), "{bad}");
        }
    }
}
