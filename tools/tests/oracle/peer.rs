//! Segments of a peer made by hand, over IPv4 and Ethernet.

use std::net::Ipv4Addr;

use smoltcp::{
    phy::ChecksumCapabilities,
    wire::{
        IpAddress, IpProtocol, IpRepr, Ipv4Packet, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
    },
};

/// The sender under test, and its peer.
pub const SENDER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
pub const PEER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

/// Where frames go, and between which ports.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    pub sender_mac: [u8; 6],
    pub peer_mac: [u8; 6],
    pub sender_port: u16,
    pub peer_port: u16,
}

/// A segment of the peer.
#[derive(Clone, Copy, Debug)]
pub struct Out {
    pub control: TcpControl,
    pub sequence: u32,
    pub acknowledgement: Option<u32>,
    pub sack: [Option<(u32, u32)>; 3],
}

/// A segment of the sender.
#[derive(Clone, Copy, Debug)]
pub struct In {
    pub sequence: u32,
    pub is_syn: bool,
    pub len: usize,
}

impl Ends {
    pub fn frame(&self, out: &Out) -> Vec<u8> {
        let is_syn = out.control == TcpControl::Syn;
        let repr = TcpRepr {
            src_port: self.peer_port,
            dst_port: self.sender_port,
            control: out.control,
            seq_number: TcpSeqNumber(out.sequence.cast_signed()),
            ack_number: out.acknowledgement.map(|number| TcpSeqNumber(number.cast_signed())),
            window_len: 65_535,
            window_scale: is_syn.then_some(7),
            max_seg_size: is_syn.then_some(1_460),
            sack_permitted: is_syn,
            sack_ranges: out.sack,
            timestamp: None,
            payload: &[],
        };
        let (from, to) = (IpAddress::from(PEER), IpAddress::from(SENDER));
        let ip = IpRepr::new(from, to, IpProtocol::Tcp, repr.buffer_len(), 64);
        let mut frame = [&self.sender_mac[..], &self.peer_mac, &[8, 0]].concat();
        frame.resize(14 + ip.header_len() + repr.buffer_len(), 0);
        ip.emit(&mut frame[14..], &ChecksumCapabilities::default());
        let mut tcp = TcpPacket::new_unchecked(&mut frame[14 + ip.header_len()..]);
        repr.emit(&mut tcp, &from, &to, &ChecksumCapabilities::default());
        frame
    }

    /// The sender's segment in a frame, if there is one of this connection.
    pub fn read(&self, frame: &[u8]) -> Option<In> {
        if frame.get(12..14)? != [8, 0] {
            return None;
        }
        let ip = Ipv4Packet::new_checked(&frame[14..]).ok()?;
        let tcp = TcpPacket::new_checked(ip.payload()).ok()?;
        let ours = ip.next_header() == IpProtocol::Tcp
            && (tcp.src_port(), tcp.dst_port()) == (self.sender_port, self.peer_port);
        ours.then(|| In {
            sequence: tcp.seq_number().0.cast_unsigned(),
            is_syn: tcp.syn(),
            len: tcp.payload().len(),
        })
    }
}
