//! How far ahead of a transfer the disk is read.
//!
//! One window ahead is enough for a client that is slower than the disk, and anything more would only take
//! memory from others. Where a sender comes to a window that is still being read, the distance doubles, up to
//! a bound; a jump begins anew. What was read ahead and is gone again when its turn comes was read too early:
//! the distance is halved.

use crate::ConnectionId;

/// Most windows ahead of one transfer.
pub(super) const FARTHEST: u64 = 8;

/// Transfers that are followed. A power of two; those that fall on one place begin anew by turns.
const FOLLOWED: usize = 1_024;

/// How a sender finds the window that it comes to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Arrival {
    /// In memory.
    InTime,
    /// Requested, and not there yet.
    TooSoon,
    /// Not in memory, and nobody has asked for it, or it is gone again.
    Missing,
}

/// Where a transfer is.
#[derive(Clone, Copy, Debug)]
struct Place {
    id: ConnectionId,
    /// Of its object; zero is nobody's.
    serial: u64,
    window: u64,
    ahead: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct ReadAhead {
    places: Vec<Place>,
}

impl ReadAhead {
    pub(super) fn new() -> Self {
        let id = ConnectionId { slot: 0, generation: 0 };
        Self { places: vec![Place { id, serial: 0, window: 0, ahead: 1 }; FOLLOWED] }
    }

    /// Takes note of where `id` is: in a window of the object with that serial number. Returns how many
    /// windows behind that are to be requested; none if it has been here before.
    pub(super) fn arrive(
        &mut self,
        id: ConnectionId,
        serial: u64,
        window: u64,
        arrival: Arrival,
    ) -> u64 {
        let place = &mut self.places[id.slot as usize % FOLLOWED];
        let is_known = (place.id, place.serial) == (id, serial);
        if is_known && place.window == window {
            return 0;
        }
        let ahead = match arrival {
            _ if !is_known || place.window + 1 != window => 1,
            Arrival::InTime => place.ahead,
            Arrival::TooSoon => (place.ahead * 2).min(FARTHEST),
            Arrival::Missing => (place.ahead / 2).max(1),
        };
        *place = Place { id, serial, window, ahead };
        ahead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: ConnectionId = ConnectionId { slot: 5, generation: 1 };

    #[test]
    fn the_distance_follows_the_sender() {
        use Arrival::{InTime, Missing, TooSoon};
        let mut read_ahead = ReadAhead::new();
        let steps = [
            (0, Missing, 1),
            (0, InTime, 0),
            (1, InTime, 1),
            (2, TooSoon, 2),
            (2, TooSoon, 0),
            (3, TooSoon, 4),
            (4, InTime, 4),
            (5, TooSoon, 8),
            (6, TooSoon, FARTHEST),
            (7, Missing, 4),
            // A jump, forwards and back.
            (9, TooSoon, 1),
            (10, TooSoon, 2),
            (0, InTime, 1),
        ];
        for (window, arrival, ahead) in steps {
            assert_eq!(read_ahead.arrive(ID, 7, window, arrival), ahead, "{window} {arrival:?}");
        }
    }

    #[test]
    fn another_transfer_begins_anew() {
        let mut read_ahead = ReadAhead::new();
        for window in 0..5 {
            read_ahead.arrive(ID, 7, window, Arrival::TooSoon);
        }
        assert_eq!(read_ahead.arrive(ID, 8, 5, Arrival::TooSoon), 1);
        let later = ConnectionId { generation: 2, ..ID };
        assert_eq!(read_ahead.arrive(later, 8, 6, Arrival::TooSoon), 1);
        let same_place = ConnectionId { slot: ID.slot + FOLLOWED as u32, ..ID };
        assert_eq!(read_ahead.arrive(same_place, 8, 7, Arrival::TooSoon), 1);
    }
}
