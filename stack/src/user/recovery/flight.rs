//! What a connection needs to know only while something is in flight. Boxes of it are pooled: an idle
//! connection has none.

use pagewire_driver::Instant;

use super::{controller::Window, hystart::HyStart, prr::Prr, rack::Rack, scoreboard::Scoreboard};

/// Records that a pooled scoreboard keeps memory for.
const KEPT_RECORDS: usize = 64;
/// Most boxes that wait for use.
const MOST_SPARE: usize = 1_024;

/// What the sender is doing about losses.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Stage {
    /// Nothing: all goes well.
    #[default]
    Open,
    /// The window shrinks because the network has asked for it (RFC 3168).
    Reduced,
    /// Losses are being repaired.
    Recovery,
    /// After a timeout: all that was in flight is taken for lost.
    Timeout,
}

/// How far it is known whether a timeout was spurious (RFC 5682).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Doubt {
    /// It is not asked, or settled.
    #[default]
    None,
    /// The first segment was sent again, and what comes back will tell.
    First,
    /// Without SACK: that was acknowledged, and the acknowledgement of fresh data will tell.
    Second,
}

/// What is needed to take a reduction back.
#[derive(Clone, Copy, Debug)]
pub struct Undo {
    /// The window before.
    pub window: Window,
    /// Retransmissions that the peer has not said to be duplicates (RFC 3708).
    pub unneeded: u32,
    /// The first retransmission: its end, and the timestamp that it carried (RFC 3522).
    pub first: Option<(u64, u32)>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Flight {
    pub board: Scoreboard,
    pub stage: Stage,
    /// The stage ends when everything before this is acknowledged.
    pub stage_end: u64,
    pub prr: Prr,
    pub rack: Rack,
    pub hystart: HyStart,
    pub undo: Option<Undo>,
    pub doubt: Doubt,
    /// The threshold before timeouts that shorter segments may show to have been the path's limit, not congestion.
    pub unlike_congestion: Option<u64>,
    /// When more segments will count as lost.
    pub reorder_at: Option<Instant>,
    /// Duplicate acknowledgements of a peer without SACK.
    pub duplicates: u32,
    /// Most bytes in flight since the last growth, for slow start.
    pub most: u64,
    /// What was sent next when the window last held fresh data back.
    pub limited_end: u64,
}

/// Spare boxes of one core.
#[expect(clippy::vec_box, reason = "the boxes themselves are handed out")]
#[derive(Debug, Default)]
pub struct FlightPool {
    spare: Vec<Box<Flight>>,
}

impl FlightPool {
    /// A box as new.
    pub fn take(&mut self) -> Box<Flight> {
        self.spare.pop().unwrap_or_default()
    }

    /// Takes a box back.
    pub fn give(&mut self, mut flight: Box<Flight>) {
        if self.spare.len() < MOST_SPARE {
            let mut board = std::mem::take(&mut flight.board);
            board.clear(KEPT_RECORDS);
            *flight = Flight { board, ..Flight::default() };
            self.spare.push(flight);
        }
    }
}
