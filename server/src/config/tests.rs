//! What settings come to together, and what is said where they contradict each other.

use super::*;

struct TwoCores;

impl Machine for TwoCores {
    fn cores(&self) -> Vec<usize> {
        vec![0, 1]
    }

    fn queues(&self, interface: &str) -> Option<u32> {
        (interface == "eth4").then_some(4)
    }
}

fn config(flags: &str) -> Result<Config, Failure> {
    let words = ["pagewire", "serve", "dir"].into_iter().chain(flags.split_whitespace());
    Config::of_words(words, &TwoCores)
}

fn xdp(flags: &str) -> Result<(Config, XdpConfig), Failure> {
    let base = "--interface eth4 --address 10.77.0.1/24 ";
    let config = config(&(base.to_owned() + flags))?;
    let TransportConfig::Xdp(xdp) = config.transport.clone() else { panic!() };
    Ok((config, xdp))
}

#[test]
fn the_kernel_transport_needs_no_flags() {
    let config = config("").unwrap();
    assert_eq!(config.cores, [0, 1]);
    let TransportConfig::Kernel(kernel) = config.transport else { panic!() };
    assert_eq!(kernel.listen, ["127.0.0.1:8080".parse().unwrap()]);
}

#[test]
fn xdp_takes_all_queues_over_the_cores_there_are() {
    let (config, xdp_config) = xdp("").unwrap();
    assert_eq!((config.cores, xdp_config.queues), (vec![0, 1, 0, 1], vec![0, 1, 2, 3]));
    assert_eq!(xdp_config.port, 80);
    let (config, xdp_config) = xdp("--queues 0-1 --cores 1,0 --port 8080").unwrap();
    assert_eq!((config.cores, xdp_config.queues), (vec![1, 0], vec![0, 1]));
}

#[test]
fn the_kernel_takes_the_addresses_of_the_user_level_stack_if_told_to() {
    let (_, xdp_config) = xdp("--port 8080 --address fd77::1/64").unwrap();
    let kernel = xdp_config.fallback.unwrap().kernel;
    let both = ["10.77.0.1:8080".parse().unwrap(), "[fd77::1]:8080".parse().unwrap()];
    assert_eq!(kernel.listen, both);
    let (_, xdp_config) = xdp("--require-xdp").unwrap();
    assert!(xdp_config.fallback.is_none());
    let flags = "--transport kernel --interface eth4 --address 10.77.0.1/24 --busy";
    let TransportConfig::Kernel(kernel) = config(flags).unwrap().transport else { panic!() };
    assert_eq!(kernel.listen, ["10.77.0.1:80".parse().unwrap()]);
}

#[test]
fn without_a_directory_there_is_nothing_to_serve() {
    let failure = Config::of_words(["pagewire", "serve"], &TwoCores).unwrap_err();
    check(&failure, 2, "name a directory", "");
}

#[test]
fn contradictions_are_named_with_their_fix() {
    let cases = [
        ("--interface eth4", 2, "needs --address"),
        ("--busy", 2, "--busy belongs to the XDP transport"),
        ("--transport kernel --interface eth4", 2, "--interface belongs to the XDP"),
        ("--address 10.0.0.1/8", 2, "--address belongs"),
        ("--port 81", 2, "--port belongs"),
        ("--port 80", 2, "--port belongs"),
        ("--queues 0", 2, "--queues belongs"),
        ("--cores 7", 2, "--cores: core 7 is not"),
        ("--listen 127.0.0.1:1 --listen 127.0.0.1:1", 2, "twice"),
        ("--listen localhost", 2, "not an address with a port"),
        ("--transport tcp", 2, "possible values"),
        ("--transport xdp", 2, "needs --interface"),
        ("--transport xdp --interface eth4", 2, "needs --address"),
        ("--interface no --address 10.0.0.1/8 --require-xdp", 4, "no interface no here"),
        ("--transport xdp --listen 127.0.0.1:1", 2, "use --address and --port"),
    ];
    for (flags, status, part) in cases {
        check(&config(flags).map(|_| ()).unwrap_err(), status, part, flags);
    }
    let cases = [
        ("--queues 3-4", 4, "has no queue 4, only 0-3"),
        ("--queues 0 --cores 0-1", 2, "2 cores for 1 queues"),
        ("--address 10.77.0.1/16", 2, "twice"),
        ("--port 0", 2, "from 1 to 65535"),
    ];
    for (flags, status, part) in cases {
        check(&xdp(flags).map(|_| ()).unwrap_err(), status, part, flags);
    }
}

fn check(failure: &Failure, status: u8, part: &str, flags: &str) {
    assert_eq!(failure.exit_status(), status.into(), "{flags}");
    assert!(failure.to_string().contains(part), "{flags}: {failure}");
}
