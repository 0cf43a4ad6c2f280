//! What the process may do before and after the start, and what it does where it may not have AF_XDP.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    process::{Output, Stdio},
};

use pagewire_tools::lab::{INTERFACE, Lab, LabConfig, SERVER, Side, privileged};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    client::Client,
    process::{KERNEL, Process, Site, XDP},
};

/// All that a user other than root needs for the XDP transport, in the words of `setpriv(1)`.
const CAPABILITIES: [&str; 5] = ["net_raw", "net_admin", "bpf", "perfmon", "ipc_lock"];

/// A site that everybody may read but for one file, and a program that everybody may run.
fn public_site() -> Site {
    let site = Site::new(&[("page", 50_000), ("secret", 10)]);
    let mode = |path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    site.open_to_all();
    mode(site.root().join("secret"), 0o600);
    site
}

/// A line of the status of each of a process's threads, by the thread's name.
fn threads(process: &Process, field: &str) -> Vec<(String, String)> {
    let tasks = fs::read_dir(format!("/proc/{}/task", process.id())).unwrap();
    let line = |task: fs::DirEntry| {
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        let status = fs::read_to_string(task.path().join("status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(field)).map(str::trim)?;
        Some((name.trim().to_owned(), line.to_owned()))
    };
    tasks.filter_map(|task| line(task.ok()?)).collect()
}

#[test]
fn after_the_start_it_is_another_user_without_capabilities_and_serves_on() {
    if !privileged() {
        return;
    }
    let lab = Lab::up(&LabConfig::unique()).unwrap();
    let site = public_site();
    for (flags, keeps) in [(KERNEL, false), (XDP, true)] {
        let process = Process::start(&lab, &site, &format!("{flags} --user nobody:nogroup"));
        let nobody = "65534\t65534\t65534\t65534";
        for (thread, uid) in threads(&process, "Uid:") {
            assert_eq!(uid, nobody, "{thread}");
        }
        for field in ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:"] {
            let all = threads(&process, field);
            assert!(all.len() > 5, "{all:?}");
            let holders: Vec<_> =
                all.iter().filter(|(_, set)| set.contains(|it| it != '0')).collect();
            let keeper = keeps && ["CapEff:", "CapPrm:"].contains(&field);
            assert_eq!(holders.len(), usize::from(keeper), "{flags} {field} {holders:?}");
            assert!(holders.iter().all(|(thread, _)| thread == "keeper"), "{holders:?}");
        }
        assert!(threads(&process, "NoNewPrivs:").iter().all(|(_, is_set)| is_set == "1"));
        let filtered = threads(&process, "Seccomp:");
        let shards: Vec<_> =
            filtered.iter().filter(|(thread, _)| thread.starts_with("shard-")).collect();
        assert!(!shards.is_empty() && shards.iter().all(|(_, mode)| mode == "2"), "{filtered:?}");
        for server in SERVER {
            let mut client = Client::connect_many(&lab, server, 1).remove(0);
            assert!(client.get("/page").unwrap() == site.files["page"], "{server}: other bytes");
            let refused = client.get("/secret").unwrap_err().to_string();
            assert!(refused.starts_with("http/1.1 403"), "{refused}");
        }
        process.stop();
    }
}

/// Runs it as a user with just these capabilities, until it is ready or ends. Returns its first line too.
fn run_with(lab: &Lab, site: &Site, capabilities: &[&str], flags: &str) -> (String, Output) {
    let each = capabilities.iter().map(|it| format!(",+{it}"));
    let set = std::iter::once("-all".to_owned()).chain(each).collect::<String>();
    let mut command = lab.command(Side::Server, "setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    for kind in ["inh-caps", "ambient-caps", "bounding-set"] {
        command.arg(format!("--{kind}={set}"));
    }
    command.arg(env!("CARGO_BIN_EXE_pagewire")).arg("serve").arg(site.root());
    command.args(flags.split(' '));
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    if !line.is_empty() {
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    }
    (line, child.wait_with_output().unwrap())
}

#[test]
fn just_these_capabilities_are_needed_and_none_can_be_left_out() {
    if !privileged() || !everybody_may_run_it() {
        return;
    }
    let lab = Lab::up(&LabConfig::unique()).unwrap();
    let site = public_site();
    let (line, output) = run_with(&lab, &site, &CAPABILITIES, XDP);
    assert!(line.contains("ready"), "{line} {}", String::from_utf8_lossy(&output.stderr));
    for missing in CAPABILITIES {
        let rest: Vec<_> = CAPABILITIES.into_iter().filter(|it| *it != missing).collect();
        let (_, output) = run_with(&lab, &site, &rest, XDP);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "without {missing}: {said}");
        assert!(said.to_lowercase().contains(&format!("cap_{missing}")), "{missing}: {said}");
    }
}

/// Whether the program lies where another user finds it, which a home directory may prevent.
fn everybody_may_run_it() -> bool {
    let mut path = std::path::Path::new(env!("CARGO_BIN_EXE_pagewire")).ancestors();
    let is_open = path.all(|it| {
        it.as_os_str().is_empty()
            || fs::metadata(it).is_ok_and(|it| it.permissions().mode() & 0o001 != 0)
    });
    if !is_open {
        eprintln!("SKIPPED: the program lies in a directory that other users may not enter");
    }
    is_open
}

#[test]
fn without_af_xdp_the_kernel_serves_the_same_address_and_it_is_said() {
    if !privileged() {
        return;
    }
    // Frames do not fit into a chunk.
    let lab = Lab::up(&LabConfig { mtu: 9000, ..LabConfig::unique() }).unwrap();
    let site = public_site();
    let flags = format!("--interface {INTERFACE} --address 10.77.0.1/24 --address 10.77.0.9/24");
    let process = Process::start(&lab, &site, &flags);
    let said = process.said();
    assert!(said.contains("the kernel's TCP serves instead"), "{said}");
    assert!(said.contains("10.77.0.9:80 is not served"), "{said}");
    let mut client = Client::connect_many(&lab, SERVER[0], 1).remove(0);
    assert!(client.get("/page").unwrap() == site.files["page"], "other bytes");
    process.stop();

    let mut refused = lab.command(Side::Server, env!("CARGO_BIN_EXE_pagewire"));
    refused.arg("serve").arg(site.root()).args(flags.split(' ')).arg("--require-xdp");
    let output = refused.stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn where_another_process_has_the_queues_it_ends_rather_than_serve_nobody() {
    if !privileged() {
        return;
    }
    let lab = Lab::up(&LabConfig::unique()).unwrap();
    let site = public_site();
    let flags = format!("--interface {INTERFACE} --address 10.77.0.1/24");
    let process = Process::start(&lab, &site, &flags);
    let mut second = lab.command(Side::Server, env!("CARGO_BIN_EXE_pagewire"));
    second.arg("serve").arg(site.root()).args(flags.split(' '));
    let output = second.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("is in use by another AF_XDP socket"), "{said}");
    let mut client = Client::connect_many(&lab, SERVER[0], 1).remove(0);
    assert!(client.get("/page").unwrap() == site.files["page"], "the first serves on");
    process.stop();
}
