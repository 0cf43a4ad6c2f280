//! Whether a test that needs privileges can run.

use std::{env, fs};

/// Whether this process may make namespaces and load programs. If not, fails where CI asks for it and
/// says loudly that the test was skipped elsewhere.
pub fn privileged(test: &str) -> bool {
    // CAP_NET_ADMIN 12, CAP_NET_RAW 13, CAP_SYS_ADMIN 21 (include/uapi/linux/capability.h).
    const NEEDED: u64 = 1 << 12 | 1 << 13 | 1 << 21;
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    let effective = u64::from_str_radix(line.trim(), 16).unwrap();
    if effective & NEEDED == NEEDED {
        return true;
    }
    assert!(env::var_os("CI").is_none(), "{test} needs root, and CI must not skip it");
    eprintln!("\n*** SKIPPED: {test} needs root (CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_ADMIN) ***\n");
    false
}
