//! The options of a SYN: what two ends agree on for the life of a connection.

use smoltcp::wire::TcpOption;

use super::packet::Segment;

/// Largest segment of a peer that names none, IPv4 (RFC 9293 section 3.7.1).
const DEFAULT_MSS_IPV4: u16 = 536;
/// The same, IPv6 (RFC 9293 section 3.7.1).
const DEFAULT_MSS_IPV6: u16 = 1_220;
/// Largest window scale (RFC 7323 section 2.3).
pub const MOST_SCALE: u8 = 14;

/// What a peer's SYN offers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SynOptions {
    /// Largest segment that the peer takes, in bytes.
    pub mss: u16,
    /// By how many bits the peer's windows are shifted, if it scales them (RFC 7323).
    pub window_scale: Option<u8>,
    /// Whether the peer takes selective acknowledgements (RFC 2018).
    pub sack_permitted: bool,
}

impl SynOptions {
    /// The options of a SYN. Options that contradict themselves are as good as absent.
    pub fn of(syn: &Segment<'_>) -> Self {
        let default = if syn.flow.peer.is_ipv4() { DEFAULT_MSS_IPV4 } else { DEFAULT_MSS_IPV6 };
        let mut found = Self { mss: default, window_scale: None, sack_permitted: false };
        let mut options = syn.options();
        while !options.is_empty() {
            let Ok((rest, option)) = TcpOption::parse(options) else { break };
            match option {
                TcpOption::EndOfList => break,
                TcpOption::MaxSegmentSize(mss) if mss > 0 => found.mss = mss,
                TcpOption::WindowScale(scale) => found.window_scale = Some(scale.min(MOST_SCALE)),
                TcpOption::SackPermitted => found.sack_permitted = true,
                _ => {}
            }
            options = rest;
        }
        found
    }

    /// Writes them as the options of a SYN, with `timestamps`, and returns how many bytes that is: a
    /// multiple of four.
    pub fn write(self, timestamps: Option<(u32, u32)>, bytes: &mut [u8; 40]) -> usize {
        bytes[..4].copy_from_slice(&[2, 4, (self.mss >> 8) as u8, self.mss as u8]);
        let mut len = 4;
        if self.sack_permitted {
            bytes[len..len + 4].copy_from_slice(&[1, 1, 4, 2]);
            len += 4;
        }
        if let Some(scale) = self.window_scale {
            bytes[len..len + 4].copy_from_slice(&[1, 3, 3, scale]);
            len += 4;
        }
        if let Some((tsval, tsecr)) = timestamps {
            bytes[len..len + 4].copy_from_slice(&[1, 1, 8, 10]);
            bytes[len + 4..len + 8].copy_from_slice(&tsval.to_be_bytes());
            bytes[len + 8..len + 12].copy_from_slice(&tsecr.to_be_bytes());
            len += 12;
        }
        len
    }
}
