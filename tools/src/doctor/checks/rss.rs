//! How the NIC spreads flows over queues: the indirection table, the hash's key, rules beside them.

use std::collections::BTreeSet;

use super::{
    super::{
        facts::{Hash, Rss},
        finding::{
            Action, Finding, Fix,
            Verdict::{Fault, Note, Warning},
        },
    },
    Case, Check, listed,
    toeplitz::Toeplitz,
};

/// In the order in which they are told.
pub(super) const CHECKS: &[Check] = &[table, key, ntuple];

fn table(case: &Case<'_>) -> Option<Finding> {
    let served = case.queues();
    let spread = case.link.rss.as_ref()?.queues();
    if spread.is_empty() {
        return None;
    }
    let outside: Vec<u32> =
        spread.iter().copied().filter(|queue| !served.contains(queue)).collect();
    if outside.is_empty() {
        let found = format!("RSS spreads over the served queues {}", listed(&spread));
        return Some(Finding::good("rss", found));
    }
    let reason = "An AF_XDP socket gets the frames of its own queue only: connections that RSS sends to \
                  another queue go to the kernel, which refuses them.";
    let found = format!("RSS also sends to queue {}, which is not served", listed(&outside));
    let first_ones = served.iter().copied().eq(0..served.len() as u32);
    let finding = Finding::bad("rss", Fault, found, reason);
    Some(if first_ones {
        let set = |words: &str| Action::run(&format!("ethtool -X {} {words}", case.name));
        finding.with(Fix::safe(set(&format!("equal {}", served.len())), set("default")))
    } else {
        finding.with(Fix::Advice(
            "serve all queues, or the first ones, or steer by an ntuple rule".to_owned(),
        ))
    })
}

fn key(case: &Case<'_>) -> Option<Finding> {
    let queues = case.link.queue_count();
    let Some(rss) = &case.link.rss else { return Some(no_rss(case, queues)) };
    if queues == 1 {
        return Some(Finding::good("rss-key", "not applicable: there is one queue"));
    }
    match rss.hash {
        Hash::Other => Some(Finding::good("rss-key", "not applicable: the hash is not Toeplitz'")),
        Hash::Toeplitz { .. } if rss.key.is_empty() => {
            let reason = "Whether the hash spreads flows cannot be seen from here; the packets of each core \
                          in `pw top` show it.";
            let found = format!("driver {} does not tell its RSS key", case.link.driver);
            Some(Finding::bad("rss-key", Note, found, reason))
        }
        Hash::Toeplitz { symmetric } => Some(spread(case, rss, symmetric)),
    }
}

/// The driver says nothing at all about RSS. Virtual interfaces have none: there the sender chooses.
fn no_rss(case: &Case<'_>, queues: u32) -> Finding {
    let driver = &case.link.driver;
    if queues == 1 || case.link.interrupts.is_empty() {
        return Finding::good("rss-key", format!("not applicable: driver {driver} has no RSS"));
    }
    let reason = "Whether flows are spread over the queues cannot be seen from here; the packets of each core \
                  in `pw top` show it.";
    let found = format!("driver {driver} tells nothing about RSS, neither table nor key");
    Finding::bad("rss-key", Note, found, reason)
}

/// Whether the key lets flows reach all queues of the table.
fn spread(case: &Case<'_>, rss: &Rss, symmetric: bool) -> Finding {
    let all = rss.queues();
    let shown = shown(&rss.key);
    let mut served = case.wanted.addresses.clone();
    if served.is_empty() {
        served.push([0; 4].into());
    }
    let toeplitz = Toeplitz { key: &rss.key, symmetric };
    let reached = |address| -> BTreeSet<u32> {
        let entries = toeplitz.reached(rss.table.len(), (address, case.wanted.port));
        entries.into_iter().filter_map(|entry| rss.table.get(entry).copied()).collect()
    };
    let worst = served.iter().map(|&address| (address, reached(address)));
    let Some((address, some)) = worst.min_by_key(|(_, queues)| queues.len()) else {
        return Finding::good("rss-key", shown);
    };
    if some.len() >= all.len() {
        return Finding::good("rss-key", format!("{shown}: flows reach all queues of the table"));
    }
    let reason = "The hash decides which queue, and so which core, has a flow. With this key different flows \
                  hash alike, and the other cores are left idle.";
    let some: Vec<u32> = some.into_iter().collect();
    let to = if address.is_unspecified() { String::new() } else { format!(" to {address}") };
    let found =
        format!("{shown}: flows{to} reach queue {} only, of {}", listed(&some), listed(&all));
    let set = |key: &[u8]| Action::run(&format!("ethtool -X {} hkey {}", case.name, written(key)));
    let fresh: Vec<u8> = case.host.random.iter().copied().cycle().take(rss.key.len()).collect();
    Finding::bad("rss-key", Warning, found, reason).with(Fix::safe(set(&fresh), set(&rss.key)))
}

/// A key as `ethtool` takes it.
fn written(key: &[u8]) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

/// A key as people recognize it: how it begins, or what it repeats.
fn shown(key: &[u8]) -> String {
    let count = key.len();
    let repeats = |&period: &usize| count > period && key[period..] == key[..count - period];
    match (1..=8).find(repeats) {
        Some(period) => format!("{count} bytes, {} repeated", written(&key[..period])),
        None => format!("{count} bytes, {}...", written(&key[..count.min(6)])),
    }
}

fn ntuple(case: &Case<'_>) -> Option<Finding> {
    let feature = case.link.feature("ntuple-filters")?;
    if feature.is_on || feature.is_fixed || case.wanted.queues.is_none() {
        return None;
    }
    let reason = "With some queues served only, a rule that steers the port to them leaves the others to \
                  the kernel.";
    let set = |state| Action::run(&format!("ethtool -K {} ntuple {state}", case.name));
    Some(
        Finding::bad("ntuple", Note, "ntuple rules are off", reason)
            .with(Fix::safe(set("on"), set("off"))),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_shown_by_its_beginning_or_by_what_repeats() {
        assert_eq!(shown(&[0; 40]), "40 bytes, 00 repeated");
        assert_eq!(shown(&[0x6d, 0x5a].repeat(26)), "52 bytes, 6d:5a repeated");
        let other: Vec<u8> = (0..40).collect();
        assert_eq!(shown(&other), "40 bytes, 00:01:02:03:04:05...");
        assert_eq!(shown(&[7]), "1 bytes, 07...");
    }
}
