//! Connections that have nothing to do with the files that change.

use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use crate::{
    judge::Version,
    site::Site,
    transfer::{Connection, Fetch},
};

const SIZES: [usize; 5] = [0, 300, 8_192, 40_000, 300_000];

/// How many connections there are.
const CONNECTIONS: u64 = 3;

/// How long one rests between two files, so that the cores are left to those who inject.
const PAUSE: Duration = Duration::from_millis(3);

/// Runs `work` while connections fetch files that stay as they are. Fails if any of them is refused,
/// cut or served anything else.
pub fn beside(site: &Site, work: impl FnOnce()) {
    let files: Vec<_> = SIZES
        .iter()
        .map(|&size| {
            let (name, version) = (format!("stable-{size}"), Version::new(size as u64, size));
            fs::write(site.path(&name), version.bytes()).unwrap();
            (name, version)
        })
        .collect();
    let (is_over, fetched) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let end = EndOnDrop(&is_over);
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                let mut connection = Connection::open(site.address(), 1 << 20);
                for (name, version) in files.iter().cycle() {
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    connection.ask(name);
                    let Fetch::Complete { status: 200, body } = connection.take() else {
                        panic!("{name}, which nobody touched, was not served whole");
                    };
                    assert!(body == version.bytes(), "{name} has other bytes");
                    fetched.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(PAUSE);
                }
            });
        }
        work();
        drop(end);
    });
    let fetched = fetched.into_inner();
    eprintln!("bystanders fetched {fetched} files");
    assert!(fetched > CONNECTIONS, "they fetched nothing");
}

/// Ends the connections, also if the work fails: nobody waits for them for ever.
struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
