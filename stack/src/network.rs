//! The network around one interface: addresses, routes and neighbours, as plain data.
//!
//! Nothing here does I/O. Whoever knows the network (netlink, a test) builds a [`NetworkView`]; the
//! user stack asks it where a packet goes next. A view is replaced as a whole, never edited while in
//! use.

use std::{cmp::Reverse, net::IpAddr};

use pagewire_driver::MacAddress;
use thiserror::Error;

/// The interface that the view is about.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Link {
    /// The kernel's index of it; zero where there is no kernel interface.
    pub index: u32,
    /// Its MAC address.
    pub mac: MacAddress,
    /// Largest L3 packet in bytes.
    pub mtu: usize,
    /// Whether it is up and has a carrier.
    pub up: bool,
}

/// An address with the length of its network's prefix, such as `10.77.0.1/24`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

/// The prefix is longer than the address.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("a prefix of {address} has at most {max} bits, not {length}")]
pub struct PrefixTooLong {
    address: IpAddr,
    length: u8,
    max: u8,
}

impl Prefix {
    /// Joins an address and a prefix length in bits.
    ///
    /// # Errors
    ///
    /// When the length exceeds 32 (IPv4) or 128 (IPv6).
    pub fn new(address: IpAddr, length: u8) -> Result<Self, PrefixTooLong> {
        let max = bits(address);
        if length > max {
            Err(PrefixTooLong { address, length, max })
        } else {
            Ok(Self { address, length })
        }
    }

    /// Every address of `family`'s kind: the prefix of a default route.
    pub fn everything(family: IpAddr) -> Self {
        Self { address: family, length: 0 }
    }

    /// The address as it was given, host bits included.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The prefix length in bits.
    pub fn length(&self) -> u8 {
        self.length
    }

    /// Whether `address` is of the same kind and begins with the same bits.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                let differing = ours.to_bits() ^ theirs.to_bits();
                differing.leading_zeros() >= u32::from(self.length)
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                let differing = ours.to_bits() ^ theirs.to_bits();
                differing.leading_zeros() >= u32::from(self.length)
            }
            _ => false,
        }
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Where packets to a prefix go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route {
    /// The destinations.
    pub destination: Prefix,
    /// The router that takes them on; none where they are on the link themselves. It may be of the
    /// other address family.
    pub gateway: Option<IpAddr>,
    /// Index of the interface that the packets leave by.
    pub interface: u32,
    /// The source address that the kernel prefers there.
    pub source: Option<IpAddr>,
    /// Among routes to the same prefix the smallest wins.
    pub metric: u32,
    /// Largest packet that the route allows, where it is set apart from the link's.
    pub mtu: Option<usize>,
}

/// A resolved neighbour on the link.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Neighbour {
    /// Its network address.
    pub address: IpAddr,
    /// Its link address.
    pub mac: MacAddress,
}

/// What the kernel knows about the network around one interface.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct NetworkView {
    /// The interface.
    pub link: Link,
    /// Addresses that the kernel has on it.
    pub addresses: Vec<Prefix>,
    /// Unicast routes that leave by it.
    pub routes: Vec<Route>,
    /// Neighbours whose link address is known.
    pub neighbours: Vec<Neighbour>,
}

/// The first hop towards a destination.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NextHop {
    /// The neighbour whose MAC address the frame gets: the destination itself or a gateway.
    pub address: IpAddr,
    /// The source address that the route prefers, for connections that we open.
    pub source: Option<IpAddr>,
    /// Largest L3 packet in bytes.
    pub mtu: usize,
}

impl NetworkView {
    /// The first hop towards `destination` by the longest matching prefix, then the smallest metric,
    /// then the earlier route; none if no route matches.
    pub fn next_hop(&self, destination: IpAddr) -> Option<NextHop> {
        let route = self
            .routes
            .iter()
            .filter(|route| route.destination.contains(destination))
            .min_by_key(|route| (Reverse(route.destination.length()), route.metric))?;
        Some(NextHop {
            address: route.gateway.unwrap_or(destination),
            source: route.source,
            mtu: route.mtu.map_or(self.link.mtu, |mtu| mtu.min(self.link.mtu)),
        })
    }

    /// The link address of a neighbour, if it is resolved.
    pub fn neighbour(&self, address: IpAddr) -> Option<MacAddress> {
        self.neighbours.iter().find(|known| known.address == address).map(|known| known.mac)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn prefix(text: &str) -> Prefix {
        let (address, length) = text.split_once('/').expect("a slash");
        Prefix::new(ip(address), length.parse().expect("a length")).expect("a prefix")
    }

    fn route(destination: &str, gateway: Option<&str>, metric: u32) -> Route {
        Route {
            destination: prefix(destination),
            gateway: gateway.map(ip),
            interface: 7,
            source: None,
            metric,
            mtu: None,
        }
    }

    fn view(routes: Vec<Route>) -> NetworkView {
        let link = Link { index: 7, mtu: 1500, up: true, ..Link::default() };
        NetworkView { link, routes, ..NetworkView::default() }
    }

    fn hop(view: &NetworkView, destination: &str) -> Option<IpAddr> {
        view.next_hop(ip(destination)).map(|hop| hop.address)
    }

    #[test]
    fn the_longest_prefix_wins_whatever_the_order_and_metric() {
        let mut routes = vec![
            route("0.0.0.0/0", Some("10.0.0.1"), 0),
            route("10.0.0.0/8", Some("10.0.0.2"), 0),
            route("10.77.0.0/24", None, 900),
            route("10.77.0.9/32", Some("10.0.0.3"), 0),
        ];
        for _ in 0..routes.len() {
            routes.rotate_left(1);
            let view = view(routes.clone());
            assert_eq!(hop(&view, "192.0.2.1"), Some(ip("10.0.0.1")));
            assert_eq!(hop(&view, "10.1.1.1"), Some(ip("10.0.0.2")));
            assert_eq!(hop(&view, "10.77.0.8"), Some(ip("10.77.0.8")));
            assert_eq!(hop(&view, "10.77.0.9"), Some(ip("10.0.0.3")));
        }
    }

    #[test]
    fn among_equal_prefixes_the_smallest_metric_wins_then_the_first() {
        let view = view(vec![
            route("fd78::/64", Some("fd77::1"), 1024),
            route("fd78::/64", Some("fd77::2"), 256),
            route("fd78::/64", Some("fd77::3"), 256),
        ]);
        assert_eq!(hop(&view, "fd78::5"), Some(ip("fd77::2")));
    }

    #[test]
    fn without_a_matching_route_there_is_no_hop() {
        let view = view(vec![route("10.77.0.0/24", None, 0), route("0.0.0.0/0", None, 0)]);
        assert_eq!(hop(&view, "fd77::1"), None);
        assert_eq!(hop(&NetworkView::default(), "10.77.0.1"), None);
    }

    #[test]
    fn an_ipv4_route_may_have_an_ipv6_gateway() {
        let view = view(vec![route("0.0.0.0/0", Some("fe80::1"), 0)]);
        assert_eq!(hop(&view, "192.0.2.1"), Some(ip("fe80::1")));
    }

    #[test]
    fn a_route_can_lower_the_mtu_but_not_raise_it() {
        let mut narrow = route("10.78.0.0/24", Some("10.77.0.254"), 0);
        narrow.mtu = Some(1280);
        let mut wide = route("10.79.0.0/24", Some("10.77.0.254"), 0);
        wide.mtu = Some(9000);
        let view = view(vec![narrow, wide]);
        assert_eq!(view.next_hop(ip("10.78.0.2")).map(|hop| hop.mtu), Some(1280));
        assert_eq!(view.next_hop(ip("10.79.0.2")).map(|hop| hop.mtu), Some(1500));
    }

    #[test]
    fn prefixes_match_to_the_bit_in_both_families() {
        assert!(prefix("10.77.0.128/25").contains(ip("10.77.0.255")));
        assert!(!prefix("10.77.0.128/25").contains(ip("10.77.0.127")));
        assert!(prefix("fd77::/127").contains(ip("fd77::1")));
        assert!(!prefix("fd77::/127").contains(ip("fd77::2")));
        assert!(prefix("fd77::1/128").contains(ip("fd77::1")));
        assert!(prefix("::/0").contains(ip("ff02::1")));
        assert!(!prefix("0.0.0.0/0").contains(ip("::")));
        assert!(Prefix::new(ip("10.0.0.1"), 33).is_err());
        assert!(Prefix::new(ip("fd77::1"), 129).is_err());
    }

    #[test]
    fn only_resolved_neighbours_have_a_link_address() {
        let mac = MacAddress([2, 0, 0, 0, 0, 1]);
        let mut view = view(Vec::new());
        view.neighbours.push(Neighbour { address: ip("10.77.0.2"), mac });
        assert_eq!(view.neighbour(ip("10.77.0.2")), Some(mac));
        assert_eq!(view.neighbour(ip("10.77.0.3")), None);
    }
}
