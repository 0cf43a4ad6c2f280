//! Files of somebody else's, more of them than there is memory for, served by a user without rights: what the
//! kernel tells such a user about memory is not always true, and yet no core waits for the disk.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt,
    thread,
    time::{Duration, Instant},
};

use pagewire_tools::lab::{Lab, LabConfig, MemoryGroup, SERVER, Side, privileged};
use rustix::fs::{Advice, fadvise};

use crate::{
    client::Client,
    process::{KERNEL, Process, Site, XDP},
};

/// What the server may use, page cache included.
const MEMORY_BYTES: u64 = 32 << 20;

const FILES: usize = 14;
const FILE_BYTES: usize = (5 << 20) + 777;

/// Clients that take all that they can get, and how often each asks for all files.
const QUICK: usize = 3;
const ROUNDS: usize = 2;

/// Clients that take a little at a time, so that what they wait for is the oldest in memory.
const SLOW: usize = 3;
const PAUSE: Duration = Duration::from_millis(15);

/// How often it is tried: a core that loses its turn between having looked at pages and copying them may find them
/// gone, and how often it does depends on who else has the machine.
const TRIES: usize = 3;

fn name(number: usize) -> String {
    format!("file-{}", number % FILES)
}

/// Files that root owns and everybody may read, none of which is in memory.
fn cold_site() -> Site {
    let names: Vec<_> = (0..FILES).map(name).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), FILE_BYTES)).collect();
    let site = Site::new(&[files, vec![("small", 100)]].concat());
    site.open_to_all();
    forget(&site);
    site
}

/// Puts all files out of memory.
fn forget(site: &Site) {
    for name in site.files.keys() {
        let file = File::open(site.root().join(name)).unwrap();
        assert_eq!(file.metadata().unwrap().uid(), 0, "this test is about files of others");
        file.sync_all().unwrap();
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    }
}

/// Pages that the cores' threads have waited for.
fn major_faults(process: &Process) -> u64 {
    let mut faults = 0;
    for task in fs::read_dir(format!("/proc/{}/task", process.id())).unwrap() {
        let stat = fs::read_to_string(task.unwrap().path().join("stat")).unwrap();
        // proc(5): the name is in brackets; majflt is the tenth field behind it.
        let (name, fields) = stat.split_once('(').unwrap().1.rsplit_once(')').unwrap();
        if name.starts_with("shard-") {
            faults += fields.split_whitespace().nth(9).unwrap().parse::<u64>().unwrap();
        }
    }
    faults
}

/// Bytes that threads of the process have had read from a disk: all of them, and those that are cores. Who reads
/// what is not in memory waits for it, be it in a page fault or in sendfile.
fn read_from_disk(process: &Process) -> (u64, u64) {
    let (mut all, mut cores) = (0, 0);
    for task in fs::read_dir(format!("/proc/{}/task", process.id())).unwrap() {
        let task = task.unwrap().path();
        let name = fs::read_to_string(task.join("comm")).unwrap();
        let io = fs::read_to_string(task.join("io")).unwrap();
        let line = io.lines().find_map(|line| line.strip_prefix("read_bytes: ")).unwrap();
        let bytes = line.parse::<u64>().unwrap();
        all += bytes;
        cores += if name.starts_with("shard-") { bytes } else { 0 };
    }
    (all, cores)
}

#[test]
fn no_core_waits_for_the_disk_for_a_user_without_rights_and_files_of_root() {
    if !privileged() {
        return;
    }
    let site = cold_site();
    let lab = Lab::up(&LabConfig::unique()).unwrap();
    for flags in [KERNEL, XDP] {
        assert!(
            (0..TRIES).any(|_| waits_hardly(&site, &lab, flags)),
            "cores have waited for the disk"
        );
    }
}

/// Serves files from the disk, and says whether hardly a core waited for it.
fn waits_hardly(site: &Site, lab: &Lab, flags: &str) -> bool {
    forget(site);
    let process = Process::start(lab, site, &format!("{flags} --user nobody:nogroup"));
    let group = MemoryGroup::new(MEMORY_BYTES).unwrap();
    group.add(process.id()).unwrap();
    for server in SERVER {
        // What a core does for the first time needs pages of the program.
        let mut client = Client::connect_many(lab, server, 1).remove(0);
        assert_eq!(client.get("/small").unwrap(), site.files["small"]);
    }
    let (faults, read) = (major_faults(&process), read_from_disk(&process));
    eprintln!("{flags}: before, {read:?} bytes from the disk, {faults} major faults");
    thread::scope(|scope| {
        for client in 0..QUICK {
            scope.spawn(move || lab.within(Side::Client, || ask_for_all(site, client)).unwrap());
        }
        for client in 0..SLOW {
            scope.spawn(move || lab.within(Side::Client, || take_slowly(site, client)).unwrap());
        }
    });
    let (before, faults) = (read, major_faults(&process) - faults);
    let read = read_from_disk(&process);
    let (all, cores) = (read.0 - before.0, read.1 - before.1);
    eprintln!("{flags}: {all} bytes from the disk, {cores} by cores; {faults} major faults");
    if all == 0 {
        eprintln!("SKIPPED: temporary files are in memory here");
    }
    let counts = process.stop();
    assert_eq!(counts.of("finished"), counts.of("connections"), "{}", counts.text());
    // Without care it is some hundred pages of the hundred thousand.
    faults <= 40 && cores <= 40 << 12
}

fn ask_for_all(site: &Site, first: usize) {
    let mut client = Client::connect(SERVER[0], Duration::from_mins(1)).unwrap();
    for number in 0..ROUNDS * FILES {
        let name = name(number + first * FILES / QUICK);
        let body = client.get(&format!("/{name}")).unwrap();
        assert!(body == site.files[&name], "{name}: other bytes");
    }
}

fn take_slowly(site: &Site, number: usize) {
    let name = name(number * FILES / SLOW + 1);
    let mut client = Client::connect(SERVER[0], Duration::from_mins(1)).unwrap();
    let began = Instant::now();
    client.pause_between_reads(PAUSE);
    client.send(&format!("/{name}")).unwrap();
    let body = client.receive().unwrap();
    assert!(body == site.files[&name], "{name}: other bytes");
    eprintln!("{name} was taken in {:?}", began.elapsed());
}
