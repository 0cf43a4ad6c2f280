//! Paths that carry less than the server's interface.

use std::time::{Duration, Instant};

use pagewire_tools::{
    emulator::LinkConfig,
    lab::{Lab, LabConfig, SERVER, privileged},
};

use crate::{
    client::Client,
    process::{Process, Site, XDP},
};

/// Within this time a transfer is done that takes a second when nobody says what the path carries: two
/// timeouts, and the rest for a machine that has other things to do.
const SOON: Duration = Duration::from_secs(20);

fn narrow(path_mtu: &str) -> Lab {
    let link = LinkConfig {
        delay: Some("5ms".parse().unwrap()),
        path_mtu: Some(path_mtu.parse().unwrap()),
        ..LinkConfig::default()
    };
    Lab::up(&LabConfig { link, ..LabConfig::unique() }).unwrap()
}

#[test]
fn transfers_over_a_narrow_path_finish_soon_also_when_nobody_says_that_it_is() {
    if !privileged() {
        return;
    }
    let site = Site::new(&[("page", 400_000)]);
    for (path_mtu, told) in [("1300", true), ("1300,silent", false)] {
        let lab = narrow(path_mtu);
        let process = Process::start(&lab, &site, XDP);
        for server in SERVER {
            let mut client = Client::connect_many(&lab, server, 1).remove(0);
            let start = Instant::now();
            assert!(client.get("/page").unwrap() == site.files["page"], "{server}: other bytes");
            let time = start.elapsed();
            assert!(time < SOON, "{server}, {path_mtu}: {time:?}");
        }
        let [to_client, _] = lab.link_report().unwrap();
        assert!(to_client.too_large > 0, "{to_client}");
        let counts = process.stop();
        let (limits, timeouts) = (counts.of("path limits"), counts.of("retransmission timeouts"));
        let text = counts.text();
        if told {
            assert!(limits >= SERVER.len() as u64, "{text}");
        } else {
            // Two in a row are taken for a sign, in either family.
            assert!(limits == 0 && timeouts >= 2 * SERVER.len() as u64, "{text}");
        }
    }
}
