//! The sources that are dropped: the program's map of prefixes, and a list of what is in it.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use aya::maps::{
    Map, MapData, MapError,
    lpm_trie::{Key, LpmTrie},
};

use super::{address_key, errors::refused};
use crate::XdpError;

/// Prefixes that can be denied at once: the size of the program's map, less one entry of its own.
pub const MOST_DENIED: usize = 65_535;

/// What the map of denied sources says of a prefix.
const DENIED: u32 = 1;
const ALLOWED: u32 = 0;

/// All IPv4 addresses, mapped into IPv6 as they are in the maps.
const ALL_IPV4: (IpAddr, u8) = (IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// The denied sources: the program's map, and what is in it.
#[derive(Debug)]
pub(super) struct Denied {
    map: LpmTrie<MapData, [u8; 16], u32>,
    prefixes: BTreeSet<(IpAddr, u8)>,
}

impl Denied {
    /// A list with nothing on it, of the program's map.
    pub(super) fn new(map: Map) -> Result<Self, XdpError> {
        let error = |error: MapError| refused("list sources to", &error);
        let mut map = LpmTrie::try_from(map).map_err(error)?;
        // A prefix of IPv6 that IPv4 is mapped into must not be one of IPv4.
        map.insert(&prefix_key(ALL_IPV4), ALLOWED, 0).map_err(error)?;
        Ok(Self { map, prefixes: BTreeSet::new() })
    }

    /// See [`Steering::deny`](super::Steering::deny).
    pub(super) fn deny(&mut self, source: IpAddr, bits: u8) -> Result<bool, XdpError> {
        let prefix = prefix(source, bits);
        let inserted = self.map.insert(&prefix_key(prefix), DENIED, 0);
        inserted.map_err(|error| refused("deny a source to", &error))?;
        Ok(self.prefixes.insert(prefix))
    }

    /// See [`Steering::allow`](super::Steering::allow).
    pub(super) fn allow(&mut self, source: IpAddr, bits: u8) -> Result<bool, XdpError> {
        let prefix = prefix(source, bits);
        if !self.prefixes.contains(&prefix) {
            return Ok(false);
        }
        let key = prefix_key(prefix);
        let removed = match prefix {
            ALL_IPV4 => self.map.insert(&key, ALLOWED, 0),
            _ => self.map.remove(&key),
        };
        removed.map_err(|error| refused("allow a source to", &error))?;
        Ok(self.prefixes.remove(&prefix))
    }

    /// What is on the list, IPv4 first, in order.
    pub(super) fn prefixes(&self) -> impl ExactSizeIterator<Item = (IpAddr, u8)> {
        self.prefixes.iter().copied()
    }
}

/// A prefix as it is listed: the bits behind it are zero, and what is IPv4 in IPv6 is IPv4.
fn prefix(address: IpAddr, bits: u8) -> (IpAddr, u8) {
    match address {
        IpAddr::V4(address) => {
            let bits = bits.min(32);
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            (Ipv4Addr::from_bits(address.to_bits() & mask).into(), bits)
        }
        IpAddr::V6(address) => {
            let bits = bits.min(128);
            if let (Some(address), Some(bits)) = (address.to_ipv4_mapped(), bits.checked_sub(96)) {
                return prefix(address.into(), bits);
            }
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            (Ipv6Addr::from_bits(address.to_bits() & mask).into(), bits)
        }
    }
}

/// The key of a prefix in the map.
fn prefix_key((address, bits): (IpAddr, u8)) -> Key<[u8; 16]> {
    let mapped = if address.is_ipv4() { 96 } else { 0 };
    Key::new(mapped + u32::from(bits), address_key(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_has_no_bits_behind_it() {
        let key = |text: &str, bits| {
            let key = prefix_key(prefix(text.parse().unwrap(), bits));
            (key.prefix_len(), Ipv6Addr::from(key.data()).to_string())
        };
        assert_eq!(key("10.1.2.3", 8), (104, "::ffff:10.0.0.0".into()));
        assert_eq!(key("10.1.2.3", 200), (128, "::ffff:10.1.2.3".into()));
        assert_eq!(key("2001:db8:1:2:3::1", 64), (64, "2001:db8:1:2::".into()));
        assert_eq!(key("2001:db8::1", 0), (0, "::".into()));
        assert_eq!(key("10.1.2.3", 0), (96, "::ffff:0.0.0.0".into()));
        assert_eq!(key("::ffff:10.1.2.3", 104), (104, "::ffff:10.0.0.0".into()));
    }
}
