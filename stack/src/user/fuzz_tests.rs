//! Fuzzing of the parsers: whatever a frame holds, it is understood or refused with a cause.
//!
//! Inputs are kept in `__fuzz__` beside this file; how to run this for longer, or with coverage, is told
//! in ARCHITECTURE.md.

use std::{net::IpAddr, time::Duration};

use pagewire_driver::MacAddress;

use super::{
    handshake::SynOptions,
    icmp_error::IcmpError,
    packet::{self, Parsed, be16, flags},
    reply,
    resolution::Ndp,
};

const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);

/// How long a fuzz test takes: `PAGEWIRE_FUZZ_SECONDS`, or as long as CI allows.
fn time() -> Duration {
    let seconds = std::env::var("PAGEWIRE_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(10))
}

/// Parses a frame and looks at all that can be asked of what it holds.
fn look_into(frame: &[u8], verified: bool) {
    let Ok(parsed) = packet::parse(frame, MAC, verified) else { return };
    match parsed {
        Parsed::Tcp(segment) => {
            assert!(segment.packet.len() <= frame.len());
            assert!(segment.payload_len < segment.packet.len());
            assert!(segment.options().len() <= 40);
            let offered = SynOptions::of(&segment);
            assert!(offered.mss > 0);
            assert!(offered.window_scale.is_none_or(|scale| scale <= 14));
            let _ = (segment.window(), segment.sequence_len());
            assert!(!segment.has(flags::SYN | flags::FIN));
            // Only what is sent to an address of ours is answered.
            if is_ours(segment.flow.local.ip()) {
                let mut answer = [0; 1_514];
                let len = reply::reset(&mut answer, &segment);
                assert!(packet::parse_again(&answer[..len]).is_some(), "our reset is well-formed");
            }
            let again = packet::parse_again(segment.packet).expect("it was parsed before");
            assert_eq!((again.flow, again.sequence), (segment.flow, segment.sequence));
        }
        Parsed::Arp(_) => {}
        Parsed::Icmpv4(message) => {
            let _ = (IcmpError::parse(&message), reply::is_echo_request(&message));
        }
        Parsed::Icmpv6(message) => {
            let _ = (IcmpError::parse(&message), reply::is_echo_request(&message));
            if Ndp::is_ndp(message.message) {
                let _ = Ndp::parse(message.message);
            }
        }
    }
}

fn is_ours(address: IpAddr) -> bool {
    let may_be_sent_from = match address {
        IpAddr::V4(address) => !address.is_broadcast(),
        IpAddr::V6(_) => true,
    };
    may_be_sent_from && !address.is_multicast() && !address.is_unspecified()
}

/// Frames that are right: what the inputs spoil.
fn templates() -> [Vec<u8>; 6] {
    let hex = |text: &str| -> Vec<u8> {
        let digits: Vec<u8> = text
            .bytes()
            .filter_map(|digit| (digit as char).to_digit(16))
            .map(|d| d as u8)
            .collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    };
    let to_us = "020000000001 020000000002";
    let options = "0204 05b4 0402 080a 00000001 00000000 01 030307";
    let addresses = "fd000000000000000000000000000002 fd000000000000000000000000000001";
    let tcp = format!("9c40 0050 00000001 00000000 a002 faf0 0000 0000 {options}");
    let quoted = "45000034 00004000 4006 0000 0a000001 0a000002 0050 9c40 00000001";
    [
        hex(&format!("{to_us} 0800 4500003c 00004000 4006 0000 0a000002 0a000001 {tcp}")),
        hex(&format!("{to_us} 86dd 60000000 0028 06 40 {addresses} {tcp}")),
        hex(&format!(
            "{to_us} 0806 0001 0800 06 04 0001 020000000002 0a000002 000000000000 0a000001"
        )),
        hex(&format!(
            "{to_us} 0800 45000038 00000000 4001 0000 0a000009 0a000001 0304 0000 00000514 {quoted}"
        )),
        hex(&format!(
            "{to_us} 86dd 60000000 0020 3a ff {addresses} 8700 0000 00000000 \
            fd000000000000000000000000000001 0101 020000000002"
        )),
        hex(&format!("{to_us} 8100 0007 0800 4500003c 00004000 4006 0000 0a000002 0a000001 {tcp}")),
    ]
}

/// Makes the checksum of an IPv4 header right, so that what lies behind it is looked at.
fn repair(frame: &mut [u8]) {
    let start = if frame.get(12..14) == Some(&[0x81, 0]) { 18 } else { 14 };
    let Some(header) = frame.get_mut(start..start + 20) else { return };
    if header[0] >> 4 != 4 {
        return;
    }
    let len = usize::from(header[0] & 0xf) * 4;
    let Some(header) = frame.get_mut(start..start + len.max(20)) else { return };
    header[10..12].fill(0);
    let mut sum: u32 = (0..header.len() / 2).map(|word| u32::from(be16(header, word * 2))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    header[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

/// An input is the number of a template, how much of it is left, and changes: a place, and a byte.
fn spoilt(input: &[u8]) -> Vec<u8> {
    let [which, cut, changes @ ..] = input else { return input.to_vec() };
    let templates = templates();
    let mut frame = templates[usize::from(*which) % templates.len()].clone();
    for change in changes.chunks_exact(2) {
        let place = 12 + usize::from(change[0]) % (frame.len() - 12);
        frame[place] = change[1];
    }
    frame.extend(changes.iter().take(usize::from(cut >> 4)));
    frame.truncate(frame.len() - usize::from(cut & 0xf));
    repair(&mut frame);
    frame
}

#[test]
fn the_templates_are_right_before_they_are_spoilt() {
    for (number, mut frame) in templates().into_iter().enumerate() {
        repair(&mut frame);
        let parsed = packet::parse(&frame, MAC, true);
        // ICMP checksums are always looked at.
        let is_icmp = matches!(number, 3 | 4);
        assert_eq!(parsed.is_ok(), !is_icmp, "{number}: {parsed:?}");
    }
}

fn frames(time: Duration) {
    bolero::check!().with_test_time(time).for_each(|input: &[u8]| {
        let mut raw = MAC.0.to_vec();
        raw.extend(input);
        look_into(&raw, true);
        look_into(input, false);
        look_into(&spoilt(input), true);
        let message = input;
        for (source, destination) in [("10.0.0.2", "10.0.0.1"), ("fd00::2", "fd00::1")] {
            let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
            let message = packet::IcmpMessage { source, destination, hop_limit: 255, message };
            let _ = IcmpError::parse(&message);
        }
        let _ = Ndp::is_ndp(input).then(|| Ndp::parse(input));
    });
}

#[test]
fn any_frame_is_understood_or_refused() {
    frames(time());
}

#[test]
#[ignore = "minutes; for ./dev soak"]
fn any_frame_is_understood_or_refused_for_minutes() {
    frames(Duration::from_mins(3));
}
