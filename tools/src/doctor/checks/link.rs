//! The interface itself: whether it is there, whose it is, and what is on it.

use std::net::IpAddr;

use super::{
    super::finding::{
        Action, Finding, Fix,
        Verdict::{Fault, Note, Warning},
    },
    Case, Check, listed,
};

/// In the order in which they are told.
pub(super) const CHECKS: &[Check] =
    &[up, carrier, mtu, master, program, bound_queues, addresses, port, ipv6];

/// There is no such interface.
pub(super) fn missing(interface: &str) -> Finding {
    let reason =
        "Every name belongs to one network namespace; a renamed or unbound device has another.";
    Finding::bad("interface", Fault, format!("there is no interface {interface} here"), reason)
        .with(Fix::Advice("ip link show     # lists those that are here".to_owned()))
}

fn up(case: &Case<'_>) -> Option<Finding> {
    if case.link.is_up {
        return Some(Finding::good("link", "it is up"));
    }
    let reason = "A queue of an interface that is down carries nothing.";
    let set = |state| Action::run(&format!("ip link set dev {} {state}", case.name));
    Some(Finding::bad("link", Fault, "it is down", reason).with(Fix::safe(set("up"), set("down"))))
}

fn carrier(case: &Case<'_>) -> Option<Finding> {
    if !case.link.is_up {
        return None;
    }
    if case.link.has_carrier {
        return Some(Finding::good("carrier", "the other end is there"));
    }
    let reason = "Nothing can be sent or received until the cable, the switch's port or the other end of \
                  the pair is up.";
    let advice = "look at the other end: cable, module, port".to_owned();
    Some(Finding::bad("carrier", Fault, "no carrier", reason).with(Fix::Advice(advice)))
}

fn mtu(case: &Case<'_>) -> Option<Finding> {
    let most = pagewire_driver::MAX_MTU;
    let mtu = case.link.mtu;
    if mtu <= most {
        return Some(Finding::good("mtu", format!("{mtu} bytes")));
    }
    let reason = "A frame is one chunk of UMEM, and the program is attached without xdp.frags: the driver \
                  refuses it, or larger packets are lost.";
    let set = |mtu: usize| Action::run(&format!("ip link set dev {} mtu {mtu}", case.name));
    let found = format!("{mtu} bytes, more than the {most} that fit a frame");
    Some(Finding::bad("mtu", Fault, found, reason).with(Fix::safe(set(1_500), set(mtu))))
}

fn master(case: &Case<'_>) -> Option<Finding> {
    let master = case.link.master.as_ref()?;
    let reason = "Its frames belong to the bridge or bond: what is taken by XDP never gets there, and \
                  addresses are on the master, not here.";
    let release = Action::run(&format!("ip link set dev {} nomaster", case.name));
    let found = format!("it belongs to {master}");
    Some(Finding::bad("master", Warning, found, reason).with(Fix::manual(release)))
}

fn program(case: &Case<'_>) -> Option<Finding> {
    let Some((mode, name)) = &case.link.program else {
        return Some(Finding::good("xdp-program", "none is attached"));
    };
    if name == pagewire_driver::STEERING_PROGRAM {
        return Some(Finding::good("xdp-program", format!("pagewire's own, {mode}")));
    }
    if let Some(holder) = &case.link.program_holder {
        let reason = "One program at a time: ours is refused while this one hangs there. It goes with its \
                      process; `ip link` may not take it off.";
        let whose = format!("process {} ({})", holder.process, holder.name);
        let found = format!("`{name}` of {whose} is attached ({mode})");
        let action = Action::run(&format!("bpftool link detach id {}", holder.link));
        return Some(Finding::bad("xdp-program", Fault, found, reason).with(Fix::manual(action)));
    }
    let reason = "One program at a time: ours is refused while this one hangs there.";
    let detach = match mode.as_str() {
        "generic" => "xdpgeneric",
        "offloaded" => "xdpoffload",
        _ => "xdpdrv",
    };
    let action = Action::run(&format!("ip link set dev {} {detach} off", case.name));
    let found = format!("`{name}` of somebody else is attached ({mode})");
    Some(Finding::bad("xdp-program", Fault, found, reason).with(Fix::manual(action)))
}

fn bound_queues(case: &Case<'_>) -> Option<Finding> {
    let wanted = case.queues();
    let bound: Vec<u32> =
        case.link.bound_queues.iter().copied().filter(|queue| wanted.contains(queue)).collect();
    if bound.is_empty() {
        return Some(Finding::good("bound-queues", "no other AF_XDP socket has the queues"));
    }
    let reason = "A queue has one AF_XDP socket; binding another fails with EBUSY.";
    let advice = "lsof -nP | grep XDP     # says whose they are".to_owned();
    let found = format!("AF_XDP sockets have queue {}", listed(&bound));
    let is_ours = case
        .link
        .program
        .as_ref()
        .is_some_and(|(_, name)| name == pagewire_driver::STEERING_PROGRAM);
    let verdict = if is_ours { Note } else { Fault };
    Some(Finding::bad("bound-queues", verdict, found, reason).with(Fix::Advice(advice)))
}

fn addresses(case: &Case<'_>) -> Option<Finding> {
    let absent: Vec<IpAddr> = case
        .wanted
        .addresses
        .iter()
        .copied()
        .filter(|address| !case.link.addresses.contains(address))
        .collect();
    if case.wanted.addresses.is_empty() {
        return None;
    }
    if absent.is_empty() {
        return Some(Finding::good("addresses", "the kernel has them; only the port is taken"));
    }
    let reason = "pagewire then answers ARP, NDP and ICMP for it, and there is no falling back to the \
                  kernel's TCP.";
    let found = format!("the kernel does not have {}", listed(&absent));
    let prefix = |address: &IpAddr| if address.is_ipv4() { 24 } else { 64 };
    let act = |verb: &str, address: &IpAddr| {
        Action::run(&format!("ip address {verb} {address}/{} dev {}", prefix(address), case.name))
    };
    let actions = absent.iter().map(|address| act("add", address)).collect();
    Some(Finding::bad("addresses", Note, found, reason).with(Fix::Manual(actions)))
}

fn port(case: &Case<'_>) -> Option<Finding> {
    let takes = |listener: &std::net::SocketAddr| {
        let wanted = &case.wanted.addresses;
        listener.port() == case.wanted.port
            && (listener.ip().is_unspecified() || wanted.contains(&listener.ip()))
    };
    let Some(listener) = case.host.listeners.iter().find(|listener| takes(listener)) else {
        return Some(Finding::good("port", format!("nobody else listens on {}", case.wanted.port)));
    };
    let reason = "With --transport xdp its clients on this interface reach pagewire instead; the kernel's \
                  TCP as a fallback cannot have the port.";
    let advice = format!("ss -ltnp 'sport = :{}'     # says who it is", case.wanted.port);
    let found = format!("somebody listens on {listener}");
    Some(Finding::bad("port", Warning, found, reason).with(Fix::Advice(advice)))
}

fn ipv6(case: &Case<'_>) -> Option<Finding> {
    let wants = case.wanted.addresses.iter().any(IpAddr::is_ipv6);
    if !wants || !case.link.ipv6_is_off {
        return None;
    }
    let reason = "The kernel then has no IPv6 neighbours and routes here, from which pagewire learns the \
                  next hop.";
    let path = format!("/proc/sys/net/ipv6/conf/{}/disable_ipv6", case.name);
    let set = |value: u8| Action::write(path.clone(), value);
    Some(
        Finding::bad("ipv6", Fault, "IPv6 is switched off on it", reason)
            .with(Fix::safe(set(0), set(1))),
    )
}
