//! Interrupts and threads of the kernel that work for an interface, and the cores that they may use.

use std::fs;

use super::{super::facts::Task, read};

/// The interface's interrupts, by the device's list or else by their names.
pub(super) fn interrupts(interface: &str) -> Vec<Task> {
    let directory = format!("/sys/class/net/{interface}/device/msi_irqs");
    let mut numbers: Vec<u32> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    if numbers.is_empty() {
        let table = fs::read_to_string("/proc/interrupts").unwrap_or_default();
        numbers = named(&table, interface);
    }
    numbers.sort_unstable();
    let cores = |number| read(&format!("/proc/irq/{number}/smp_affinity_list"));
    numbers.into_iter().filter_map(|id| Some(Task { id, cores: list(&cores(id)?) })).collect()
}

/// The numbers of interrupts whose name contains that of the interface, in `/proc/interrupts`.
fn named(table: &str, interface: &str) -> Vec<u32> {
    let is_ours = |name: &str| {
        let parts = name.split(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '_');
        parts.into_iter().any(|part| part == interface)
    };
    table
        .lines()
        .filter_map(|line| {
            let (number, rest) = line.split_once(':')?;
            rest.split_whitespace().any(is_ours).then_some(number)?.trim().parse().ok()
        })
        .collect()
}

/// The kernel's receive threads for an interface: `napi/NAME-NUMBER`.
pub(super) fn napi_threads(interface: &str) -> Vec<Task> {
    let prefix = format!("napi/{interface}-");
    let processes = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    processes
        .filter_map(|entry| {
            let id = entry.file_name().to_str()?.parse().ok()?;
            let status = fs::read_to_string(entry.path().join("status")).ok()?;
            let of = |name| status.lines().find_map(|line: &str| line.strip_prefix(name));
            of("Name:")?.trim().starts_with(&prefix).then_some(())?;
            Some(Task { id, cores: list(of("Cpus_allowed_list:")?.trim()) })
        })
        .collect()
}

/// Numbers as the kernel lists them: `0-3,8`.
pub(super) fn list(text: &str) -> Vec<usize> {
    text.split(',')
        .filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
        })
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores_are_numbers_and_ranges() {
        assert_eq!(list("0-2,8"), [0, 1, 2, 8]);
        assert_eq!(list("5"), [5]);
        assert_eq!(list(""), [0_usize; 0]);
    }

    #[test]
    fn interrupts_are_known_by_the_whole_name_of_the_interface() {
        let table = "           CPU0       CPU1\n  8:  0  0  IO-APIC  8-edge  rtc0\n \
                     30:  1  0  PCI-MSI 1-edge  eth1-TxRx-0\n 31:  1  0  PCI-MSI 2-edge  eth10-TxRx-0\n \
                     32:  1  0  PCI-MSI 3-edge  mlx5_comp0@eth1\n";
        assert_eq!(named(table, "eth1"), [30, 32]);
    }
}
