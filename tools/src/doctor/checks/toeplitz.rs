//! The hash by which RSS spreads flows: Toeplitz' ("Introduction to Receive Side Scaling", Microsoft, also the
//! source of the test vectors; Documentation/networking/scaling.rst).
//!
//! The hash is linear: that of a flow is the exclusive or of what its fixed part hashes to and of the columns of
//! those bits of the client's address and port that are set. So what a key can reach is known exactly, without trying flows.

use std::{collections::BTreeSet, net::IpAddr};

/// A hash with its key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Toeplitz<'a> {
    /// The key, from its most significant bit on. What is beyond its end counts as zero.
    pub(super) key: &'a [u8],
    /// Whether source and destination are both replaced by their exclusive or before.
    pub(super) symmetric: bool,
}

impl Toeplitz<'_> {
    /// The entries of a table of `entries` that TCP to `to` can be sent to, whoever it is from.
    pub(super) fn reached(self, entries: usize, to: (IpAddr, u16)) -> BTreeSet<usize> {
        let nothing = Flow { from: (unspecified(to.0), 0), to };
        let base = self.entry(nothing, entries);
        let mut reached = BTreeSet::from([base]);
        for flow in nothing.single_bits() {
            let column = self.entry(flow, entries) ^ base;
            if !reached.contains(&(base ^ column)) {
                let others: Vec<_> = reached.iter().map(|entry| entry ^ column).collect();
                reached.extend(others);
            }
        }
        reached.into_iter().filter(|&entry| entry < entries).collect()
    }

    /// The entry for a flow: the low bits of its hash.
    fn entry(self, flow: Flow, entries: usize) -> usize {
        self.hash(&flow.bytes(self.symmetric)) as usize & (entries.next_power_of_two() - 1)
    }

    fn hash(self, input: &[u8]) -> u32 {
        let bit = |bytes: &[u8], index: usize| {
            bytes.get(index / 8).is_some_and(|byte| byte << (index % 8) & 0x80 != 0)
        };
        let mut window =
            (0..32).fold(0, |window, index| window << 1 | u32::from(bit(self.key, index)));
        let mut hash = 0;
        for index in 0..input.len() * 8 {
            if bit(input, index) {
                hash ^= window;
            }
            window = window << 1 | u32::from(bit(self.key, index + 32));
        }
        hash
    }
}

/// A TCP flow as it arrives: client to server.
#[derive(Clone, Copy, Debug)]
struct Flow {
    from: (IpAddr, u16),
    to: (IpAddr, u16),
}

impl Flow {
    /// What is hashed: source and destination address, source and destination port.
    fn bytes(self, symmetric: bool) -> Vec<u8> {
        let octets = |address: IpAddr| match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let pair = |from: Vec<u8>, to: Vec<u8>| {
            if symmetric {
                let both: Vec<u8> = from.iter().zip(&to).map(|(a, b)| a ^ b).collect();
                both.repeat(2)
            } else {
                [from, to].concat()
            }
        };
        let ports = pair(self.from.1.to_be_bytes().to_vec(), self.to.1.to_be_bytes().to_vec());
        [pair(octets(self.from.0), octets(self.to.0)), ports].concat()
    }

    /// The same flow from each client that has a single bit set in its address or port.
    fn single_bits(self) -> Vec<Self> {
        let ports = (0..16).map(|bit| Self { from: (self.from.0, 1 << bit), ..self });
        let addresses: Vec<IpAddr> = match self.to.0 {
            IpAddr::V4(_) => {
                (0..32).map(|bit| IpAddr::from((1_u32 << bit).to_be_bytes())).collect()
            }
            IpAddr::V6(_) => {
                (0..128).map(|bit| IpAddr::from((1_u128 << bit).to_be_bytes())).collect()
            }
        };
        ports
            .chain(addresses.into_iter().map(|address| Self { from: (address, 0), ..self }))
            .collect()
    }
}

fn unspecified(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::from([0; 4]),
        IpAddr::V6(_) => IpAddr::from([0; 16]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// That of Microsoft's verification suite.
    const KEY: [u8; 40] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f,
        0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30,
        0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
    ];

    #[test]
    fn hashes_are_those_of_the_verification_suite() {
        let hash = |from: &str, from_port, to: &str, to_port| {
            let flow = Flow {
                from: (from.parse().unwrap(), from_port),
                to: (to.parse().unwrap(), to_port),
            };
            Toeplitz { key: &KEY, symmetric: false }.hash(&flow.bytes(false))
        };
        assert_eq!(hash("66.9.149.187", 2794, "161.142.100.80", 1766), 0x51cc_c178);
        assert_eq!(hash("199.92.111.2", 14230, "65.69.140.83", 4739), 0xc626_b0ea);
        let (from, to) = ("3ffe:2501:200:1fff::7", "3ffe:2501:200:3::1");
        assert_eq!(hash(from, 2794, to, 1766), 0x4020_7d3d);
    }

    #[test]
    fn what_can_be_reached_is_what_flows_reach() {
        let to: (IpAddr, u16) = ("192.0.2.1".parse().unwrap(), 80);
        // A table of 6 has entries that no hash means directly; those are left out.
        for (key, symmetric, entries, expected) in [
            (&KEY[..], false, 128, 128),
            (&KEY[..], true, 128, 128),
            (&KEY[..], false, 6, 6),
            (&[0x6d, 0x5a].repeat(20)[..], false, 128, 128),
            (&[0x6d, 0x5a].repeat(20)[..], true, 128, 1),
            (&[0xff].repeat(40)[..], false, 128, 2),
            (&[0].repeat(40)[..], false, 128, 1),
            (&[][..], false, 128, 1),
        ] {
            let toeplitz = Toeplitz { key, symmetric };
            let reached = toeplitz.reached(entries, to);
            assert_eq!(reached.len(), expected, "{key:02x?} {symmetric} {entries}");
            // Clients with many bits set reach nothing else.
            for number in 0..2_000_u32 {
                let mixed = number.wrapping_mul(0x9e37_79b9);
                let from = (IpAddr::from(mixed.to_be_bytes()), (mixed >> 7) as u16);
                let entry = toeplitz.entry(Flow { from, to }, entries);
                assert!(entry >= entries || reached.contains(&entry), "{key:02x?}: {entry}");
            }
        }
    }
}
