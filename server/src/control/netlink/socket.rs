//! One netlink request and its answer.

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REPLACE, NLM_F_REQUEST,
    NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::{
    RouteNetlinkMessage, address::AddressMessage, link::LinkMessage, neighbour::NeighbourMessage,
    route::RouteMessage,
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::messages::Kind;

/// Larger than any datagram of rtnetlink: a dump comes in pieces of at most 32 KiB.
const DATAGRAM: usize = 64 * 1024;

/// How often a dump that the kernel changed underneath is begun again. After that it is taken as it is:
/// a notice of the change is under way.
const ATTEMPTS: usize = 4;

/// Where requests go and answers come from.
pub(super) struct Requests {
    socket: Socket,
    sequence: u32,
}

impl Requests {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// All objects of one kind.
    pub(super) fn dump(&mut self, kind: Kind) -> io::Result<Vec<RouteNetlinkMessage>> {
        for _ in 1..ATTEMPTS {
            if let (objects, true) = self.dump_once(kind)? {
                return Ok(objects);
            }
        }
        self.dump_once(kind).map(|(objects, _)| objects)
    }

    /// All objects of one kind, and whether none changed meanwhile.
    fn dump_once(&mut self, kind: Kind) -> io::Result<(Vec<RouteNetlinkMessage>, bool)> {
        let request = match kind {
            Kind::Links => RouteNetlinkMessage::GetLink(LinkMessage::default()),
            Kind::Addresses => RouteNetlinkMessage::GetAddress(AddressMessage::default()),
            Kind::Routes => RouteNetlinkMessage::GetRoute(RouteMessage::default()),
            Kind::Neighbours => RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default()),
        };
        self.send(request, NLM_F_REQUEST | NLM_F_DUMP)?;
        let mut objects = Vec::new();
        let mut consistent = true;
        loop {
            for message in self.receive()? {
                consistent &= message.header.flags & NLM_F_DUMP_INTR == 0;
                match message.payload {
                    NetlinkPayload::InnerMessage(object) => objects.push(object),
                    NetlinkPayload::Done(_) => return Ok((objects, consistent)),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    _ => {}
                }
            }
        }
    }

    /// Has the kernel do something.
    pub(super) fn order(&mut self, order: RouteNetlinkMessage) -> io::Result<()> {
        self.send(order, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE)?;
        loop {
            for message in self.receive()? {
                if let NetlinkPayload::Error(answer) = message.payload {
                    return if answer.code.is_none() { Ok(()) } else { Err(answer.to_io()) };
                }
            }
        }
    }

    fn send(&mut self, content: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(content));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        Ok(())
    }

    /// The next messages that answer the last request.
    fn receive(&mut self) -> io::Result<Vec<NetlinkMessage<RouteNetlinkMessage>>> {
        let mut buffer = buffer();
        while let Err(error) = self.socket.recv(&mut buffer, 0) {
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        let answers = decode(&buffer).filter(|m| m.header.sequence_number == self.sequence);
        Ok(answers.collect())
    }
}

/// Room for one datagram.
pub(super) fn buffer() -> Vec<u8> {
    Vec::with_capacity(DATAGRAM)
}

/// The messages of a datagram. Those that cannot be read are left out.
pub(super) fn decode(
    datagram: &[u8],
) -> impl Iterator<Item = NetlinkMessage<RouteNetlinkMessage>> + '_ {
    let mut rest = datagram;
    let messages = std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(*rest.first_chunk()?) as usize;
        // Messages are aligned to four bytes (netlink(7)).
        let (message, after) = rest.split_at_checked(length).filter(|_| length >= HEADER)?;
        rest = after.get(length.next_multiple_of(4) - length..).unwrap_or_default();
        Some(message)
    });
    messages.filter_map(|message| NetlinkMessage::deserialize(message).ok())
}

/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(content: RouteNetlinkMessage) -> Vec<u8> {
        let mut message =
            NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::from(content));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes
    }

    #[test]
    fn every_message_of_a_datagram_is_read() {
        let mut datagram = bytes(RouteNetlinkMessage::NewLink(LinkMessage::default()));
        datagram.extend(bytes(RouteNetlinkMessage::DelRoute(RouteMessage::default())));
        assert_eq!(decode(&datagram).count(), 2);
    }

    #[test]
    fn truncated_and_senseless_datagrams_end_the_reading() {
        let whole = bytes(RouteNetlinkMessage::NewLink(LinkMessage::default()));
        for len in 0..whole.len() {
            assert_eq!(decode(&whole[..len]).count(), 0, "{len} bytes");
        }
        assert_eq!(decode(&[0; 64]).count(), 0);
        assert_eq!(decode(&[0xff; 64]).count(), 0);
        assert_eq!(decode(&17u32.to_ne_bytes().repeat(5)).count(), 0);
    }
}
