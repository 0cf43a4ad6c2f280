//! What somebody beside the link sees of the TCP data that goes by: how much of it had gone by before.
//!
//! It is the same count for every sender, whatever that says about itself. It sees what senders send, so
//! before the link loses any of it.

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
};

use smoltcp::wire::{IpProtocol, Ipv4Packet, Ipv6Packet, TcpPacket};

/// Streams that are remembered. Two that share a place take turns, and what is sent again after such a
/// turn is taken for fresh.
const STREAMS: usize = 4_096;

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;

/// One direction of a connection: addresses, then ports, the sender's first.
type Stream = (IpAddr, IpAddr, u16, u16);

/// See the module.
#[derive(Debug)]
pub(super) struct Bystander {
    hasher: RandomState,
    /// Each with the number behind the highest byte seen.
    streams: Vec<Option<(Stream, u32)>>,
    /// Bytes of data seen.
    pub(super) data_bytes: u64,
    /// Of these, bytes that had been seen before.
    pub(super) repeated_bytes: u64,
}

impl Bystander {
    pub(super) fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            streams: vec![None; STREAMS],
            data_bytes: 0,
            repeated_bytes: 0,
        }
    }

    /// Looks at a frame. One that carries no TCP data means nothing.
    pub(super) fn see(&mut self, frame: &[u8]) {
        let Some(Data { stream, sequence, len }) = data(frame) else { return };
        let place = self.hasher.hash_one(stream) as usize % STREAMS;
        let end = sequence.wrapping_add(len);
        // With a stream that is new here, all is fresh.
        let known = self.streams[place].filter(|(other, _)| *other == stream);
        let highest = known.map_or(sequence, |(_, highest)| highest);
        let fresh = end.wrapping_sub(highest).cast_signed().clamp(0, len.cast_signed());
        self.data_bytes += u64::from(len);
        self.repeated_bytes += u64::from(len - fresh.cast_unsigned());
        if known.is_none() || fresh > 0 {
            self.streams[place] = Some((stream, end));
        }
    }
}

/// The data of a segment.
struct Data {
    stream: Stream,
    sequence: u32,
    /// In bytes, more than none and less than a packet can have.
    len: u32,
}

/// The TCP data in a frame, if it has any.
fn data(frame: &[u8]) -> Option<Data> {
    let (header, packet) = frame.split_at_checked(ETHERNET)?;
    let (from, to, payload): (IpAddr, IpAddr, _) = match header[12..] {
        [0x08, 0x00] => {
            let packet = Ipv4Packet::new_checked(packet).ok()?;
            let is_whole = packet.frag_offset() == 0 && !packet.more_frags();
            (is_whole && packet.next_header() == IpProtocol::Tcp).then_some(())?;
            (packet.src_addr().into(), packet.dst_addr().into(), packet.payload())
        }
        [0x86, 0xdd] => {
            let packet = Ipv6Packet::new_checked(packet).ok()?;
            (packet.next_header() == IpProtocol::Tcp).then_some(())?;
            (packet.src_addr().into(), packet.dst_addr().into(), packet.payload())
        }
        _ => return None,
    };
    let segment = TcpPacket::new_checked(payload).ok()?;
    let len = u32::try_from(segment.payload().len()).ok().filter(|&len| len > 0)?;
    let stream = (from, to, segment.src_port(), segment.dst_port());
    Some(Data { stream, sequence: segment.seq_number().0.cast_unsigned(), len })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An IPv4 frame of a stream with this many bytes of data from `sequence` on.
    fn frame(port: u16, sequence: u32, len: usize) -> Vec<u8> {
        let mut frame = vec![0; 14 + 20 + 20 + len];
        frame[12..14].copy_from_slice(&[0x08, 0x00]);
        let ip = &mut frame[14..];
        ip[0] = 0x45;
        ip[2..4].copy_from_slice(&(40 + len as u16).to_be_bytes());
        ip[9] = 6;
        ip[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        let tcp = &mut ip[20..];
        tcp[..2].copy_from_slice(&port.to_be_bytes());
        tcp[4..8].copy_from_slice(&sequence.to_be_bytes());
        tcp[12] = 0x50;
        frame
    }

    #[test]
    fn only_what_has_gone_by_before_counts_as_repeated() {
        let mut bystander = Bystander::new();
        let start = u32::MAX - 1_500;
        for (sequence, len, repeated) in [
            (start, 1_000, 0),
            (start.wrapping_add(1_000), 1_000, 0),
            (start, 1_000, 1_000),
            // Half of it is fresh.
            (start.wrapping_add(1_500), 1_000, 1_500),
            (start.wrapping_add(2_500), 0, 1_500),
            (start.wrapping_add(2_500), 10, 1_500),
        ] {
            bystander.see(&frame(80, sequence, len));
            assert_eq!(bystander.repeated_bytes, repeated, "{sequence} {len}");
        }
        assert_eq!(bystander.data_bytes, 4_010);
    }

    #[test]
    fn streams_are_told_apart_and_other_frames_mean_nothing() {
        let mut bystander = Bystander::new();
        bystander.see(&frame(80, 7, 100));
        bystander.see(&frame(81, 7, 100));
        for end in 0..54 {
            bystander.see(&frame(80, 7, 100)[..end]);
        }
        bystander.see(&[0xff; 200]);
        assert_eq!((bystander.data_bytes, bystander.repeated_bytes), (200, 0));
    }
}
