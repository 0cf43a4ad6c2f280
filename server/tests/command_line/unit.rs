//! The unit for systemd says what is true of the program.

use std::{collections::BTreeMap, path::Path, time::Duration};

use pagewire::{
    args::{self, Task},
    control::socket::SYSTEM_DIRECTORY,
    failure::Failure,
    privilege::{PORT_RIGHTS, XDP_RIGHTS},
    settings::DEFAULT_FILE,
};

/// The settings of `[Service]`, by name. Each is given once.
fn service() -> BTreeMap<String, String> {
    let text = read("pagewire.service");
    let (service, install) = text.split_once("\n[Install]\n").unwrap();
    assert_eq!(install.trim(), "WantedBy=multi-user.target");
    settings(service)
}

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib/systemd").join(name);
    std::fs::read_to_string(path).unwrap()
}

fn settings(text: &str) -> BTreeMap<String, String> {
    let (_, service) = text.split_once("\n[Service]\n").unwrap();
    let mut settings = BTreeMap::new();
    let lines = service.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    for line in lines {
        let (name, value) = line.split_once('=').unwrap_or_else(|| panic!("{line}"));
        let before = settings.insert(name.to_owned(), value.to_owned());
        assert_eq!(before, None, "{name} is given twice");
    }
    settings
}

fn words(text: &str) -> Vec<&str> {
    let mut words: Vec<_> = text.split_whitespace().collect();
    words.sort_unstable();
    words
}

#[test]
fn it_starts_what_there_is_with_the_file_that_there_is() {
    let service = service();
    let command = service["ExecStart"].split(' ');
    let Ok(Task::Serve(sources)) = args::parse(command) else { panic!("{}", service["ExecStart"]) };
    assert_eq!(sources.file.unwrap(), Path::new(DEFAULT_FILE));
    let made_for_it = |name: &str| format!("/etc/{}/pagewire.toml", service[name]);
    assert_eq!(made_for_it("ConfigurationDirectory"), DEFAULT_FILE);
    assert_eq!(format!("/run/{}", service["RuntimeDirectory"]), SYSTEM_DIRECTORY);
}

#[test]
fn the_manager_is_told_what_it_waits_for_and_drains_are_not_cut() {
    let service = service();
    assert_eq!(service["Type"], "notify-reload");
    // The default of `ReloadSignal=` is SIGHUP, which reloads.
    assert!(!service.contains_key("ReloadSignal") && !service.contains_key("ExecReload"));
    let before_253 = settings(&read("before-253.conf"));
    assert_eq!((before_253.len(), before_253["Type"].as_str()), (2, "notify"));
    assert!(before_253["ExecReload"].ends_with("kill -HUP $MAINPID"));
    assert!(service["WatchdogSec"].parse::<u64>().unwrap() >= 5, "longer than a reload waits");
    assert_eq!(service["KillSignal"], "SIGQUIT");
    let Ok(Task::Serve(mut sources)) = args::parse(["pagewire", "serve", "."]) else { panic!() };
    sources.environment.clear();
    let drain = sources.read().unwrap().drain_timeout.value.0;
    let patience =
        humantime::parse_duration(&service["TimeoutStopSec"].replace("min", "m")).unwrap();
    assert!(patience > drain + Duration::from_secs(5), "{patience:?} {drain:?}");
    let status = service["RestartPreventExitStatus"].parse::<u8>().unwrap();
    assert_eq!(Failure::Usage(String::new()).exit_status(), status.into());
}

#[test]
fn it_has_the_capabilities_that_it_uses_and_no_others() {
    let service = service();
    let used = (XDP_RIGHTS | PORT_RIGHTS).iter_names().map(|(name, _)| format!("CAP_{name}"));
    let used = used.collect::<Vec<_>>().join(" ");
    assert_eq!(words(&service["AmbientCapabilities"]), words(&used));
    assert_eq!(words(&service["CapabilityBoundingSet"]), words(&used));
    // Locked memory for UMEM, and no root.
    assert_eq!(service["LimitMEMLOCK"], "infinity");
    assert_ne!(service["User"], "root");
    let families = ["AF_INET", "AF_INET6", "AF_NETLINK", "AF_UNIX", "AF_XDP"];
    assert_eq!(words(&service["RestrictAddressFamilies"]), families);
    assert_eq!(words(&service["SystemCallFilter"]), ["@system-service", "bpf", "seccomp"]);
}
