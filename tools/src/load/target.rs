//! The server that is loaded: what a URL names, and whether it may be loaded at all.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs, UdpSocket},
};

use nix::ifaddrs::getifaddrs;
use pagewire_driver::Interface;
use pagewire_stack::Prefix;

use super::LoadError;
use crate::lab;

/// One server: an address, and its name as requests give it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// Where to connect to.
    pub address: SocketAddr,
    /// What the Host field says.
    pub authority: String,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.authority)
    }
}

/// Splits `http://host[:port]/path` into authority and path.
///
/// # Errors
///
/// [`LoadError::Usage`] for anything else.
pub(super) fn split_url(url: &str) -> Result<(&str, &str), LoadError> {
    let refuse = |why: &str| Err(LoadError::Usage(format!("`{url}` {why}")));
    if url.starts_with("https://") {
        return refuse("needs TLS, which is not spoken here; give its http:// URL");
    }
    let Some(rest) = url.strip_prefix("http://") else {
        return refuse("is not a URL such as http://10.77.0.1/index.html");
    };
    let rest = rest.split('#').next().unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if authority.is_empty() || authority.contains('@') {
        return refuse("names no server such as 10.77.0.1 or localhost:8080");
    }
    if !is_path(path) && !path.is_empty() {
        return refuse("has a path that is not one: percent-encode what is not plain ASCII");
    }
    Ok((authority, if path.is_empty() { "/" } else { path }))
}

/// Whether `path` can stand in a request line.
pub(super) fn is_path(path: &str) -> bool {
    path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic())
}

impl Target {
    /// The server that `authority` names, which may need the resolver.
    ///
    /// # Errors
    ///
    /// [`LoadError::Usage`] if there is none.
    pub(super) fn resolve(authority: &str) -> Result<Self, LoadError> {
        let has_port = authority.rsplit_once(':').is_some_and(|(host, port)| {
            port.parse::<u16>().is_ok() && (!host.contains(':') || host.ends_with(']'))
        });
        let text = if has_port { authority.to_owned() } else { format!("{authority}:80") };
        let mut addresses = text
            .to_socket_addrs()
            .map_err(|error| LoadError::Usage(format!("`{authority}` names no server: {error}")))?;
        let address = addresses.next().filter(|address| address.port() > 0);
        let address =
            address.ok_or_else(|| LoadError::Usage(format!("`{authority}` names no server")))?;
        Ok(Self { address, authority: authority.to_owned() })
    }

    /// Whether traffic to it stays on this machine: it is a loopback address, or one of the lab's
    /// networks and the way there is a veth. `interface` is the way, if that has been chosen.
    ///
    /// # Errors
    ///
    /// [`LoadError::Refused`], saying what it is instead.
    pub(super) fn check_harmless(&self, interface: Option<&str>) -> Result<(), LoadError> {
        let address = self.address.ip().to_canonical();
        if address.is_loopback() {
            return Ok(());
        }
        let refused = |reason| Err(LoadError::Refused { address, reason });
        if !is_of_a_lab(address) {
            return refused("is neither loopback nor in a lab's networks".to_owned());
        }
        let way = interface.map(str::to_owned).or_else(|| interface_to(self.address));
        let Some(way) = way else { return refused("cannot be reached from here".to_owned()) };
        match Interface::find(&way) {
            Ok(interface) if interface.driver == "veth" => Ok(()),
            _ => refused(format!("is reached by {way}, which is no wire of a lab")),
        }
    }
}

/// Whether an address is in one of the networks that labs use.
fn is_of_a_lab(address: IpAddr) -> bool {
    lab::NETWORKS
        .iter()
        .any(|&(network, length)| Prefix::new(network, length).is_ok_and(|it| it.contains(address)))
}

/// The interface by which the kernel would send to `to`. Nothing is sent.
fn interface_to(to: SocketAddr) -> Option<String> {
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(to).ok()?;
    let ours = socket.local_addr().ok()?.ip();
    let has_ours = |storage: &nix::sys::socket::SockaddrStorage| {
        let v4 = storage.as_sockaddr_in().map(|it| IpAddr::V4(Ipv4Addr::from(it.ip().to_bits())));
        let v6 = storage.as_sockaddr_in6().map(|it| IpAddr::V6(it.ip()));
        v4.or(v6) == Some(ours)
    };
    let mut interfaces = getifaddrs().ok()?;
    let found = interfaces.find(|interface| interface.address.as_ref().is_some_and(has_ours));
    found.map(|interface| interface.interface_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(authority: &str, interface: Option<&str>) -> Result<(), LoadError> {
        Target::resolve(authority).unwrap().check_harmless(interface)
    }

    #[test]
    fn urls_are_split_into_server_and_path() {
        for (url, authority, path) in [
            ("http://10.77.0.1", "10.77.0.1", "/"),
            ("http://10.77.0.1/a/b?c=d#e", "10.77.0.1", "/a/b?c=d"),
            ("http://[fd77::1]:8080/", "[fd77::1]:8080", "/"),
        ] {
            assert_eq!(split_url(url).unwrap(), (authority, path));
        }
        for bad in
            ["", "10.77.0.1", "https://a/", "http://", "http:///x", "http://u@h/", "ftp://a/"]
        {
            assert!(matches!(split_url(bad), Err(LoadError::Usage(_))), "{bad}");
        }
        assert!(split_url("http://a/b c").is_err());
        assert!(split_url("http://a/\r\nX: y").is_err());
        assert!(split_url("http://a?b").is_err());
    }

    #[test]
    fn a_server_is_an_address_with_or_without_a_port() {
        for (text, address) in [
            ("10.77.0.1", "10.77.0.1:80"),
            ("10.77.0.1:81", "10.77.0.1:81"),
            ("[fd77::1]", "[fd77::1]:80"),
            ("[fd77::1]:81", "[fd77::1]:81"),
        ] {
            assert_eq!(Target::resolve(text).unwrap().address, address.parse().unwrap());
        }
        assert!(Target::resolve("10.77.0.1:0").is_err());
        assert!(Target::resolve("10.77.0.1:65536").is_err());
    }

    #[test]
    fn loopback_may_be_loaded() {
        for loopback in ["127.0.0.1", "127.9.9.9:81", "[::1]:8080", "[::ffff:127.0.0.1]"] {
            assert!(check(loopback, None).is_ok(), "{loopback}");
        }
    }

    #[test]
    fn what_may_be_another_machine_is_refused() {
        for foreign in
            ["192.0.2.1", "10.76.0.1", "10.79.0.1", "[2001:db8::1]", "[fd79::1]", "8.8.8.8"]
        {
            let error = check(foreign, None).unwrap_err();
            assert!(matches!(error, LoadError::Refused { .. }), "{foreign}");
            assert!(error.to_string().contains("--i-own-this-target"), "{error}");
        }
    }

    #[test]
    fn a_labs_address_that_no_veth_leads_to_is_refused() {
        let error = check("10.77.0.1", Some("lo")).unwrap_err();
        assert!(error.to_string().contains("is reached by lo"), "{error}");
    }
}
