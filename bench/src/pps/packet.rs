//! The frames that are sent: the headers that steering looks at, then whatever the chunk holds.

use std::net::Ipv4Addr;

use pagewire_driver::{Frame, MacAddress, Port};

/// Ethernet, IPv4 and TCP.
const HEADERS: usize = 14 + 20 + 20;

/// The headers of frames of one length to one address.
#[derive(Clone, Copy, Debug)]
pub struct Template {
    headers: [u8; HEADERS],
    len: usize,
}

/// What becomes of a frame where it arrives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    /// TCP to a served port: it goes to the queue.
    Steered,
    /// Of a type for experiments (0x88b5, IEEE 802): the kernel drops it as soon as it looks at it.
    Dropped,
}

impl Template {
    /// Frames of `len` bytes of L2 without frame check sequence, at least 54.
    pub fn new(
        len: usize,
        (from_mac, from): (MacAddress, Ipv4Addr),
        (to_mac, to): (MacAddress, Ipv4Addr),
        port: u16,
        fate: Fate,
    ) -> Self {
        let mut headers = [0; HEADERS];
        headers[..6].copy_from_slice(&to_mac.0);
        headers[6..12].copy_from_slice(&from_mac.0);
        let kind = if fate == Fate::Steered { [8, 0] } else { [0x88, 0xb5] };
        headers[12..14].copy_from_slice(&kind);
        headers[14] = 0x45;
        headers[16..18].copy_from_slice(&((len - 14) as u16).to_be_bytes());
        headers[20] = 0x40;
        headers[22] = 64;
        headers[23] = 6;
        headers[26..30].copy_from_slice(&from.octets());
        headers[30..34].copy_from_slice(&to.octets());
        headers[34..36].copy_from_slice(&port.to_be_bytes());
        headers[36..38].copy_from_slice(&port.to_be_bytes());
        Self { headers, len }
    }

    /// Makes `frame` one of these.
    pub fn write(&self, frame: &mut Frame) {
        frame.set_len(self.len);
        frame.bytes_mut()[..HEADERS].copy_from_slice(&self.headers);
    }

    /// Sends up to `most` of these, as many as are taken, and says how many.
    pub fn send(&self, port: &mut impl Port, most: usize) -> usize {
        let count = most.min(port.credits());
        for sent in 0..count {
            let Some(mut frame) = port.allocate() else { return sent };
            self.write(&mut frame);
            if port.transmit(frame).is_err() {
                return sent;
            }
        }
        count
    }
}

/// Turns a frame back to where it came from: MAC and IP addresses change places, which no checksum
/// notices, and the ports are the same.
pub fn turn_back(frame: &mut Frame) {
    let bytes = frame.bytes_mut();
    if bytes.len() < HEADERS {
        return;
    }
    let (to, from) = bytes[..12].split_at_mut(6);
    to.swap_with_slice(from);
    let (from, to) = bytes[26..34].split_at_mut(4);
    from.swap_with_slice(to);
}

#[cfg(test)]
mod tests {
    use pagewire_driver::Pool;

    use super::*;

    #[test]
    fn a_frame_turned_back_is_one_from_the_other_end() {
        let near = (MacAddress([2, 0, 0, 0, 0, 1]), Ipv4Addr::new(10, 0, 0, 1));
        let far = (MacAddress([2, 0, 0, 0, 0, 2]), Ipv4Addr::new(10, 0, 0, 2));
        let pool = Pool::heap(2);
        let (mut there, mut back) = (pool.allocate().unwrap(), pool.allocate().unwrap());
        Template::new(64, near, far, 80, Fate::Steered).write(&mut there);
        Template::new(64, far, near, 80, Fate::Steered).write(&mut back);
        turn_back(&mut there);
        assert_eq!(there.bytes(), back.bytes());
    }
}
