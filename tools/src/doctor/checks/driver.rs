//! What the driver can do and how it is set: XDP, queues, offloads, rings.

use super::{
    super::finding::{
        Action, Finding, Fix,
        Verdict::{Fault, Note, Warning},
    },
    Case, Check, listed,
};
use crate::quantity::several;

/// `NETDEV_XDP_ACT_BASIC` (include/uapi/linux/netdev.h): the driver runs programs itself.
const NATIVE: u64 = 1;
/// `NETDEV_XDP_ACT_XSK_ZEROCOPY`.
const ZERO_COPY: u64 = 8;

/// In the order in which they are told.
pub(super) const CHECKS: &[Check] =
    &[support, queues, cores_for_queues, lro, vlan, segmentation, ring, coalescing];

fn support(case: &Case<'_>) -> Option<Finding> {
    let driver = &case.link.driver;
    let Some(features) = case.link.xdp_features else {
        let reason = "Kernels before 6.3 do not tell; the first start of pagewire will.";
        let found = format!("driver {driver}; the kernel does not say what it can do with XDP");
        return Some(Finding::bad("xdp-support", Note, found, reason));
    };
    if features & NATIVE == 0 {
        let reason = "Generic XDP makes a socket buffer of every frame first: slower than the kernel's own \
                      TCP. Good for trying out.";
        let found = format!("driver {driver} has no native XDP");
        let advice = "use an interface whose driver has it, or --transport kernel".to_owned();
        return Some(Finding::bad("xdp-support", Warning, found, reason).with(Fix::Advice(advice)));
    }
    if features & ZERO_COPY == 0 {
        let reason = "Each frame is copied once more, between UMEM and the driver's own memory.";
        let found = format!("driver {driver}: native XDP, but no zero-copy");
        return Some(Finding::bad("xdp-support", Note, found, reason));
    }
    Some(Finding::good("xdp-support", format!("driver {driver}: native XDP and zero-copy")))
}

fn queues(case: &Case<'_>) -> Option<Finding> {
    let count = case.link.queue_count();
    let missing: Vec<u32> = case.queues().into_iter().filter(|queue| *queue >= count).collect();
    if missing.is_empty() {
        return Some(Finding::good("queues", format!("{count} in both directions")));
    }
    let reason = "A queue that does not exist cannot be bound.";
    let needed = missing.iter().max().map_or(count, |last| last + 1);
    let found = format!("there is no queue {}, only {count}", listed(&missing));
    let finding = Finding::bad("queues", Fault, found, reason);
    Some(if needed > case.link.queues.most {
        finding.with(Fix::Advice(format!("choose from --queues 0-{}", count - 1)))
    } else {
        finding.with(set_queues(case, needed))
    })
}

/// Another number of queues.
fn set_queues(case: &Case<'_>, count: u32) -> Fix {
    let set = |receive: u32, transmit: u32| {
        let words = if case.link.queues.combined {
            format!("combined {receive}")
        } else {
            format!("rx {receive} tx {transmit}")
        };
        Action::run(&format!("ethtool -L {} {words}", case.name))
    };
    let now = case.link.queues;
    Fix::safe(set(count, count), set(now.receive, now.transmit))
}

fn cores_for_queues(case: &Case<'_>) -> Option<Finding> {
    let (queues, cores) = (case.queues().len(), case.cores().len());
    if queues >= cores {
        return None;
    }
    let reason = "A shard has one queue and one core: the other cores are left idle.";
    let found = format!("{} for {}", several(queues, "queue"), several(cores, "core"));
    let finding = Finding::bad("cores", Warning, found, reason);
    let can = case.wanted.queues.is_none() && cores as u32 <= case.link.queues.most;
    Some(if can {
        finding.with(set_queues(case, cores as u32))
    } else {
        finding.with(Fix::Advice("name fewer --cores, or more --queues".to_owned()))
    })
}

/// A feature that should be off, and by which short name `ethtool -K` knows it.
fn should_be_off(
    case: &Case<'_>,
    check: &'static str,
    (name, short): (&str, &str),
    verdict: super::super::finding::Verdict,
    reason: &'static str,
) -> Option<Finding> {
    let feature = case.link.feature(name)?;
    if !feature.is_on {
        return None;
    }
    let finding = Finding::bad(check, verdict, format!("{name} is on"), reason);
    if feature.is_fixed {
        let advice =
            "this driver cannot switch it off: use another interface, or --transport kernel";
        return Some(finding.with(Fix::Advice(advice.to_owned())));
    }
    let set = |state| Action::run(&format!("ethtool -K {} {short} {state}", case.name));
    Some(finding.with(Fix::safe(set("off"), set("on"))))
}

fn lro(case: &Case<'_>) -> Option<Finding> {
    let reason =
        "Frames that the hardware has joined do not fit a chunk; drivers refuse XDP, or lose them.";
    let large = ("large-receive-offload", "lro");
    should_be_off(case, "lro", large, Fault, reason)
        .or_else(|| should_be_off(case, "lro", ("rx-gro-hw", "rx-gro-hw"), Fault, reason))
}

fn vlan(case: &Case<'_>) -> Option<Finding> {
    // Virtual interfaces keep the tag beside the frame only for the kernel's own.
    if case.link.interrupts.is_empty() {
        return None;
    }
    let reason = "The hardware takes the VLAN tag out of the frame, where XDP cannot see it: tagged traffic \
                  looks untagged.";
    should_be_off(case, "vlan", ("rx-vlan-offload", "rxvlan"), Note, reason)
}

/// Where XDP is generic, the kernel has joined frames before the program sees them.
fn segmentation(case: &Case<'_>) -> Option<Finding> {
    if case.link.xdp_features.is_none_or(|features| features & NATIVE != 0) {
        return None;
    }
    let reason = "Generic XDP drops what the kernel has joined to more than one frame.";
    let gro = ("generic-receive-offload", "gro");
    should_be_off(case, "segmentation", gro, Warning, reason)
}

fn ring(case: &Case<'_>) -> Option<Finding> {
    let (now, most) = case.link.ring?;
    if now >= most.min(1_024) {
        return Some(Finding::good("ring", format!("{now} frames of at most {most}")));
    }
    let reason = "Frames that come while the core is busy are lost when the ring is full: 1,024 are 1.2 ms \
                  of 10 Gbit/s.";
    let set = |count: u32| Action::run(&format!("ethtool -G {} rx {count}", case.name));
    let found = format!("RX rings of {now} frames, of at most {most}");
    Some(Finding::bad("ring", Warning, found, reason).with(Fix::safe(set(most), set(now))))
}

fn coalescing(case: &Case<'_>) -> Option<Finding> {
    if !case.link.adaptive_coalescing? {
        return None;
    }
    let reason = "It suits interrupts of the kernel's TCP; a core that polls is better off with a small \
                  fixed delay.";
    let set = |state| Action::run(&format!("ethtool -C {} adaptive-rx {state}", case.name));
    Some(
        Finding::bad("coalescing", Note, "adaptive interrupt coalescing is on", reason)
            .with(Fix::safe(set("off"), set("on"))),
    )
}
