//! What the kernel's messages mean to a [`NetworkView`](pagewire_stack::NetworkView).

use std::{net::IpAddr, ops::BitOrAssign};

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::AddressAttribute,
    link::{LinkAttribute, LinkFlags},
    neighbour::{
        NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
    },
    route::{
        RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteType, RouteVia,
    },
};
use pagewire_driver::MacAddress;
use pagewire_stack::{Link, Neighbour, Prefix, Route};

/// What the kernel can be asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Links,
    Addresses,
    Routes,
    Neighbours,
}

/// A set of [`Kind`]s.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Changes(u8);

impl Changes {
    pub(super) fn all() -> Self {
        Self(u8::MAX)
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn contains(self, kind: Kind) -> bool {
        self.0 & (1 << kind as u8) != 0
    }
}

impl From<Kind> for Changes {
    fn from(kind: Kind) -> Self {
        Self(1 << kind as u8)
    }
}

impl BitOrAssign for Changes {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// What a notice changes in the view of `link`, which is called `name`.
pub(super) fn concern(
    link: &Link,
    name: &str,
    notice: &NetlinkMessage<RouteNetlinkMessage>,
) -> Changes {
    let NetlinkPayload::InnerMessage(notice) = &notice.payload else { return Changes::default() };
    let of_interface = |index: u32, kind: Kind| {
        if index == link.index { Changes::from(kind) } else { Changes::default() }
    };
    match notice {
        RouteNetlinkMessage::NewLink(message) | RouteNetlinkMessage::DelLink(message) => {
            let named = message
                .attributes
                .iter()
                .any(|a| matches!(a, LinkAttribute::IfName(n) if n == name));
            if named || message.header.index == link.index {
                Kind::Links.into()
            } else {
                Changes::default()
            }
        }
        RouteNetlinkMessage::NewAddress(message) | RouteNetlinkMessage::DelAddress(message) => {
            // The kernel announces most routes that go with an address, but not all.
            let mut changes = of_interface(message.header.index, Kind::Addresses);
            changes |= of_interface(message.header.index, Kind::Routes);
            changes
        }
        RouteNetlinkMessage::NewNeighbour(message) | RouteNetlinkMessage::DelNeighbour(message) => {
            of_interface(message.header.ifindex, Kind::Neighbours)
        }
        // Of whatever interface: a route may also move from one to another.
        RouteNetlinkMessage::NewRoute(_) | RouteNetlinkMessage::DelRoute(_) => Kind::Routes.into(),
        _ => Changes::default(),
    }
}

/// A link and its name.
pub(super) fn link(message: &RouteNetlinkMessage) -> Option<(String, Link)> {
    let RouteNetlinkMessage::NewLink(message) = message else { return None };
    let running = LinkFlags::Up | LinkFlags::LowerUp;
    let mut link = Link {
        index: message.header.index,
        up: message.header.flags.contains(running),
        ..Link::default()
    };
    let mut name = None;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = Some(text.clone()),
            LinkAttribute::Address(bytes) => link.mac = mac(bytes).unwrap_or_default(),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu as usize,
            _ => {}
        }
    }
    Some((name?, link))
}

/// An address of the interface `index`.
pub(super) fn address(index: u32, message: &RouteNetlinkMessage) -> Option<Prefix> {
    let RouteNetlinkMessage::NewAddress(message) = message else { return None };
    if message.header.index != index {
        return None;
    }
    // On a point-to-point link the other attribute is the peer's.
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let plain = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    });
    Prefix::new(local.or(plain)?, message.header.prefix_len).ok()
}

/// A unicast route of the main table by the interface `index`; of several hops the first by it.
pub(super) fn route(index: u32, message: &RouteNetlinkMessage) -> Option<Route> {
    let RouteNetlinkMessage::NewRoute(message) = message else { return None };
    let header = &message.header;
    if header.kind != RouteType::Unicast || table(message) != u32::from(RouteHeader::RT_TABLE_MAIN)
    {
        return None;
    }
    let everything = match header.address_family {
        AddressFamily::Inet => IpAddr::from([0; 4]),
        AddressFamily::Inet6 => IpAddr::from([0; 16]),
        _ => return None,
    };
    let mut destination = everything;
    let (mut source, mut metric, mut mtu) = (None, 0, None);
    let mut hop = Hop::of(&message.attributes, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = ip(address)?,
            RouteAttribute::PrefSource(address) => source = ip(address),
            RouteAttribute::Priority(priority) => metric = *priority,
            RouteAttribute::Metrics(metrics) => mtu = mtu_of(metrics),
            RouteAttribute::MultiPath(hops) => {
                let ours = hops.iter().find(|hop| hop.interface_index == index)?;
                hop = Hop::of(&ours.attributes, Some(index));
            }
            _ => {}
        }
    }
    let destination = Prefix::new(destination, header.destination_prefix_length).ok()?;
    (hop.interface == Some(index)).then_some(Route {
        destination,
        gateway: hop.gateway,
        interface: index,
        source,
        metric,
        mtu,
    })
}

/// A neighbour on the interface `index` whose link address is known.
pub(super) fn neighbour(index: u32, message: &RouteNetlinkMessage) -> Option<Neighbour> {
    let RouteNetlinkMessage::NewNeighbour(message) = message else { return None };
    let known = matches!(
        message.header.state,
        NeighbourState::Reachable
            | NeighbourState::Stale
            | NeighbourState::Delay
            | NeighbourState::Probe
            | NeighbourState::Permanent
    );
    if message.header.ifindex != index || !known {
        return None;
    }
    let (mut address, mut link) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => {
                address = Some(IpAddr::V4(*ip));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => {
                address = Some(IpAddr::V6(*ip));
            }
            NeighbourAttribute::LinkLayerAddress(bytes) => link = mac(bytes),
            _ => {}
        }
    }
    Some(Neighbour { address: address?, mac: link? })
}

/// An order to resolve a neighbour as if a packet were sent to it.
pub(super) fn probe(index: u32, neighbour: IpAddr) -> NeighbourMessage {
    let (family, address) = match neighbour {
        IpAddr::V4(ip) => (AddressFamily::Inet, NeighbourAddress::Inet(ip)),
        IpAddr::V6(ip) => (AddressFamily::Inet6, NeighbourAddress::Inet6(ip)),
    };
    let mut message = NeighbourMessage::default();
    message.header.family = family;
    message.header.ifindex = index;
    message.header.flags = NeighbourFlags::Use;
    message.attributes.push(NeighbourAttribute::Destination(address));
    message
}

/// One way a route goes.
#[derive(Default)]
struct Hop {
    interface: Option<u32>,
    gateway: Option<IpAddr>,
}

impl Hop {
    fn of(attributes: &[RouteAttribute], interface: Option<u32>) -> Self {
        let mut hop = Self { interface, gateway: None };
        for attribute in attributes {
            match attribute {
                RouteAttribute::Oif(index) => hop.interface = Some(*index),
                RouteAttribute::Gateway(address) => hop.gateway = ip(address),
                RouteAttribute::Via(RouteVia::Inet(address)) => {
                    hop.gateway = Some((*address).into());
                }
                RouteAttribute::Via(RouteVia::Inet6(address)) => {
                    hop.gateway = Some((*address).into());
                }
                _ => {}
            }
        }
        hop
    }
}

fn table(message: &RouteMessage) -> u32 {
    let wide = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    wide.unwrap_or(message.header.table.into())
}

fn mtu_of(metrics: &[RouteMetric]) -> Option<usize> {
    metrics.iter().find_map(|metric| match metric {
        RouteMetric::Mtu(mtu) if *mtu > 0 => Some(*mtu as usize),
        _ => None,
    })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

fn mac(bytes: &[u8]) -> Option<MacAddress> {
    bytes.try_into().ok().map(MacAddress)
}
