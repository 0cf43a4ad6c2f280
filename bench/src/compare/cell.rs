//! The cells: what is asked of both servers, and what the user stack should come to.

use std::fmt::Write;

/// Whose TCP the client uses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Client {
    /// The kernel's: needed where packets are large, as it takes them in as they come.
    Kernel,
    /// The user-level stack on `AF_XDP`: where packets are small it asks more than one core of any
    /// server answers.
    Xdp,
}

/// How packets cross the wire.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wire {
    /// At most 1,500 bytes each, with their checksums.
    Like,
    /// The server's kernel hands over 64 KiB at once, as no wire does.
    Offloads,
}

/// One cell.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    /// How packets cross.
    pub wire: Wire,
    /// The body's length.
    pub bytes: u64,
    /// Whether each request has a connection of its own.
    pub close: bool,
    /// Connections at once.
    pub connections: usize,
    /// Who asks.
    pub client: Client,
    /// Whole seconds that do not count.
    pub warm_up_s: u32,
    /// Whether it is measured in a quick run too.
    pub quick: bool,
    /// Whether all are looked at stage by stage. With bodies so large that few are answered in a run, there
    /// is nothing to divide by.
    pub stages: bool,
}

const SMALL: Cell = Cell {
    wire: Wire::Like,
    bytes: 128,
    close: false,
    connections: 64,
    client: Client::Xdp,
    warm_up_s: 1,
    quick: false,
    stages: true,
};
const LARGE: Cell = Cell { client: Client::Kernel, ..SMALL };
const CLOSE: Cell = Cell { close: true, ..SMALL };
const OFFLOADS: Cell = Cell { wire: Wire::Offloads, client: Client::Kernel, ..SMALL };

/// All cells, those of one wire together.
pub const CELLS: [Cell; 17] = [
    Cell { quick: true, ..SMALL },
    Cell { bytes: 1 << 10, ..SMALL },
    Cell { bytes: 16 << 10, quick: true, ..LARGE },
    Cell { bytes: 1 << 20, connections: 16, quick: true, ..LARGE },
    Cell { bytes: 100 << 20, connections: 4, stages: false, ..LARGE },
    Cell { quick: true, ..CLOSE },
    Cell { bytes: 1 << 10, ..CLOSE },
    Cell { bytes: 16 << 10, ..CLOSE },
    Cell { connections: 1_024, ..SMALL },
    Cell { connections: 10_000, warm_up_s: 2, ..SMALL },
    Cell { connections: 100_000, warm_up_s: 6, ..SMALL },
    OFFLOADS,
    Cell { bytes: 1 << 10, ..OFFLOADS },
    Cell { bytes: 16 << 10, ..OFFLOADS },
    Cell { bytes: 1 << 20, connections: 16, ..OFFLOADS },
    Cell { bytes: 100 << 20, connections: 4, stages: false, ..OFFLOADS },
    Cell { close: true, ..OFFLOADS },
];

/// The most that the user stack should cost, for each that the raw exchange of its frames costs.
pub const RAW_GOAL: f64 = 1.25;

/// More connections than this take so long to open that there are fewer rounds.
const MANY: usize = 20_000;

impl Cell {
    /// Its name, which no other cell has.
    pub fn name(&self) -> String {
        let each = if self.close { "connection per request" } else { "keep-alive" };
        let connections = count(self.connections);
        let mut name = format!("{} {each}, {connections} connections", size(self.bytes));
        if self.wire == Wire::Offloads {
            // Writing to a string cannot fail.
            let _ = write!(name, ", offloads on");
        }
        name
    }

    /// The most that the user stack should cost, for each that kernel mode costs, where that is settled.
    pub fn goal(&self) -> Option<f64> {
        match (self.wire, self.close, self.bytes) {
            (Wire::Offloads, ..) => None,
            (_, true, _) => Some(1.0 / 2.5),
            (_, _, ..=1_024) => Some(1.0 / 2.0),
            (_, _, ..=16_384) => Some(1.0 / 1.2),
            _ => None,
        }
    }

    /// How many rounds it is measured, if others are `most`.
    pub fn rounds(&self, most: usize) -> usize {
        if self.connections > MANY { most.min(2) } else { most }
    }

    /// The name of its file.
    pub fn file(&self) -> String {
        format!("{}.bin", self.bytes)
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        ..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

fn count(number: usize) -> String {
    match number {
        ..1_000 => number.to_string(),
        _ => format!("{},{:03}", number / 1_000, number % 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_have_names_of_their_own_and_lie_by_wires() {
        let mut names: Vec<_> = CELLS.iter().map(Cell::name).collect();
        assert_eq!(names[0], "128 B keep-alive, 64 connections");
        assert!(names.contains(&"128 B keep-alive, 100,000 connections".to_owned()));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CELLS.len());
        let changes = CELLS.windows(2).filter(|pair| pair[0].wire != pair[1].wire).count();
        assert_eq!(changes, 1);
    }

    #[test]
    fn goals_are_for_the_wire_and_for_what_fits_few_packets() {
        let goal = |cell: Cell| cell.goal().map(|goal| (1.0 / goal * 10.0).round() / 10.0);
        assert_eq!(goal(SMALL), Some(2.0));
        assert_eq!(goal(Cell { bytes: 1_024, ..SMALL }), Some(2.0));
        assert_eq!(goal(CLOSE), Some(2.5));
        assert_eq!(goal(Cell { bytes: 16 << 10, ..LARGE }), Some(1.2));
        assert_eq!(goal(Cell { bytes: 1 << 20, ..LARGE }), None);
        assert_eq!(goal(OFFLOADS), None);
    }

    #[test]
    fn offloads_need_the_kernels_client() {
        // A program on the client's end would turn the server's segmentation offload off.
        let mut on = CELLS.iter().filter(|cell| cell.wire == Wire::Offloads);
        assert!(on.all(|cell| cell.client == Client::Kernel));
    }
}
