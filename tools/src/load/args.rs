//! The command line of `pw load`: flags, their help, and the plan that they come to.

#![expect(
    clippy::doc_markdown,
    reason = "doc comments here are help texts, which know no markdown"
)]

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::ValueEnum;
use pagewire::settings::{NumberList, parse_list, parse_prefix};
use pagewire_driver::Interface;
use pagewire_stack::Prefix;

use super::{
    LoadError, Pace, Plan, TransportPlan, Verify, Workload, content, requests,
    requests::Weighted,
    target::{is_path, split_url},
};

/// What `pw load --help` ends with.
pub const AFTER_HELP: &str = "\
Exit statuses:
  0  every request was answered as it should be
  1  the run could not start, or its report not be written
  2  wrong usage
  3  some requests failed, or --requests could not all be sent within --duration
  4  no request was answered as it should be
  5  the target is refused: it may be another machine
  130  ended by a signal; the report is of what was done until then

Examples:
  pw load http://127.0.0.1:8080/index.html
  pw load http://127.0.0.1:8080/ --rate 5000 --duration 30s --json result.json
  pw lab run client -- pw load http://10.77.0.1/ --transport xdp --interface pw0 \\
      --address 10.77.0.3/24 --queues 0";

/// Whose TCP carries the connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum TransportName {
    Kernel,
    Xdp,
}

/// The flags of `pw load`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct LoadArgs {
    /// What to ask for: http://HOST[:PORT]/PATH, all of the same server, each as often as the others
    #[arg(value_name = "URL", required = true)]
    urls: Vec<String>,

    /// Connections at once, of all cores together
    #[arg(short, long, value_name = "N", default_value_t = 64)]
    connections: usize,

    /// Open loop: start so many requests a second, whatever becomes of them
    ///
    /// A latency then counts from when its request should have started, so that a stall of the server
    /// shows in all that it has delayed. Without it, the loop is closed: each connection asks again as
    /// soon as it is answered.
    #[arg(short, long, value_name = "R")]
    rate: Option<f64>,

    /// Start requests for this long [default: 10s; with --requests 10m]
    #[arg(short, long, value_name = "TIME", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,

    /// Start so many requests, unless --duration ends first
    #[arg(short = 'n', long, value_name = "N")]
    requests: Option<u64>,

    /// A connection for each request; latencies include connecting
    #[arg(long, conflicts_with = "pipeline")]
    close: bool,

    /// Requests under way on a connection at once
    #[arg(long, value_name = "N", default_value_t = 1)]
    pipeline: usize,

    /// How long a connection attempt, or a response, may bring nothing
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    timeout: Duration,

    /// Further URLs or paths, one a line, each with an optional weight: `/index.html 3`
    #[arg(long, value_name = "FILE", help_heading = "What is asked for")]
    urls_from: Option<PathBuf>,

    /// Ask by Zipf's law, the first URL the most popular: the k-th in proportion to 1/k^S
    #[arg(long, value_name = "S", help_heading = "What is asked for")]
    zipf: Option<f64>,

    /// Replay the GETs of an access log (common or combined format), in order, over and over
    ///
    /// Those that were answered with 200, 206 or 304 are asked for, from the server of the URL, whose
    /// own path is not.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["urls_from", "zipf"],
        help_heading = "What is asked for")]
    access_log: Option<PathBuf>,

    /// Another header line: `Accept-Encoding: gzip`; may be given several times
    #[arg(short = 'H', long, value_name = "LINE", help_heading = "What is asked for")]
    header: Vec<String>,

    /// What random choices follow from
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "What is asked for")]
    seed: u64,

    /// The status that every response must have
    #[arg(long, value_name = "STATUS", default_value_t = 200, help_heading = "Checks",
        value_parser = clap::value_parser!(u16).range(200..600))]
    expect: u16,

    /// Compare the content of every response with the first one to the same URL
    ///
    /// That a response is as long as it says, and as long as the first, is always checked.
    #[arg(long, help_heading = "Checks")]
    verify: bool,

    /// The same, and the first by a list as sha256sum writes it, of paths below the server's root
    #[arg(long, value_name = "FILE", help_heading = "Checks")]
    sha256: Option<PathBuf>,

    /// Whose TCP carries the connections: the kernel's, or the user-level stack on AF_XDP queues
    ///
    /// The user-level stack needs root, addresses of its own, and a server whose packets have whole
    /// checksums and are no longer than the MTU: in a lab, `pw lab up --offloads off`.
    #[arg(long, value_enum, default_value = "kernel", help_heading = "Transport")]
    transport: TransportName,

    /// Cores to run on, one thread each: `0-1` or `0,2-3` [default: the last one, or the last ones for
    /// as many queues]
    #[arg(long, value_name = "LIST", value_parser = parse_list, help_heading = "Transport")]
    cores: Option<NumberList>,

    /// Kernel: where connections come from, by turns: `10.77.0.2` or `127.0.0.2-127.0.0.9`; may be
    /// given several times
    ///
    /// Each address gives some 28,000 connections to one server at once (net.ipv4.ip_local_port_range).
    #[arg(long, value_name = "ADDR", value_parser = parse_addresses, help_heading = "Transport")]
    local_address: Vec<Addresses>,

    /// XDP: interface whose queues are used
    #[arg(long, value_name = "IF", help_heading = "Transport")]
    interface: Option<String>,

    /// XDP: an address that nobody has, with its prefix length: `10.77.0.3/24`; up to 8 times, each
    /// for some 16,000 connections at once
    #[arg(long = "address", value_name = "ADDR/LEN", value_parser = parse_prefix,
        help_heading = "Transport")]
    addresses: Vec<Prefix>,

    /// XDP: queues, one core each [default: all of the interface, as responses may come by any]
    #[arg(long, value_name = "LIST", value_parser = parse_list, help_heading = "Transport")]
    queues: Option<NumberList>,

    /// Write the report as JSON to a file, or `-` for standard output
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub(super) json: Option<PathBuf>,

    /// The server may be another machine: it is mine, and prepared for this
    ///
    /// Without it, only loopback addresses and those of labs (10.77.0.0/24, 10.78.0.0/24, fd77::/64,
    /// fd78::/64, and only by a veth) are loaded.
    #[arg(long)]
    i_own_this_target: bool,
}

/// Addresses of a range.
#[derive(Clone, Debug)]
struct Addresses(Vec<IpAddr>);

fn parse_addresses(text: &str) -> Result<Addresses, String> {
    const MOST: u32 = 4_096;
    let form = "write an address, or a range such as 127.0.0.2-127.0.0.9";
    let Some((first, last)) = text.split_once('-') else {
        return Ok(Addresses(vec![text.parse().map_err(|_| form)?]));
    };
    let number = |text: &str| text.parse::<Ipv4Addr>().map(Ipv4Addr::to_bits).map_err(|_| form);
    let (first, last) = (number(first)?, number(last)?);
    if first > last || last - first >= MOST {
        return Err(format!("a range goes up, over at most {MOST} addresses"));
    }
    Ok(Addresses((first..=last).map(|bits| IpAddr::V4(bits.into())).collect()))
}

fn read(path: &Path) -> Result<String, LoadError> {
    let bytes =
        fs::read(path).map_err(|source| LoadError::File { path: path.to_owned(), source })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

impl LoadArgs {
    /// What they come to.
    ///
    /// # Errors
    ///
    /// [`LoadError::Usage`] or [`LoadError::File`].
    pub fn plan(&self) -> Result<Plan, LoadError> {
        let first = self.urls.first().map_or("", String::as_str);
        let plan = Plan::new(first)?;
        let transport = self.transport()?;
        let queues = match &transport {
            TransportPlan::Kernel { .. } => 1,
            TransportPlan::Xdp { queues, .. } => queues.len(),
        };
        let pace = self.rate.map_or(Pace::Closed, |rate_per_s| Pace::Open { rate_per_s });
        let default = Duration::from_secs(if self.requests.is_some() { 600 } else { 10 });
        let verify = match &self.sha256 {
            Some(path) => Verify::Sha256(content::parse_sha256(&read(path)?)?),
            None if self.verify => Verify::First,
            None => Verify::Length,
        };
        Ok(Plan {
            workload: self.workload(first)?,
            headers: self.header.clone(),
            transport,
            cores: self.cores(queues)?,
            connections: self.connections,
            pace,
            duration: self.duration.unwrap_or(default),
            requests_max: self.requests,
            close: self.close,
            pipeline: self.pipeline,
            timeout: self.timeout,
            expect: self.expect,
            verify,
            seed: self.seed,
            i_own_this_target: self.i_own_this_target,
            ..plan
        })
    }

    fn workload(&self, first: &str) -> Result<Workload, LoadError> {
        if let Some(path) = &self.access_log {
            let (workload, left_out) = Workload::access_log(&read(path)?)?;
            if left_out > 0 {
                eprintln!("pw: {left_out} lines of the access log are left out: no answered GETs");
            }
            return Ok(workload);
        }
        let (authority, _) = split_url(first)?;
        let mut list: Vec<_> =
            self.urls.iter().map(|url| Weighted { path: url.clone(), weight: 1.0 }).collect();
        if let Some(path) = &self.urls_from {
            list.extend(requests::parse_list(&read(path)?)?);
        }
        for entry in &mut list {
            if is_path(&entry.path) {
                continue;
            }
            let (server, path) = split_url(&entry.path)?;
            if server != authority {
                return Err(LoadError::Usage(format!(
                    "{server} and {authority} are different servers: run `pw load` once for each"
                )));
            }
            entry.path = path.to_owned();
        }
        match self.zipf {
            Some(exponent) => {
                Workload::zipf(list.into_iter().map(|it| it.path).collect(), exponent)
            }
            None => Workload::weighted(list),
        }
    }

    fn transport(&self) -> Result<TransportPlan, LoadError> {
        let usage = |text: &str| Err(LoadError::Usage(text.to_owned()));
        let of_xdp =
            self.interface.is_some() || !self.addresses.is_empty() || self.queues.is_some();
        match self.transport {
            TransportName::Kernel if of_xdp => {
                usage("--interface, --address and --queues go with --transport xdp")
            }
            TransportName::Kernel => {
                let addresses = self.local_address.iter().flat_map(|it| it.0.iter().copied());
                Ok(TransportPlan::Kernel { local_addresses: addresses.collect() })
            }
            TransportName::Xdp if !self.local_address.is_empty() => {
                usage("--local-address goes with --transport kernel; --transport xdp has --address")
            }
            TransportName::Xdp => {
                let Some(interface) = self.interface.clone() else {
                    return usage("--transport xdp needs --interface, such as pw0 in a lab");
                };
                let queues = match &self.queues {
                    Some(NumberList(queues)) => queues.clone(),
                    None => (0..Interface::find(&interface)?.queues()).collect(),
                };
                Ok(TransportPlan::Xdp { interface, addresses: self.addresses.clone(), queues })
            }
        }
    }

    fn cores(&self, count: usize) -> Result<Vec<usize>, LoadError> {
        let ids = core_affinity::get_core_ids().unwrap_or_default();
        let available: Vec<_> = ids.into_iter().map(|core| core.id).collect();
        let Some(NumberList(cores)) = &self.cores else {
            let Some(first) = available.len().checked_sub(count) else {
                return Err(LoadError::Usage(format!(
                    "{count} queues need as many cores, and there are {}; name with --cores those to \
                     use, or make an interface of fewer queues",
                    available.len()
                )));
            };
            return Ok(available[first..].to_vec());
        };
        let cores: Vec<_> = cores.iter().map(|&core| core as usize).collect();
        match cores.iter().find(|core| !available.contains(core)) {
            Some(missing) => Err(LoadError::Usage(format!(
                "core {missing} of --cores is not one that this process may run on; choose from \
                 {available:?}"
            ))),
            None => Ok(cores),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: LoadArgs,
    }

    fn plan(words: &str) -> Result<Plan, String> {
        let words = std::iter::once("load").chain(words.split_whitespace());
        let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
        cli.args.plan().map_err(|error| error.to_string())
    }

    #[test]
    fn flags_come_to_a_plan() {
        let plan = plan("http://127.0.0.1:81/a http://127.0.0.1:81/b -c 8 -r 100 -n 5").unwrap();
        assert_eq!(plan.target.address, "127.0.0.1:81".parse().unwrap());
        assert_eq!(plan.workload.paths(), ["/a", "/b"]);
        assert_eq!((plan.connections, plan.requests_max), (8, Some(5)));
        assert_eq!(plan.pace, Pace::Open { rate_per_s: 100.0 });
        assert_eq!(plan.duration, Duration::from_mins(10), "bounded all the same");
        assert_eq!(plan.cores.len(), 1);
    }

    #[test]
    fn flags_that_do_not_go_together_are_refused() {
        for bad in [
            "http://127.0.0.1/ http://127.0.0.2/",
            "http://127.0.0.1/ --close --pipeline 2",
            "http://127.0.0.1/ --address 10.77.0.3/24",
            "http://127.0.0.1/ --transport xdp",
            "http://127.0.0.1/ --transport xdp --interface pw0 --local-address 127.0.0.2",
            "http://127.0.0.1/ --transport xdp --interface nothere0",
            "http://127.0.0.1/ --cores 1000",
            "http://127.0.0.1/ --duration 5",
            "http://127.0.0.1/ --access-log a --zipf 1",
            "",
        ] {
            assert!(plan(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn local_addresses_are_single_or_ranges() {
        let count = |text| parse_addresses(text).map(|it| it.0.len()).ok();
        assert_eq!(count("127.0.0.2"), Some(1));
        assert_eq!(count("fd77::2"), Some(1));
        assert_eq!(count("127.0.0.2-127.0.0.9"), Some(8));
        for bad in ["", "x", "127.0.0.9-127.0.0.2", "10.0.0.0-10.255.0.0", "fd77::1-fd77::2"] {
            assert_eq!(count(bad), None, "{bad}");
        }
    }
}
