//! Sources that operators deny, in a process that has given up its privileges.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use pagewire_tools::{
    control,
    lab::{INTERFACE, Lab, LabConfig, SERVER, Side, privileged},
};

use crate::{
    client::{Client, PATIENCE},
    interface::{fetch, plug_in, run, wait_said},
    process::{Process, Site, XDP},
};

/// The client of a lab.
const SOURCE: &str = "10.77.0.2/32";
/// How long is waited for what must not come.
const MOMENT: Duration = Duration::from_millis(300);

/// A server's control socket, which opens last, and anew after each start.
fn control(path: &Path) -> control::Client {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match control::Client::connect(path) {
            Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(10)),
            connected => return connected.unwrap(),
        }
    }
}

fn is_heard(lab: &Lab, patience: Duration) -> bool {
    lab.within(Side::Client, || Client::connect(SERVER[0], patience).is_ok()).unwrap()
}

#[test]
fn a_source_stays_denied_without_privileges_and_after_the_interface_was_lost() {
    if !privileged() {
        return;
    }
    let lab = Lab::up(&LabConfig { queues: Some(2), ..LabConfig::unique() }).unwrap();
    let site = Site::new(&[("page", 50_000)]);
    site.open_to_all();
    let directory = site.root().join(".control");
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
    let socket = directory.join("it.sock");
    let flags = format!("{XDP} --user nobody --control {}", socket.display());
    let process = Process::start(&lab, &site, &flags);
    fetch(&lab, &site);
    assert!(control(&socket).deny(SOURCE.to_owned(), true).unwrap());
    assert!(!is_heard(&lab, MOMENT));

    run(&lab, Side::Server, &format!("ip link del {INTERFACE}"));
    wait_said(&process, "the interface is lost", 1);
    plug_in(&lab);
    wait_said(&process, "serving again", 1);
    let mut control = control(&socket);
    assert_eq!(control.denied().unwrap(), [SOURCE]);
    assert!(!is_heard(&lab, MOMENT));

    assert!(control.deny(SOURCE.to_owned(), false).unwrap());
    assert!(is_heard(&lab, PATIENCE));
    fetch(&lab, &site);
    process.stop();
}
