//! The kernel's view of the network around one interface, kept current by netlink.
//!
//! [`Network::open`] subscribes first and reads afterwards, so that no change falls between the two. A
//! notice never carries state into the view: it only says what to read again, so a lost or doubled one
//! does no harm. For the control thread; it may block for as long as the kernel takes to answer.
//!
//! - `socket`: one request and its answer.
//! - `messages`: what the kernel's messages mean to a [`NetworkView`].

#[cfg(test)]
mod fuzz_tests;
mod messages;
mod socket;

use std::{
    io,
    net::IpAddr,
    os::fd::{AsFd, BorrowedFd},
    thread,
    time::Duration,
};

use messages::{Changes, Kind};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use pagewire_driver::{Waker, wait_readable};
use pagewire_stack::{Link, NetworkView};
use socket::{Requests, decode};
use thiserror::Error;

/// How long further notices may follow the first before the kernel is asked again: changes come in
/// groups, such as an address with its routes.
const SETTLE: Duration = Duration::from_millis(2);

/// Multicast groups of rtnetlink (linux/rtnetlink.h, `enum rtnetlink_groups`).
const GROUPS: [u32; 6] = [
    1,  // RTNLGRP_LINK
    3,  // RTNLGRP_NEIGH
    5,  // RTNLGRP_IPV4_IFADDR
    7,  // RTNLGRP_IPV4_ROUTE
    9,  // RTNLGRP_IPV6_IFADDR
    11, // RTNLGRP_IPV6_ROUTE
];

/// Why the kernel's view could not be had.
#[derive(Debug, Error)]
pub enum NetworkError {
    /// There is no such interface.
    #[error("there is no interface `{name}`; there are {present}")]
    NoInterface {
        /// What was asked for.
        name: String,
        /// What there is.
        present: String,
    },
    /// The kernel would not talk.
    #[error("cannot ask the kernel about the network (netlink): {0}")]
    Netlink(#[from] io::Error),
}

/// The network around one interface, as the kernel knows it.
pub struct Network {
    interface: String,
    requests: Requests,
    notices: Socket,
    view: NetworkView,
}

impl Network {
    /// Subscribes to changes and reads the present state.
    ///
    /// # Errors
    ///
    /// If there is no such interface or no netlink.
    pub fn open(interface: &str) -> Result<Self, NetworkError> {
        let mut notices = Socket::new(NETLINK_ROUTE)?;
        notices.set_non_blocking(true)?;
        notices.bind(&SocketAddr::new(0, 0))?;
        for group in GROUPS {
            notices.add_membership(group)?;
        }
        let interface = interface.to_owned();
        let view = NetworkView::default();
        let mut network = Self { interface, requests: Requests::open()?, notices, view };
        let links = network.links()?;
        if !links.iter().any(|(name, _)| *name == network.interface) {
            let present = links.into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(", ");
            return Err(NetworkError::NoInterface { name: network.interface, present });
        }
        network.read(Changes::all())?;
        Ok(network)
    }

    /// The state as last read. While the interface does not exist its link is down and nothing else
    /// is known.
    pub fn view(&self) -> &NetworkView {
        &self.view
    }

    /// Sleeps until something about the interface has changed, and returns the new state. Returns none
    /// when `waker` or `timeout` ended the sleep, or the change made no difference.
    ///
    /// # Errors
    ///
    /// If the kernel would not answer; the view is then as before.
    pub fn watch(
        &mut self,
        waker: &Waker,
        timeout: Option<Duration>,
    ) -> Result<Option<&NetworkView>, NetworkError> {
        wait_readable(&[self.notices.as_fd(), waker.as_fd()], timeout);
        self.refresh()
    }

    /// Like [`watch`](Self::watch), without the sleep. For threads that poll [`AsFd`] themselves.
    ///
    /// # Errors
    ///
    /// If the kernel would not answer; the view is then as before.
    pub fn refresh(&mut self) -> Result<Option<&NetworkView>, NetworkError> {
        let mut changes = self.drain();
        if changes.is_empty() {
            return Ok(None);
        }
        thread::sleep(SETTLE);
        changes |= self.drain();
        let before = self.view.clone();
        self.read(changes)?;
        Ok((self.view != before).then_some(&self.view))
    }

    /// Asks the kernel to find out the link address of a neighbour on the interface, or to confirm the
    /// one it has. The answer comes as a change of the view.
    ///
    /// # Errors
    ///
    /// If the kernel refuses: without `CAP_NET_ADMIN`, or while the interface is down.
    pub fn probe(&mut self, neighbour: IpAddr) -> Result<(), NetworkError> {
        let probe = messages::probe(self.view.link.index, neighbour);
        Ok(self.requests.order(RouteNetlinkMessage::NewNeighbour(probe))?)
    }

    /// What the waiting notices say has changed.
    fn drain(&mut self) -> Changes {
        let mut changes = Changes::default();
        loop {
            let mut buffer = socket::buffer();
            match self.notices.recv(&mut buffer, 0) {
                Ok(0) => return changes,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return changes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // Notices were lost (ENOBUFS), or nobody knows: anything may have changed.
                Err(_) => return Changes::all(),
            }
            for message in decode(&buffer) {
                changes |= messages::concern(&self.view.link, &self.interface, &message);
            }
        }
    }

    fn links(&mut self) -> io::Result<Vec<(String, Link)>> {
        Ok(self.requests.dump(Kind::Links)?.iter().filter_map(messages::link).collect())
    }

    /// Reads again what has changed. The view changes only if all of it could be read.
    fn read(&mut self, changes: Changes) -> io::Result<()> {
        let mut view = self.view.clone();
        let mut changes = changes;
        if changes.contains(Kind::Links) {
            let found = self.links()?.into_iter().find(|(name, _)| *name == self.interface);
            let link =
                found.map_or(Link { up: false, index: 0, ..view.link.clone() }, |(_, link)| link);
            if link.index != view.link.index || link.up != view.link.up {
                changes = Changes::all();
            }
            view.link = link;
        }
        let index = view.link.index;
        if changes.contains(Kind::Addresses) {
            let dump = self.requests.dump(Kind::Addresses)?;
            view.addresses = dump.iter().filter_map(|m| messages::address(index, m)).collect();
        }
        if changes.contains(Kind::Routes) {
            let dump = self.requests.dump(Kind::Routes)?;
            view.routes = dump.iter().filter_map(|m| messages::route(index, m)).collect();
        }
        if changes.contains(Kind::Neighbours) {
            let dump = self.requests.dump(Kind::Neighbours)?;
            view.neighbours = dump.iter().filter_map(|m| messages::neighbour(index, m)).collect();
        }
        self.view = view;
        Ok(())
    }
}

impl AsFd for Network {
    /// Readable when there may be something to [`refresh`](Network::refresh).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.notices.as_fd()
    }
}
