//! Makes the namespaces of a lab, its wires, addresses and routes.

use super::{Addressing, FAR_INTERFACE, INTERFACE, LabConfig, LabError, Side, host};
use crate::system::{run, run_with_input};

/// One end of a wire.
struct End {
    side: Side,
    interface: &'static str,
    /// Locally administered, and always the same, so that captures of two runs can be compared.
    mac: &'static str,
    addresses: &'static [&'static str],
}

/// A route by the gateway: side, destination, gateway.
type GatewayRoute = (Side, &'static str, &'static str);

const SERVER_END: End = End {
    side: Side::Server,
    interface: INTERFACE,
    mac: "02:77:00:00:00:01",
    addresses: &["10.77.0.1/24", "fd77::1/64"],
};
const CLIENT_END: End = End {
    side: Side::Client,
    interface: INTERFACE,
    mac: "02:77:00:00:00:02",
    addresses: &["10.77.0.2/24", "fd77::2/64"],
};
const FAR_CLIENT_END: End = End { addresses: &["10.78.0.2/24", "fd78::2/64"], ..CLIENT_END };
const GATEWAY_END: End = End {
    side: Side::Gateway,
    interface: INTERFACE,
    mac: "02:77:00:00:00:fe",
    addresses: &["10.77.0.254/24", "fd77::fe/64"],
};
const FAR_GATEWAY_END: End = End {
    side: Side::Gateway,
    interface: FAR_INTERFACE,
    mac: "02:78:00:00:00:fe",
    addresses: &["10.78.0.254/24", "fd78::fe/64"],
};
const LINK_END: End =
    End { side: Side::Link, interface: INTERFACE, mac: "02:79:00:00:00:01", addresses: &[] };
const FAR_LINK_END: End = End { interface: FAR_INTERFACE, mac: "02:79:00:00:00:02", ..LINK_END };
const GATEWAY_ROUTES: [GatewayRoute; 4] = [
    (Side::Server, "10.78.0.0/24", "10.77.0.254"),
    (Side::Server, "fd78::/64", "fd77::fe"),
    (Side::Client, "10.77.0.0/24", "10.78.0.254"),
    (Side::Client, "fd77::/64", "fd78::fe"),
];

/// Builds the lab. Namespaces of its names do not exist yet.
pub(super) fn build(config: &LabConfig, lock: &host::Lock) -> Result<(), LabError> {
    let mut sides = vec![Side::Server, Side::Client];
    let mut wires = vec![[SERVER_END, CLIENT_END]];
    if config.routed {
        sides.push(Side::Gateway);
        wires = vec![[SERVER_END, GATEWAY_END], [FAR_GATEWAY_END, FAR_CLIENT_END]];
    }
    if config.link.is_wanted()
        && let Some([near, client]) = wires.pop()
    {
        sides.push(Side::Link);
        wires.extend([[near, LINK_END], [FAR_LINK_END, client]]);
    }
    for &side in &sides {
        run(&["ip", "netns", "add", &side.namespace(&config.prefix)])?;
        ip(config, side, &["link", "set", "lo", "up"])?;
    }
    lock.while_allowed(&config.congestion_control, || {
        let path = "/proc/sys/net/ipv4/tcp_congestion_control";
        sides.iter().try_for_each(|side| set(config, *side, path, &config.congestion_control))
    })?;
    let rehash = if config.txrehash.is_on() { "1" } else { "0" };
    set(config, Side::Client, "/proc/sys/net/core/txrehash", rehash)?;
    if config.routed {
        set(config, Side::Gateway, "/proc/sys/net/ipv4/ip_forward", "1")?;
        set(config, Side::Gateway, "/proc/sys/net/ipv6/conf/all/forwarding", "1")?;
    }
    for wire in &wires {
        connect(config, wire)?;
        for end in wire {
            configure(config, end)?;
        }
    }
    if config.routed {
        for (side, destination, gateway) in GATEWAY_ROUTES {
            // Without an address of its own the server has no route to the gateway's network.
            let route = ["route", "add", destination, "via", gateway, "dev", INTERFACE, "onlink"];
            ip(config, side, &route)?;
        }
    }
    Ok(())
}

fn connect(config: &LabConfig, [near, far]: &[End; 2]) -> Result<(), LabError> {
    let queues = config.queue_count().to_string();
    let mtu = config.mtu.to_string();
    let [near_namespace, far_namespace] = [near, far].map(|end| end.side.namespace(&config.prefix));
    let end = |end: &End, namespace| {
        [
            end.interface,
            "netns",
            namespace,
            "address",
            end.mac,
            "mtu",
            &mtu,
            "numrxqueues",
            &queues,
            "numtxqueues",
            &queues,
        ]
        .map(str::to_owned)
    };
    let mut words = ["ip", "link", "add"].map(str::to_owned).to_vec();
    words.extend(end(near, &near_namespace));
    words.extend(["type", "veth", "peer", "name"].map(str::to_owned));
    words.extend(end(far, &far_namespace));
    run(&words)?;
    Ok(())
}

/// Sets an end's offloads and addresses, and brings it up.
fn configure(config: &LabConfig, end: &End) -> Result<(), LabError> {
    let namespace = end.side.namespace(&config.prefix);
    let ethtool = |features: &[&str]| {
        let command = ["ip", "netns", "exec", &namespace, "ethtool", "-K", end.interface];
        run(&[&command, features].concat())
    };
    let offloads = config.offloads.is_on();
    if !offloads {
        ethtool(&["tx", "off", "tso", "off", "gso", "off", "gro", "off"])?;
    } else if end.side != Side::Server {
        ethtool(&["tx", "off"])?;
    }
    if end.side == Side::Link {
        // What its kernel would say by itself does not belong on the wire.
        let path = format!("/proc/sys/net/ipv6/conf/{}/disable_ipv6", end.interface);
        set(config, end.side, &path, "1")?;
        return ip(config, end.side, &["link", "set", end.interface, "up"]);
    }
    // Addresses are usable at once instead of after a second of duplicate address detection.
    let ipv6 = format!("/proc/sys/net/ipv6/conf/{}", end.interface);
    set(config, end.side, &format!("{ipv6}/disable_ipv6"), "0")?;
    set(config, end.side, &format!("{ipv6}/accept_dad"), "0")?;
    ip(config, end.side, &["link", "set", end.interface, "up"])?;
    if config.threaded_napi.is_on() {
        // GRO is what gives a veth its NAPI, and only while it is up.
        ethtool(&["gro", "on"])?;
        let path = format!("/sys/class/net/{}/threaded", end.interface);
        set(config, end.side, &path, "1")?;
    }
    if end.side == Side::Server && config.kernel_address == Addressing::No {
        return Ok(());
    }
    for address in end.addresses {
        let nodad: &[&str] = if address.contains(':') { &["nodad"] } else { &[] };
        let add = ["address", "add", address, "dev", end.interface];
        ip(config, end.side, &[&add, nodad].concat())?;
    }
    Ok(())
}

fn ip(config: &LabConfig, side: Side, words: &[&str]) -> Result<(), LabError> {
    let namespace = side.namespace(&config.prefix);
    run(&[&["ip", "-n", &namespace], words].concat())?;
    Ok(())
}

/// Writes a kernel setting as one side sees it.
fn set(config: &LabConfig, side: Side, path: &str, value: &str) -> Result<(), LabError> {
    let namespace = side.namespace(&config.prefix);
    run_with_input(&["ip", "netns", "exec", &namespace, "tee", path], value)?;
    Ok(())
}
