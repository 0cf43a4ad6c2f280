//! How `pagewire serve` is started on the server's end of the lab.

use std::path::Path;

use super::{cell::Cell, order::Subject, wire::Link};
use crate::product::{ADDRESS, PORT};

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
