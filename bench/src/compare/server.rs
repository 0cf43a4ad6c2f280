//! How `pagewire serve` is started on the server's end of the lab.

use std::path::Path;

use super::{cell::Cell, order::Subject, wire::Link};
use crate::product::{ADDRESS, PORT};

/// Descriptors of a server in kernel mode besides its connections: cached files and its own.
const DESCRIPTORS: u64 = 4_500;

/// Why a server cannot hold the connections of `cell` where a process may have so many descriptors, if it
/// cannot. Kernel mode takes one each, and closes idle connections once three quarters are in use.
pub fn refusal(subject: Subject, cell: &Cell, descriptors: u64) -> Option<String> {
    let needed = cell.connections as u64 * 4 / 3 + DESCRIPTORS;
    (subject == Subject::Kernel && needed > descriptors).then(|| {
        format!(
            "{} connections take {needed} descriptors, and a process may have {descriptors} here (ulimit -n)",
            cell.connections
        )
    })
}

/// The arguments with which it serves `root`.
pub fn arguments(subject: Subject, cell: &Cell, link: &Link, root: &Path) -> Vec<String> {
    let core = link.server.cores.first().map_or(0, |core| core.id);
    // Closed connections keep their slots for a while.
    let slots = (cell.connections * 2).max(8_192);
    let own = if subject == Subject::User {
        let interface = &link.server.interface;
        format!(
            "--require-xdp --interface {interface} --queues 0 --address {ADDRESS}/24 --port {PORT}"
        )
    } else {
        format!("--listen {ADDRESS}:{PORT} --congestion-control cubic")
    };
    let common = format!("--cores {core} --connections {slots}");
    let root = root.to_string_lossy().into_owned();
    let words = own.split(' ').chain(common.split(' ')).map(str::to_owned);
    ["serve".to_owned(), root].into_iter().chain(words).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::cell::CELLS;

    #[test]
    fn kernel_mode_needs_a_descriptor_for_each_connection() {
        let cell = Cell { connections: 100_000, ..CELLS[0] };
        assert!(refusal(Subject::Kernel, &cell, 20_000).unwrap().contains("20000"));
        assert_eq!(refusal(Subject::User, &cell, 20_000), None);
        assert_eq!(refusal(Subject::Kernel, &cell, 1 << 20), None);
        let cell = Cell { connections: 10_000, ..CELLS[0] };
        assert_eq!(refusal(Subject::Kernel, &cell, 20_000), None);
    }
}
