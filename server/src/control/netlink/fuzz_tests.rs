//! Fuzzing of what the kernel says by netlink, as far as we read it.

use std::time::Duration;

use super::{messages, socket};

#[test]
fn any_datagram_is_read_or_left_out() {
    let seconds = std::env::var("PAGEWIRE_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let time = Duration::from_secs(seconds.unwrap_or(10));
    bolero::check!().with_test_time(time).for_each(|input: &[u8]| {
        read(input);
        // As a message of a kind that is ours, with a length that is right.
        if let Some((&kind, rest)) = input.split_first() {
            let mut datagram = Vec::from((16 + rest.len() as u32).to_ne_bytes());
            datagram.extend((16 + u16::from(kind % 32)).to_ne_bytes());
            datagram.extend([0; 10]);
            datagram.extend(rest);
            read(&datagram);
        }
    });
}

fn read(datagram: &[u8]) {
    for message in socket::decode(datagram) {
        let netlink_packet_core::NetlinkPayload::InnerMessage(message) = message.payload else {
            continue;
        };
        let _ = messages::link(&message);
        let _ = messages::address(1, &message);
        let _ = messages::route(1, &message);
        let _ = messages::neighbour(1, &message);
    }
}
