//! Life on the link: who is the next hop, and answers to those who look for us.
//!
//! For addresses that the stack owns alone it speaks ARP, NDP and ICMP echo itself. For addresses that
//! the kernel owns, the kernel does, and its routes and neighbours come in as [`NetworkView`]s.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pagewire_driver::{Instant, MacAddress, Port};

use super::{
    DropCause, ServedAddress, UserStack,
    mesh::Message,
    packet::{ETHERNET_HEADER, IcmpMessage, write_arp, write_ethernet},
    reply,
    resolution::{Arp, NDP_HOP_LIMIT, Ndp, multicast_mac, solicited_node},
};

impl<P: Port> UserStack<P> {
    /// The neighbour that packets to `destination` go to first.
    pub(super) fn next_hop(&self, destination: IpAddr) -> Option<IpAddr> {
        let on_link = |served: &ServedAddress| served.prefix.contains(destination);
        if is_link_local(destination) || self.addresses.iter().any(on_link) {
            return Some(destination);
        }
        self.network.next_hop(destination).map(|hop| hop.address)
    }

    /// Takes the kernel's latest view of the network.
    pub(super) fn update_network(&mut self, now: Instant) {
        let Some(updates) = &self.network_updates else { return };
        let Some(view) = updates.try_iter().last() else { return };
        let mut ready = Vec::new();
        self.neighbors.learn_from_kernel(now, &view.neighbours, &mut ready);
        for frame in ready {
            self.transmit_raw(frame);
        }
        if view.routes != self.network.routes {
            self.neighbors.begin_generation();
        }
        // An interface that has vanished has no addresses, which is no reason to answer for them.
        if view.link.index != 0 && view.addresses != self.network.addresses {
            for served in &mut self.addresses {
                let address = served.address();
                served.owned_alone =
                    !view.addresses.iter().any(|prefix| prefix.address() == address);
            }
        }
        self.network = view;
    }

    /// Asks about neighbours that are due.
    pub(super) fn ask_neighbors(&mut self, now: Instant) {
        let mut ask = Vec::new();
        for _ in 0..self.neighbors.due(now, &mut ask) {
            self.counters.drop_frame(DropCause::NoNeighbor);
        }
        for address in ask {
            self.ask(address);
        }
    }

    fn ask(&mut self, target: IpAddr) {
        // Ask from an address on the target's own network, if there is one.
        let of_family = |served: &&ServedAddress| served.address().is_ipv4() == target.is_ipv4();
        let mut ours = self.addresses.iter().filter(of_family);
        let first = ours.clone().next();
        let Some(from) = ours.find(|served| served.prefix.contains(target)).or(first) else {
            return;
        };
        if !from.owned_alone {
            if let Some(probe) = &self.probe {
                // A full channel loses nothing: the question comes again.
                let _ = probe.try_send(target);
            }
            return;
        }
        let our_mac = self.port.capabilities().mac;
        match (from.address(), target) {
            (IpAddr::V4(from), IpAddr::V4(target)) => {
                let (source, target) = ((our_mac, from), (MacAddress::default(), target));
                let question = Arp { is_request: true, source, target };
                self.send_arp(MacAddress::BROADCAST, &question);
            }
            (IpAddr::V6(from), IpAddr::V6(target)) => {
                let group = solicited_node(target);
                let question = Ndp::Solicitation { target, source_mac: Some(our_mac) };
                self.send_ndp(from, (group, multicast_mac(group)), question);
            }
            _ => {}
        }
    }

    /// Takes note of a neighbour and sends what has waited for it. Says whether other cores should hear
    /// of it.
    pub(super) fn learn(&mut self, now: Instant, address: IpAddr, mac: MacAddress) -> bool {
        let mut ready = Vec::new();
        let worth_telling = self.neighbors.learn(now, address, mac, &mut ready);
        for frame in ready {
            self.transmit_raw(frame);
        }
        worth_telling
    }

    /// Takes note of a neighbour, on all cores: its message arrives on one queue only.
    fn learn_on_all_cores(&mut self, now: Instant, address: IpAddr, mac: MacAddress) {
        if self.learn(now, address, mac) {
            for other in self.mesh.others() {
                // A core that misses this asks for itself.
                let _ = self.mesh.send(other, Message::Neighbor(address, mac));
            }
        }
    }

    pub(super) fn arp(&mut self, now: Instant, arp: &Arp) {
        let ((source_mac, source), target) = (arp.source, arp.target.1);
        if !self.owns_alone(target.into()) {
            return self.counters.drop_frame(DropCause::NotForUs);
        }
        // An ARP probe has no source address yet (RFC 5227 section 1.1).
        if source != Ipv4Addr::UNSPECIFIED && self.is_on_link(source.into()) {
            self.learn_on_all_cores(now, source.into(), source_mac);
        }
        if arp.is_request {
            let ours = (self.port.capabilities().mac, target);
            let answer = Arp { is_request: false, source: ours, target: arp.source };
            self.send_arp(source_mac, &answer);
            self.counters.link_replies += 1;
        }
    }

    pub(super) fn icmpv4(&mut self, now: Instant, message: &IcmpMessage<'_>) {
        self.echo(now, message);
    }

    pub(super) fn icmpv6(&mut self, now: Instant, message: &IcmpMessage<'_>) {
        let IpAddr::V6(source) = message.source else { return };
        if !Ndp::is_ndp(message.message) {
            return self.echo(now, message);
        }
        // RFC 4861 section 7.1: what a router has passed on is not of this link.
        let ndp = Some(message.message).filter(|_| message.hop_limit == NDP_HOP_LIMIT);
        match ndp.and_then(Ndp::parse) {
            Some(Ndp::Solicitation { target, source_mac }) => {
                self.solicited(now, source, target, source_mac);
            }
            Some(Ndp::Advertisement { target, target_mac: Some(mac) })
                if self.is_on_link(target.into()) =>
            {
                self.learn_on_all_cores(now, target.into(), mac);
            }
            Some(Ndp::Advertisement { .. }) => self.counters.drop_frame(DropCause::IgnoredIcmp),
            None => self.counters.drop_frame(DropCause::MalformedPacket),
        }
    }

    fn solicited(
        &mut self,
        now: Instant,
        source: Ipv6Addr,
        target: Ipv6Addr,
        source_mac: Option<MacAddress>,
    ) {
        if !self.owns_alone(target.into()) {
            return self.counters.drop_frame(DropCause::NotForUs);
        }
        if let Some(mac) = source_mac
            && !source.is_unspecified()
        {
            self.learn_on_all_cores(now, source.into(), mac);
        }
        let our_mac = self.port.capabilities().mac;
        let answer = Ndp::Advertisement { target, target_mac: Some(our_mac) };
        // A host that checks whether the address is taken has none yet (RFC 4861 section 7.2.4).
        let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
        let to = if source.is_unspecified() { all_nodes } else { source };
        let to_mac = source_mac.or_else(|| self.neighbors.find(to.into()));
        let to_mac = if to == all_nodes { Some(multicast_mac(to)) } else { to_mac };
        if let Some(to_mac) = to_mac {
            self.counters.link_replies += 1;
            self.send_ndp(target, (to, to_mac), answer);
        }
    }

    fn echo(&mut self, now: Instant, message: &IcmpMessage<'_>) {
        let fits = message.message.len() + 40 <= self.port.capabilities().mtu;
        if !reply::is_echo_request(message) {
            return self.icmp_error(message);
        }
        if !fits || !self.owns_alone(message.destination) {
            return self.counters.drop_frame(DropCause::IgnoredIcmp);
        }
        self.counters.link_replies += 1;
        self.send_own(now, message.source, |packet| reply::echo(packet, message));
    }

    fn send_arp(&mut self, to: MacAddress, arp: &Arp) {
        let from = self.port.capabilities().mac;
        let Some(mut frame) = self.port.allocate() else {
            return self.counters.drop_frame(DropCause::NoFrame);
        };
        let len = write_arp(frame.chunk_mut(), to, from, arp);
        frame.set_len(len);
        self.transmit_raw(frame);
    }

    fn send_ndp(&mut self, from: Ipv6Addr, to: (Ipv6Addr, MacAddress), ndp: Ndp) {
        let our_mac = self.port.capabilities().mac;
        let Some(mut frame) = self.port.allocate() else {
            return self.counters.drop_frame(DropCause::NoFrame);
        };
        let chunk = frame.chunk_mut();
        write_ethernet(chunk, to.1, our_mac, true);
        let len = reply::ndp(&mut chunk[ETHERNET_HEADER..], from, to.0, ndp);
        frame.set_len(ETHERNET_HEADER + len);
        self.transmit_raw(frame);
    }

    fn owns_alone(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|served| served.address() == address && served.owned_alone)
    }

    /// Whether the address is on a network of ours, or link-local and so on the link in any case.
    fn is_on_link(&self, address: IpAddr) -> bool {
        is_link_local(address)
            || self.addresses.iter().any(|served| served.prefix.contains(address))
            || self.network.next_hop(address).is_some_and(|hop| hop.address == address)
    }
}

/// Whether the address is of this link whatever the routes say (RFC 3927, RFC 4291 section 2.5.6).
fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}
