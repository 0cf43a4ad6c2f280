//! SYN cookies: a handshake that costs no memory until the peer has proved that it is there.
//!
//! What a SYN says is put into the numbers that the peer gives back with its ACK (RFC 4987 section 3.6):
//!
//! - our initial sequence number, from the top: one bit of the minute, three bits for the peer's MSS,
//!   28 bits of a keyed hash over both and the flow, the peer's initial sequence number and the minute;
//! - with timestamps, the bits above our shard's number: whether the peer takes selective
//!   acknowledgements, and its window scale. Without timestamps both are given up.
//!
//! The key is the core's own secret: a cookie is taken only by the core that made it. Its ACK finds that
//! core as every segment does that comes on another queue, so that no two cores open one connection.
//! A forged ACK passes once in 2^28, and opens one connection then.

use std::hash::{BuildHasher, RandomState};

use pagewire_driver::Instant;

use super::{flow_table::Flow, handshake::SynOptions, mesh::SHARD_BITS};

/// MSS values that a cookie can name; the largest that is not above the peer's is taken. The usual ones
/// for Ethernet, tunnels and IPv6 (RFC 9293 section 3.7.1), and the extremes.
const MSS: [u16; 8] = [48, 536, 1_220, 1_300, 1_380, 1_440, 1_460, 3_440];
/// How long a cookie's minute is, in ms. A cookie is good for one to two of them.
const MINUTE_MS: u64 = 64_000;
const HASH_BITS: u32 = 28;
const MSS_BITS: u32 = 3;

/// Bits of a timestamp that hold options: the scale above whether SACK is permitted.
const OPTION_BITS: u32 = 5;
const GRAIN_BITS: u32 = SHARD_BITS + OPTION_BITS;
/// "No window scale": RFC 7323 goes up to 14.
const NO_SCALE: u32 = 15;

/// Makes and checks one core's cookies.
pub struct Cookies {
    secret: RandomState,
}

impl Cookies {
    /// With a secret of its own.
    pub fn new() -> Self {
        Self { secret: RandomState::new() }
    }

    /// The initial sequence number that answers a SYN of `flow` with sequence number `initial`.
    pub fn sequence(&self, now: Instant, flow: &Flow, initial: u32, mss: u16) -> u32 {
        let index = MSS.iter().rposition(|&known| known <= mss).unwrap_or(0);
        self.number(now.millis() / MINUTE_MS, flow, initial, index as u32)
    }

    /// The peer's MSS, if a segment that acknowledges `cookie` completes a handshake that began with
    /// `initial`.
    pub fn check(&self, now: Instant, flow: &Flow, initial: u32, cookie: u32) -> Option<u16> {
        let minute = now.millis() / MINUTE_MS;
        let is_previous = u64::from(cookie >> 31) != minute & 1;
        let minute = minute.checked_sub(u64::from(is_previous))?;
        let index = cookie >> HASH_BITS & ((1 << MSS_BITS) - 1);
        (self.number(minute, flow, initial, index) == cookie).then(|| MSS[index as usize])
    }

    fn number(&self, minute: u64, flow: &Flow, initial: u32, index: u32) -> u32 {
        let hash = self.secret.hash_one((flow.words(), initial, minute, index)) as u32;
        (minute as u32) << 31 | index << HASH_BITS | hash >> (32 - HASH_BITS)
    }
}

/// The timestamp of a SYN-ACK that carries `options`. `present` is what would be sent otherwise; the
/// result is not later, so that nothing sent afterwards looks old.
pub fn timestamp(present: u32, options: SynOptions) -> u32 {
    let scale = options.window_scale.map_or(NO_SCALE, u32::from);
    let bits = scale << 1 | u32::from(options.sack_permitted);
    let shard = present & ((1 << SHARD_BITS) - 1);
    let stamp = present >> GRAIN_BITS << GRAIN_BITS | bits << SHARD_BITS | shard;
    if stamp > present { stamp.wrapping_sub(1 << GRAIN_BITS) } else { stamp }
}

/// What [`timestamp`] has put into a timestamp that the peer echoes.
pub fn options_of(echo: u32) -> (Option<u8>, bool) {
    let bits = echo >> SHARD_BITS & ((1 << OPTION_BITS) - 1);
    let scale = Some((bits >> 1) as u8).filter(|&scale| u32::from(scale) != NO_SCALE);
    (scale, bits & 1 == 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn flow(port: u16) -> Flow {
        Flow { peer: ([10, 0, 0, 1], port).into(), local: "10.0.0.9:80".parse().unwrap() }
    }

    #[test]
    fn a_cookie_is_good_for_one_to_two_minutes_and_for_its_flow_and_start_alone() {
        let cookies = Cookies::new();
        let made = Instant::from_millis(10 * MINUTE_MS + 5);
        let cookie = cookies.sequence(made, &flow(1), 77, 1_460);
        let check = |later, port, initial| {
            let now = Instant::from_millis(made.millis() + later);
            cookies.check(now, &flow(port), initial, cookie)
        };
        assert_eq!(check(0, 1, 77), Some(1_460));
        assert_eq!(check(MINUTE_MS, 1, 77), Some(1_460));
        assert_eq!(check(2 * MINUTE_MS, 1, 77), None, "too old");
        assert_eq!(check(0, 2, 77), None, "another flow");
        assert_eq!(check(0, 1, 78), None, "another start");
        assert_eq!(Cookies::new().check(made, &flow(1), 77, cookie), None, "another core");
        for bit in 0..32 {
            assert_eq!(cookies.check(made, &flow(1), 77, cookie ^ 1 << bit), None, "bit {bit}");
        }
    }

    #[test]
    fn the_mss_is_rounded_down() {
        let (cookies, now) = (Cookies::new(), Instant::from_millis(1_000_000));
        let through =
            |mss| cookies.check(now, &flow(1), 1, cookies.sequence(now, &flow(1), 1, mss)).unwrap();
        assert_eq!(
            [through(1), through(536), through(1_459), through(9_000)],
            [48, 536, 1_440, 3_440]
        );
    }

    proptest! {
        #[test]
        fn options_go_through_a_timestamp_that_is_never_of_the_future(
            present: u32,
            window_scale in prop::option::of(0u8..=14),
            sack_permitted: bool,
        ) {
            let options = SynOptions { mss: 0, window_scale, sack_permitted };
            let stamp = timestamp(present, options);
            prop_assert_eq!(options_of(stamp), (window_scale, sack_permitted));
            prop_assert_eq!(stamp & 0x3f, present & 0x3f, "the shard");
            prop_assert!(present.wrapping_sub(stamp) < 2 << GRAIN_BITS);
        }
    }
}
