//! What the user stack should come to on a real NIC: measured costs of its own stages, with published
//! costs of zero-copy drivers in place of what veth does.
//!
//! On veth the kernel copies each frame into or out of a socket buffer; a zero-copy driver only turns
//! descriptors of one ring into those of another. So the stages that are the kernel's are left out, and
//! each frame is charged with what such a driver was measured to cost. What neither side knows of the
//! other stays out: cache misses on frames that the NIC has written, interrupts, a different clock rate.

use super::{
    comparison::OFFLOADS,
    input::{Figures, number},
    page::{escape, section as page_section, table},
};
use crate::limit::KERNEL;

const ABOUT: &str = "The user stack's own stages, as measured above, with published costs of a zero-copy driver \
     instead of veth's: what one core should do on a real NIC. A prediction, not a measurement. The range is \
     that of the published costs of a frame.";

/// Nanoseconds for a frame in and for one out, the driver's part included. At least: half of a frame in and
/// out again on one core, and a frame out alone. At most: each as much as in and out again together.
const DRIVER_NS: [(f64, f64); 2] =
    [(IN_AND_OUT_NS / 2.0, 1e3 / 16.52), (IN_AND_OUT_NS, IN_AND_OUT_NS)];

/// A frame in and out again on one core that does both the driver's work and the program's: 6.5 million a
/// second.
const IN_AND_OUT_NS: f64 = 1e3 / 6.5;

/// What each frame takes on the wire besides its bytes: preamble, checksum and gap (IEEE 802.3).
const WIRE_BYTES: f64 = 24.0;

/// The program that steers frames, in nanoseconds: `BPF_PROG_TEST_RUN` of ours.
const STEERING_NS: f64 = 25.0;

const WIRES: [f64; 3] = [10.0, 25.0, 100.0];

const NOTES: &str = "<p class=\"soft\">Own: the stages above that are the stack's and the server's, not \
     the kernel's. Driver, at least: a frame in at 76.9 ns, half of what one core took to receive and send a frame \
     on, its NAPI work included (6.5 million 64-byte frames a second without loss, X710, i40e, Linux 5.4, Xeon \
     E5-2680 v4 at 2.4 GHz: D. Siemon, README of the crate afxdp, section Performance, \
     github.com/aterlo/afxdp-rs); a frame out at 60.5 ns (16.52 million 64-byte frames a second, zero-copy, \
     ConnectX-6, mlx5, Linux 6.0-rc6, by xdpsock: github.com/xdp-project/bpf-examples, issue 61, which also has \
     4.79 million of 1,024 bytes, where its 40 Gbit/s are full; copy mode there: 1.74 million). At most: 153.8 ns \
     for each frame in and each frame out, as if either cost what both do. 25 ns more a received frame for our \
     steering program, by BPF_PROG_TEST_RUN. \
     Gbit/s are of the frames sent, with preamble and gap. Cores: how many it takes to fill that wire; less than \
     one means that the wire is full before the core is. Kernel mode is not predicted: on a NIC it has \
     segmentation and checksum offload, which veth only imitates; its figures here are those measured on veth, \
     wire-like, and with offloads on where that was measured.</p>\n";

/// What is predicted for one cell.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Prediction {
    own_us: f64,
    driver_us: (f64, f64),
    /// Bits that a response takes on the wire.
    wire_bits: f64,
}

impl Prediction {
    fn of(figures: &Figures, cell: &str) -> Option<Self> {
        let value = |what: &str| figures.value(&["compare", cell, "user stack", what]);
        let stages = figures.under(&["compare", cell, "user stack", "stage"]);
        // On a NIC the driver's costs stand for the kernel's, and a core that is full does not sleep.
        let ours = stages.iter().filter(|entry| !KERNEL.contains(&entry.path[4].as_str()));
        let own_us: f64 = ours.map(|entry| entry.value).filter(|value| value.is_finite()).sum();
        let (frames_in, frames_out) = (value("frames in")?, value("frames out")?);
        let bytes_out = value("frame bytes out")?;
        let driver_us = DRIVER_NS
            .map(|(each_in, each_out)| frames_in * (each_in + STEERING_NS) + frames_out * each_out)
            .map(|nanos| nanos / 1e3);
        let driver_us = (driver_us[0], driver_us[1]);
        let wire_bits = frames_out * (bytes_out + WIRE_BYTES) * 8.0;
        (own_us > 0.0 && wire_bits > 0.0).then_some(Self { own_us, driver_us, wire_bits })
    }

    /// Requests that a core answers in a second, at least and at most.
    fn rate(&self) -> (f64, f64) {
        (1e6 / (self.own_us + self.driver_us.1), 1e6 / (self.own_us + self.driver_us.0))
    }

    /// Cores that fill a wire of so many Gbit/s, at least and at most.
    fn cores(&self, gigabits: f64) -> (f64, f64) {
        let full = gigabits * 1e9 / self.wire_bits;
        let (least, most) = self.rate();
        (full / most, full / least)
    }
}

/// The section, if there are figures for it.
pub fn section(figures: &Figures) -> Option<String> {
    let cells = figures.next(&["compare"]);
    // What crosses with offloads on is the same for the user stack.
    let on_wire = cells.iter().filter(|cell| !cell.ends_with(OFFLOADS));
    let row = |cell: &&str| {
        let prediction = Prediction::of(figures, cell)?;
        let (least, most) = prediction.rate();
        let gigabits = |rate: f64| rate * prediction.wire_bits / 1e9;
        let mut row = vec![
            escape(cell),
            kernel(figures, cell),
            number(prediction.own_us),
            range(prediction.driver_us),
            range((least / 1e3, most / 1e3)),
            range((gigabits(least), gigabits(most))),
        ];
        for wire in WIRES {
            let full = wire * 1e9 / prediction.wire_bits;
            row.push(format!(
                "{}<br><small>by {} cores</small>",
                number(full / 1e3),
                range(prediction.cores(wire))
            ));
        }
        Some(row)
    };
    let rows: Vec<_> = on_wire.filter_map(row).collect();
    if rows.is_empty() {
        return None;
    }
    let head = [
        "predicted, a core",
        "kernel mode here, µs",
        "own, µs",
        "driver, µs",
        "1,000 req/s a core",
        "Gbit/s a core",
        "10 GbE full, 1,000 req/s",
        "25 GbE full, 1,000 req/s",
        "100 GbE full, 1,000 req/s",
    ];
    let content = table(&head, &rows) + NOTES;
    Some(page_section(
        "On a real NIC: a prediction",
        ABOUT,
        "pagewire-bench compare --json compare.json",
        &content,
    ))
}

/// What kernel mode costs here: wire-like, and with offloads on.
fn kernel(figures: &Figures, cell: &str) -> String {
    let cost = |cell: &str| figures.value(&["compare", cell, "kernel mode", "cost"]);
    let like = cost(cell).map_or("–".to_owned(), number);
    match cost(&format!("{cell}{OFFLOADS}")) {
        Some(offloads) => format!("{like}<br><small>{} with offloads</small>", number(offloads)),
        None => like,
    }
}

fn range((low, high): (f64, f64)) -> String {
    let (low, high) = (number(low), number(high));
    if low == high { low } else { format!("{low}–{high}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEASURED: &str = r#"[
        {"name":"compare/c/kernel mode/cost","value":6.8,"unit":"us/request"},
        {"name":"compare/c/user stack/stage/receive: kernel thread","value":0.9,"unit":"us/request"},
        {"name":"compare/c/user stack/stage/transmit: kick","value":0.5,"unit":"us/request"},
        {"name":"compare/c/user stack/stage/smoltcp","value":0.6,"unit":"us/request"},
        {"name":"compare/c/user stack/stage/HTTP","value":0.235,"unit":"us/request"},
        {"name":"compare/c/user stack/frames in","value":1.0,"unit":"frames/request"},
        {"name":"compare/c/user stack/frames out","value":2.0,"unit":"frames/request"},
        {"name":"compare/c/user stack/frame bytes out","value":1226.0,"unit":"B"}]"#;

    #[test]
    fn a_core_is_charged_with_its_own_stages_and_the_drivers_frames() {
        let mut figures = Figures::default();
        figures.parse(MEASURED).unwrap();
        let prediction = Prediction::of(&figures, "c").unwrap();
        assert!((prediction.own_us - 0.835).abs() < 1e-9);
        // One frame in with steering, two out.
        assert!((prediction.driver_us.0 - 0.223).abs() < 0.001, "{prediction:?}");
        assert!((prediction.driver_us.1 - 0.4865).abs() < 0.001, "{prediction:?}");
        assert!((prediction.rate().1 - 945e3).abs() < 2e3, "{prediction:?}");
        // 20,000 bits a response: 10 GbE are full at half a million.
        assert!((prediction.wire_bits - 20_000.0).abs() < 1e-6);
        assert!((prediction.cores(10.0).0 - 0.529).abs() < 0.01, "{prediction:?}");
        let page = section(&figures).unwrap();
        assert!(page.contains("500<br>") && page.contains("6.80"), "{page}");
    }

    #[test]
    fn nothing_is_predicted_without_stages_or_frames() {
        let mut figures = Figures::default();
        figures.parse(&MEASURED.replace("frames in", "other")).unwrap();
        assert_eq!(section(&figures), None);
    }
}
