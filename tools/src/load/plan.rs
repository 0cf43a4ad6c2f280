//! What to load, how, and for how long.

use std::{net::IpAddr, time::Duration};

use pagewire_stack::Prefix;

use super::{
    LoadError,
    content::Verify,
    requests::{self, Weighted, Workload},
    target::{self, Target},
};

/// When requests are started.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// As soon as the one before on the same connection is answered.
    Closed,
    /// So many a second, whatever becomes of them. Latencies count from when a request should have
    /// started.
    Open {
        /// Of all cores together.
        rate_per_s: f64,
    },
}

/// Whose TCP carries the connections.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TransportPlan {
    /// The kernel's.
    Kernel {
        /// Where connections come from, by turns; without any the kernel chooses.
        local_addresses: Vec<IpAddr>,
    },
    /// The user-level stack on all these queues of an interface, one core each.
    Xdp {
        /// The interface's name.
        interface: String,
        /// Addresses that nobody else has, the kernel included, with the length of the link's prefix.
        addresses: Vec<Prefix>,
        /// The queues, in the order of the cores.
        queues: Vec<u32>,
    },
}

/// A run. [`Plan::new`] has sensible values for everything.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The server.
    pub target: Target,
    /// What is asked for.
    pub workload: Workload,
    /// Further header lines of requests.
    pub headers: Vec<String>,
    /// Whose TCP carries the connections.
    pub transport: TransportPlan,
    /// Cores to run on, one thread each.
    pub cores: Vec<usize>,
    /// Connections at once, of all cores together.
    pub connections: usize,
    /// When requests are started.
    pub pace: Pace,
    /// Requests are started for this long.
    pub duration: Duration,
    /// Requests to start at most, of all cores together.
    pub requests_max: Option<u64>,
    /// Whether each request has a connection of its own.
    pub close: bool,
    /// Requests under way on a connection at once.
    pub pipeline: usize,
    /// How long a connection, or a response, may bring nothing.
    pub timeout: Duration,
    /// The status that every response must have.
    pub expect: u16,
    /// How bodies are checked beyond their length.
    pub verify: Verify,
    /// What random choices follow from.
    pub seed: u64,
    /// Whether the server may be on another machine.
    pub i_own_this_target: bool,
}

impl Plan {
    /// Ten seconds of `http://host[:port]/path` over the kernel's TCP, in a closed loop of 64
    /// connections, on the last core that this process may use.
    ///
    /// # Errors
    ///
    /// [`LoadError::Usage`] if it is no such URL.
    pub fn new(url: &str) -> Result<Self, LoadError> {
        let (authority, path) = target::split_url(url)?;
        let path = Weighted { path: path.to_owned(), weight: 1.0 };
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        Ok(Self {
            target: Target::resolve(authority)?,
            workload: Workload::weighted(vec![path])?,
            headers: Vec::new(),
            transport: TransportPlan::Kernel { local_addresses: Vec::new() },
            cores: vec![cores.last().map_or(0, |core| core.id)],
            connections: 64,
            pace: Pace::Closed,
            duration: Duration::from_secs(10),
            requests_max: None,
            close: false,
            pipeline: 1,
            timeout: Duration::from_secs(5),
            expect: 200,
            verify: Verify::Length,
            seed: 1,
            i_own_this_target: false,
        })
    }

    /// Checks that its parts go together.
    ///
    /// # Errors
    ///
    /// [`LoadError::Usage`] or [`LoadError::Refused`].
    pub(super) fn check(&self) -> Result<(), LoadError> {
        let usage = |text: &str| Err(LoadError::Usage(text.to_owned()));
        let cores = self.cores.len();
        if cores == 0 || self.connections < cores {
            return usage("there must be a core, and for each core a connection");
        }
        if self.pipeline == 0 || self.pipeline > 1_024 {
            return usage("1 to 1024 requests can be under way on a connection at once");
        }
        if self.close && self.pipeline > 1 {
            return usage("a connection for each request leaves nothing to pipeline");
        }
        if let Pace::Open { rate_per_s } = self.pace
            && !(rate_per_s > 0.0 && rate_per_s <= 1e9)
        {
            return usage("the rate must be above 0 and at most 1,000,000,000 requests a second");
        }
        if self.duration.is_zero() || self.timeout.is_zero() || self.requests_max == Some(0) {
            return usage("duration, timeout and number of requests must be above zero");
        }
        if let Some(bad) = self.headers.iter().find(|line| !requests::is_header(line)) {
            return Err(LoadError::Usage(format!(
                "`{bad}` is not a header line that can be added, such as `Accept-Encoding: gzip`"
            )));
        }
        let interface = match &self.transport {
            TransportPlan::Kernel { .. } => None,
            TransportPlan::Xdp { interface, queues, .. } => {
                if queues.len() != cores {
                    return Err(LoadError::Usage(format!(
                        "{} queues need as many cores, not {cores}: each has a stack of its own",
                        queues.len()
                    )));
                }
                Some(interface.as_str())
            }
        };
        if self.i_own_this_target { Ok(()) } else { self.target.check_harmless(interface) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_for_loopback_is_sound_and_contradictions_are_refused() {
        let plan = Plan::new("http://127.0.0.1:8080/").unwrap();
        plan.check().unwrap();
        let xdp = TransportPlan::Xdp {
            interface: "lo".to_owned(),
            addresses: Vec::new(),
            queues: vec![0, 1],
        };
        for bad in [
            Plan { cores: Vec::new(), ..plan.clone() },
            Plan { cores: vec![0, 1], connections: 1, ..plan.clone() },
            Plan { pipeline: 0, ..plan.clone() },
            Plan { pipeline: 2, close: true, ..plan.clone() },
            Plan { pace: Pace::Open { rate_per_s: 0.0 }, ..plan.clone() },
            Plan { pace: Pace::Open { rate_per_s: f64::NAN }, ..plan.clone() },
            Plan { requests_max: Some(0), ..plan.clone() },
            Plan { headers: vec!["Host: other".to_owned()], ..plan.clone() },
            Plan { transport: xdp, ..plan.clone() },
        ] {
            assert!(matches!(bad.check(), Err(LoadError::Usage(_))), "{bad:?}");
        }
    }

    #[test]
    fn another_machine_needs_the_flag() {
        let plan = Plan::new("http://192.0.2.1/").unwrap();
        assert!(matches!(plan.check(), Err(LoadError::Refused { .. })));
        Plan { i_own_this_target: true, ..plan }.check().unwrap();
    }
}
