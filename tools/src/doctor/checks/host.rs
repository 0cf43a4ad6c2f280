//! The machine: kernel, privileges, limits and settings.

use super::{
    super::finding::{
        Action, Finding, Fix,
        Verdict::{Fault, Note, Warning},
    },
    Case, Check,
};

/// In the order in which they are told.
pub(super) const CHECKS: &[Check] = &[
    kernel,
    capabilities,
    memlock,
    descriptors,
    mappings,
    hugepages,
    bpf_jit,
    congestion_control,
    txrehash,
];

/// `bpf_link` for XDP came with 5.9, and `need_wakeup` and shared UMEM before it.
const LEAST_KERNEL: (u32, u32) = (5, 10);

/// Capabilities that the user-level stack needs at its start, with their numbers (capability.h).
const NEEDED: [(&str, u32); 4] =
    [("CAP_NET_ADMIN", 12), ("CAP_NET_RAW", 13), ("CAP_PERFMON", 38), ("CAP_BPF", 39)];
/// `CAP_SYS_ADMIN` stands for `CAP_BPF` and `CAP_PERFMON`, as it did before there were these.
const SYS_ADMIN: u32 = 21;
/// `CAP_IPC_LOCK`: no limit to locked memory.
const IPC_LOCK: u32 = 14;

/// Memory of one queue's UMEM by default, in bytes.
const UMEM_BYTES: u64 = 64 << 20;

fn kernel(case: &Case<'_>) -> Option<Finding> {
    let mut numbers = case.host.kernel.split(['.', '-']).map_while(|word| word.parse().ok());
    let version = (numbers.next()?, numbers.next()?);
    let found = format!("Linux {}", case.host.kernel);
    if version >= LEAST_KERNEL {
        return Some(Finding::good("kernel", found));
    }
    let reason = "XDP programs as links, which go with their process, need 5.10.";
    let advice = "boot a newer kernel, or use --transport kernel".to_owned();
    Some(Finding::bad("kernel", Fault, found, reason).with(Fix::Advice(advice)))
}

fn has(case: &Case<'_>, number: u32) -> bool {
    case.host.capabilities >> number & 1 == 1
}

fn capabilities(case: &Case<'_>) -> Option<Finding> {
    let missing: Vec<&str> = NEEDED
        .iter()
        .filter(|(name, number)| {
            let stands_in = ["CAP_BPF", "CAP_PERFMON"].contains(name) && has(case, SYS_ADMIN);
            !stands_in && !has(case, *number)
        })
        .map(|(name, _)| *name)
        .collect();
    if missing.is_empty() {
        return Some(Finding::good("capabilities", "this process has what AF_XDP needs"));
    }
    let reason = "AF_XDP sockets, XDP programs and their maps are not for everybody.";
    let found = format!("this process lacks {}", missing.join(", "));
    let advice = "run it as root, or give these to its service (AmbientCapabilities=)".to_owned();
    Some(Finding::bad("capabilities", Fault, found, reason).with(Fix::Advice(advice)))
}

fn memlock(case: &Case<'_>) -> Option<Finding> {
    let needed = UMEM_BYTES * case.queues().len() as u64;
    let limit = case.host.memlock.filter(|_| !has(case, IPC_LOCK));
    if limit.is_none_or(|limit| limit >= needed) {
        return Some(Finding::good("memlock", "there is memory enough to lock"));
    }
    let reason = "UMEM is locked memory; beyond the limit the kernel says ENOBUFS.";
    let found = format!(
        "{} KiB may be locked, and CAP_IPC_LOCK is missing; the queues want {} MiB",
        limit.unwrap_or(0) >> 10,
        needed >> 20
    );
    let advice = "ulimit -l unlimited     # LimitMEMLOCK=infinity in a unit".to_owned();
    Some(Finding::bad("memlock", Fault, found, reason).with(Fix::Advice(advice)))
}

fn descriptors(case: &Case<'_>) -> Option<Finding> {
    let limit = case.host.descriptors.filter(|limit| *limit < 65_536);
    let Some(limit) = limit else {
        return Some(Finding::good("descriptors", "there are descriptors enough"));
    };
    let reason = "Every open file and, with the kernel's TCP, every connection takes one.";
    let found = format!("{limit} descriptors");
    let advice = "ulimit -n 1048576     # LimitNOFILE=1048576 in a unit".to_owned();
    Some(Finding::bad("descriptors", Warning, found, reason).with(Fix::Advice(advice)))
}

fn mappings(case: &Case<'_>) -> Option<Finding> {
    let most = case.host.mappings;
    if most >= 65_530 {
        return None;
    }
    let reason = "Every large file that is open is a mapping; beyond the limit files are refused.";
    let set = |value: u64| Action::write("/proc/sys/vm/max_map_count", value);
    let found = format!("vm.max_map_count is {most}");
    Some(Finding::bad("mappings", Warning, found, reason).with(Fix::safe(set(262_144), set(most))))
}

fn hugepages(case: &Case<'_>) -> Option<Finding> {
    // The kernel's default size here.
    const PAGE: u64 = 2 << 20;
    let needed = UMEM_BYTES * case.queues().len() as u64 / PAGE;
    if case.host.free_hugepages >= needed {
        return Some(Finding::good("hugepages", format!("{} free", case.host.free_hugepages)));
    }
    let reason = "Frames in small pages cost a TLB miss each; it works, a little slower.";
    let found = format!("{} free, the queues want {needed}", case.host.free_hugepages);
    let reserve = Action::write("/proc/sys/vm/nr_hugepages", needed);
    Some(Finding::bad("hugepages", Note, found, reason).with(Fix::manual(reserve)))
}

fn bpf_jit(case: &Case<'_>) -> Option<Finding> {
    if case.host.bpf_jit? != 0 {
        return Some(Finding::good("bpf-jit", "BPF programs are compiled"));
    }
    let reason = "The steering program is interpreted, for every frame: ten times its cost.";
    let set = |value: u8| Action::write("/proc/sys/net/core/bpf_jit_enable", value);
    Some(
        Finding::bad("bpf-jit", Warning, "the BPF compiler is off", reason)
            .with(Fix::safe(set(1), set(0))),
    )
}

fn congestion_control(case: &Case<'_>) -> Option<Finding> {
    let name = &case.host.congestion_control;
    if name != "bbr" || case.link.driver != "veth" {
        return (!name.is_empty())
            .then(|| Finding::good("congestion-control", format!("the kernel's is {name}")));
    }
    let reason = "BBR paces by timers that a virtual pair cannot keep up with: the kernel's TCP is several \
                  times slower here, and a comparison would be unfair.";
    let set = |name: &str| Action::write("/proc/sys/net/ipv4/tcp_congestion_control", name);
    Some(
        Finding::bad("congestion-control", Warning, "the kernel's is bbr, on veth", reason)
            .with(Fix::safe(set("cubic"), set(name))),
    )
}

fn txrehash(case: &Case<'_>) -> Option<Finding> {
    if case.host.txrehash? == 0 {
        return Some(Finding::good("txrehash", "retransmissions keep their path"));
    }
    let reason = "A client with this setting changes the server's queue with a retransmission; pagewire \
                  follows it, at the price of a copy between cores. It matters where clients are.";
    let set = |value: u8| Action::write("/proc/sys/net/core/txrehash", value);
    Some(
        Finding::bad("txrehash", Note, "net.core.txrehash is 1", reason)
            .with(Fix::safe(set(0), set(1))),
    )
}
