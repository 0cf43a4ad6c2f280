//! Initial sequence numbers that a stranger cannot guess (RFC 6528).
//!
//! smoltcp draws them from a small generator inside its `Interface`. The generator can be run
//! backwards, so a throw-away interface with the right seed draws exactly the number that is wanted.

use std::hash::{BuildHasher, RandomState};

use pagewire_driver::Instant;
use smoltcp::{
    iface::{Config, Interface},
    wire::{HardwareAddress, IpCidr},
};

use super::{device::Scratch, flow_table::Flow};

/// Makes initial sequence numbers and interfaces that will use them.
pub struct IsnGenerator {
    secret: RandomState,
}

impl IsnGenerator {
    /// A generator with a secret of its own (`SipHash` with a random key).
    pub fn new() -> Self {
        Self { secret: RandomState::new() }
    }

    /// M + F(flow, secret), with M a clock of 4 µs (RFC 6528 section 3).
    pub fn isn(&self, now: Instant, flow: &Flow) -> u32 {
        let clock = (now.micros() / 4) as u32;
        clock.wrapping_add(self.secret.hash_one(flow.words()) as u32)
    }

    /// An interface whose next socket starts with `isn`.
    pub fn interface(isn: u32, addresses: &[IpCidr], scratch: &mut Scratch) -> Interface {
        interface(seed_for(isn), addresses, scratch)
    }
}

/// An interface with these addresses.
pub fn interface(seed: u64, addresses: &[IpCidr], scratch: &mut Scratch) -> Interface {
    let mut config = Config::new(HardwareAddress::Ip);
    config.random_seed = seed;
    let mut device = scratch.device(&[]);
    let mut interface = Interface::new(config, &mut device, smoltcp::time::Instant::ZERO);
    interface.update_ip_addrs(|list| {
        for address in addresses.iter().take(list.capacity()) {
            // Cannot fail: as many as there is room for.
            let _ = list.push(*address);
        }
    });
    interface
}

/// smoltcp's generator (its `rand.rs`): state = state * `MULTIPLIER` + `INCREMENT`, output = state >>
/// (29 - the top three bits of the state).
const MULTIPLIER: u64 = 0xbb2e_fcec_3c39_611d;
const INCREMENT: u64 = 0x7590_ef39;

/// The seed with which an `Interface` draws `isn` as its second number; the first is its IPv4
/// identification, which is drawn again while it is zero.
fn seed_for(isn: u32) -> u64 {
    // With the top three bits set the output is bits 22 to 53; the bits below are free.
    (0..1 << 22)
        .map(|free: u64| (7 << 61) | (u64::from(isn) << 22) | free)
        .map(|state| (before(state), state))
        .find(|&(first, _)| {
            let number = (first >> (29 - (first >> 61))) as u32;
            (number ^ (number >> 16)) as u16 != 0
        })
        .map_or(0, |(first, _)| before(first))
}

/// The state before this one.
fn before(state: u64) -> u64 {
    state.wrapping_sub(INCREMENT).wrapping_mul(inverse(MULTIPLIER))
}

/// The inverse of an odd number modulo 2^64, by Newton's iteration: each step doubles the right bits.
fn inverse(odd: u64) -> u64 {
    (0..6).fold(odd, |x, _| x.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(x))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(port: u16) -> Flow {
        Flow { peer: ([10, 0, 0, 1], port).into(), local: "10.0.0.9:80".parse().unwrap() }
    }

    #[test]
    fn numbers_differ_between_flows_and_advance_with_the_clock() {
        let generator = IsnGenerator::new();
        let first = generator.isn(Instant::ZERO, &flow(1));
        assert_ne!(first, generator.isn(Instant::ZERO, &flow(2)));
        let later = generator.isn(Instant::from_millis(1_000), &flow(1));
        assert_eq!(later.wrapping_sub(first), 250_000);
        assert_ne!(first, IsnGenerator::new().isn(Instant::ZERO, &flow(1)));
    }
}
