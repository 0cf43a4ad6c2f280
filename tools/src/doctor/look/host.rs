//! What this process may use of the machine.

use std::{
    fs::{self, File},
    io::Read,
    net::SocketAddr,
};

use nix::sys::resource::{Resource, getrlimit};

use super::{super::facts::Host, read, tasks::list};
use crate::system::{self, CommandError};

/// `NETDEV_RSS_KEY_LEN` (include/linux/netdevice.h), where it is largest: bytes of the longest RSS key.
const KEY_BYTES: usize = 256;

pub(super) fn look() -> Result<Host, CommandError> {
    let limit = |resource| {
        let (soft, _) = getrlimit(resource).ok()?;
        (soft != nix::libc::RLIM_INFINITY).then_some(soft)
    };
    let number = |path: &str| read(path).and_then(|value| value.parse::<u64>().ok());
    Ok(Host {
        kernel: read("/proc/sys/kernel/osrelease").unwrap_or_default(),
        cores: core_affinity::get_core_ids()
            .unwrap_or_default()
            .into_iter()
            .map(|core| core.id)
            .collect(),
        numa_cores: numa_cores(),
        free_hugepages: field("/proc/meminfo", "HugePages_Free", 10).unwrap_or(0),
        memlock: limit(Resource::RLIMIT_MEMLOCK),
        descriptors: limit(Resource::RLIMIT_NOFILE),
        capabilities: field("/proc/self/status", "CapEff", 16).unwrap_or(0),
        mappings: number("/proc/sys/vm/max_map_count").unwrap_or(0),
        bpf_jit: number("/proc/sys/net/core/bpf_jit_enable").map(|value| value as u32),
        congestion_control: read("/proc/sys/net/ipv4/tcp_congestion_control").unwrap_or_default(),
        txrehash: number("/proc/sys/net/core/txrehash").map(|value| value as u32),
        listeners: listeners()?,
        governors: governors(),
        irqbalance: is_running("irqbalance"),
        random: random(),
    })
}

/// A number behind `name:` in a file of the kernel.
fn field(path: &str, name: &str, radix: u32) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    u64::from_str_radix(line.split_whitespace().next()?, radix).ok()
}

fn numa_cores() -> Vec<(u32, Vec<usize>)> {
    let path = |node| format!("/sys/devices/system/node/node{node}/cpulist");
    (0..).map_while(|node| read(&path(node)).map(|cores| (node, list(&cores)))).collect()
}

fn listeners() -> Result<Vec<SocketAddr>, CommandError> {
    let listed = system::run(&["ss", "--tcp", "--listening", "--numeric", "--no-header"])?;
    Ok(listed.lines().filter_map(|line| listener(line.split_whitespace().nth(3)?)).collect())
}

/// An address as `ss` writes it: `0.0.0.0:80`, `[::]:80`, `*:80`, `10.0.0.1%eth0:80`.
fn listener(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.rsplit_once(':')?;
    let host = match host {
        "*" => "::",
        host => host.trim_matches(['[', ']']),
    };
    let host = host.split('%').next()?.trim_end_matches(']');
    Some((host.parse::<std::net::IpAddr>().ok()?, port.parse().ok()?).into())
}

fn governors() -> Vec<String> {
    let path = |core| format!("/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor");
    (0..).map_while(|core| read(&path(core))).collect()
}

fn random() -> Vec<u8> {
    let mut bytes = vec![0; KEY_BYTES];
    let read = File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bytes));
    if read.is_ok() { bytes } else { Vec::new() }
}

fn is_running(program: &str) -> bool {
    let processes = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    processes
        .map(|entry| entry.path().join("comm"))
        .any(|comm| fs::read_to_string(comm).is_ok_and(|name| name.trim() == program))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_read_in_every_form() {
        for (text, expected) in [
            ("0.0.0.0:80", "0.0.0.0:80"),
            ("[::]:80", "[::]:80"),
            ("*:443", "[::]:443"),
            ("10.0.0.1%eth0:80", "10.0.0.1:80"),
            ("[fe80::1%eth0]:80", "[fe80::1]:80"),
        ] {
            assert_eq!(listener(text), Some(expected.parse().unwrap()), "{text}");
        }
        assert_eq!(listener("nonsense"), None);
    }

    #[test]
    fn this_machine_has_cores_a_kernel_and_limits() {
        let host = look().unwrap();
        assert!(!host.cores.is_empty() && host.mappings > 0);
        assert!(host.random.len() == KEY_BYTES && host.random != random());
        assert!(host.kernel.starts_with(|digit: char| digit.is_ascii_digit()));
    }
}
