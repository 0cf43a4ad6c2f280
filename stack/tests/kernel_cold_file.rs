//! A file outside the page cache is read by a helper thread and never by the core that sends it.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
    thread,
    time::Duration,
};

use pagewire_driver::Clock;
use pagewire_stack::{
    DiskPool, Event, EventBatch, FileObject, FileRange, KernelConfig, KernelCounters, KernelStack,
    Part, Transport,
};

/// Bytes that this thread has had read from disks.
fn disk_bytes_read() -> u64 {
    let counters = fs::read_to_string("/proc/thread-self/io").unwrap();
    let line = counters.lines().find_map(|line| line.strip_prefix("read_bytes: ")).unwrap();
    line.parse().unwrap()
}

/// A file that is on the disk only. Beside the build, since /tmp may be memory.
fn cold_file(name: &str, len: usize) -> (PathBuf, Vec<u8>) {
    let bytes: Vec<u8> = (0..len as u32 / 4).flat_map(u32::to_le_bytes).collect();
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(&bytes).unwrap();
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    (path, bytes)
}

/// Sends a cold file of `len` bytes over loopback and says what the stack counted.
fn send_cold(name: &str, len: usize) -> KernelCounters {
    let clock = Clock::start();
    let disk = DiskPool::start(2, 64).unwrap();
    let mut stack = KernelStack::new(KernelConfig::default(), &disk).unwrap();
    let address = stack.listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let (path, bytes) = cold_file(name, len);
    let object = FileObject::load(fs::File::open(&path).unwrap()).unwrap();
    let reader = thread::spawn(move || {
        let mut received = vec![0; len];
        TcpStream::connect(address).unwrap().read_exact(&mut received).unwrap();
        received
    });
    let before = disk_bytes_read();
    let mut seen = EventBatch::new();
    while !seen.iter().any(|event| matches!(event, Event::Sent(_))) {
        let now = clock.now();
        let first_new = seen.len();
        stack.poll(now, &mut seen);
        for event in &seen[first_new..] {
            if let Event::Opened { id, .. } = event {
                let range = FileRange { object: object.clone(), start: 0, len: object.len() };
                stack.submit(*id, &mut vec![Part::File(range)]).unwrap();
            }
        }
        stack.wait(now, Some(now + Duration::from_secs(1)));
        assert!(clock.now().millis() < 30_000, "too long: {:?}", stack.counters());
    }
    let by_the_core = disk_bytes_read() - before;
    let counters = stack.counters();
    assert!(reader.join().unwrap() == bytes);
    assert_eq!(by_the_core, 0, "{counters:?}");
    fs::remove_file(path).unwrap();
    counters
}

#[test]
fn a_large_cold_file_is_read_by_helpers_and_not_by_the_core() {
    let counters = send_cold("cold-large", 24 << 20);
    assert_eq!(counters.residency.waited + counters.residency.ahead, 24, "{counters:?}");
    assert!(counters.disk_waits > 0, "{counters:?}");
}

#[test]
fn a_small_cold_file_is_read_by_helpers_and_not_by_the_core() {
    let counters = send_cold("cold-small", 200_000);
    assert_eq!(counters.residency.waited, 1, "{counters:?}");
}

#[test]
fn the_measure_of_these_tests_sees_a_thread_that_reads_by_itself() {
    let (path, bytes) = cold_file("cold-control", 1 << 20);
    let before = disk_bytes_read();
    assert!(fs::read(&path).unwrap() == bytes);
    assert!(disk_bytes_read() > before, "nothing was read from a disk: is this one memory?");
    fs::remove_file(path).unwrap();
}
