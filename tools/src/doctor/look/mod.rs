//! Finds out the facts: from `/sys` and `/proc`, from `ip`, `ss` and `ethtool`, and by netlink.
//!
//! What cannot be found out is left out of the facts; only a missing program is an error.

mod ethtool;
mod holder;
mod host;
mod netdev;
mod tasks;

use std::{fs, net::IpAddr};

use serde_json::Value;

use super::facts::{Facts, Link};
use crate::system::{self, CommandError};

/// Looks at an interface of this network namespace, and at the machine.
///
/// # Errors
///
/// When `ip`, `ss` or `ethtool` is not installed.
pub fn look(interface: &str) -> Result<Facts, CommandError> {
    let host = host::look()?;
    let link = link(interface)?;
    Ok(Facts { interface: interface.to_owned(), link, host })
}

fn link(interface: &str) -> Result<Option<Link>, CommandError> {
    let shown = match system::run(&["ip", "-j", "-d", "address", "show", "dev", interface]) {
        Err(CommandError::Failed { .. }) => return Ok(None),
        shown => shown?,
    };
    let shown: Value = serde_json::from_str(&shown).unwrap_or_default();
    // With options that an old `ip` does not know, there are empty objects in front.
    let objects = shown.as_array().cloned().unwrap_or_default();
    let Some(object) = objects.iter().find(|object| object["ifname"] == interface) else {
        return Ok(None);
    };
    let flags: Vec<&str> =
        object["flags"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let device = |file: &str| read(&format!("/sys/class/net/{interface}/{file}"));
    let index = object["ifindex"].as_u64().unwrap_or(0) as u32;
    let mut link = Link {
        is_up: flags.contains(&"UP"),
        has_carrier: flags.contains(&"LOWER_UP"),
        mtu: object["mtu"].as_u64().unwrap_or(0) as usize,
        master: object["master"].as_str().map(str::to_owned),
        xdp_features: netdev::xdp_features(index),
        program: program(object),
        program_holder: first_program(object)["id"].as_u64().and_then(holder::holder),
        addresses: addresses(object),
        ipv6_is_off: read(&format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6"))
            .is_some_and(|value| value == "1"),
        rps_queues: rps_queues(interface),
        interrupts: tasks::interrupts(interface),
        napi_threads: device("threaded")
            .is_some_and(|value| value == "1")
            .then(|| tasks::napi_threads(interface)),
        // Devices that are near to no memory say -1.
        numa_node: device("device/numa_node").and_then(|node| node.parse().ok()),
        ..Link::default()
    };
    ethtool::look(interface, &mut link)?;
    link.bound_queues =
        (0..link.queues.receive).filter(|&queue| netdev::is_bound(index, queue)).collect();
    Ok(Some(link))
}

/// A file of the kernel without the end of its line.
fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// How an XDP program is attached, and what it is called.
fn program(object: &Value) -> Option<(String, String)> {
    let xdp = object.get("xdp")?;
    let mode = match xdp["mode"].as_u64()? {
        1 => "native",
        2 => "generic",
        3 => "offloaded",
        // XDP_ATTACHED_MULTI (include/uapi/linux/if_link.h): several, in the list `attached`.
        _ => "several",
    };
    let name = first_program(object)["name"].as_str().unwrap_or("without a name").to_owned();
    Some((mode.to_owned(), name))
}

/// The XDP program, or the first of several; null if there is none.
fn first_program(object: &Value) -> &Value {
    let xdp = &object["xdp"];
    if xdp["prog"].is_object() { &xdp["prog"] } else { &xdp["attached"][0]["prog"] }
}

fn addresses(object: &Value) -> Vec<IpAddr> {
    let infos = object["addr_info"].as_array().into_iter().flatten();
    infos.filter_map(|info| info["local"].as_str()?.parse().ok()).collect()
}

fn rps_queues(interface: &str) -> Vec<u32> {
    let is_set = |mask: String| mask.chars().any(|digit| digit != '0' && digit != ',');
    let path = |queue| format!("/sys/class/net/{interface}/queues/rx-{queue}/rps_cpus");
    (0..)
        .map_while(|queue| read(&path(queue)).map(|mask| (queue, mask)))
        .filter_map(|(queue, mask)| is_set(mask).then_some(queue))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn programs_are_read_whether_there_is_one_or_several() {
        let one = json!({"xdp": {"mode": 2, "prog": {"id": 7, "name": "filter", "jited": 1}}});
        assert_eq!(program(&one), Some(("generic".to_owned(), "filter".to_owned())));
        let several = json!({"xdp": {"mode": 4, "attached": [{"mode": 1, "prog": {"id": 7}}]}});
        assert_eq!(program(&several), Some(("several".to_owned(), "without a name".to_owned())));
        assert_eq!(program(&json!({})), None);
    }

    #[test]
    fn the_loopback_interface_has_its_address_and_a_missing_one_is_none() {
        let facts = look("lo").unwrap();
        let link = facts.link.unwrap();
        assert!(link.addresses.contains(&"127.0.0.1".parse().unwrap()) && link.is_up);
        assert!(look("nothere0").unwrap().link.is_none());
    }
}
