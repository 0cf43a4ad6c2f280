//! One core asks, real helpers answer, about files hot, cold and cut.

use std::io::Write;

use rustix::fs::Advice;

use super::*;

/// A directory on a disk: its file system evicts files, and tells whether it would wait.
const ON_DISK: &str = "/var/tmp";

const ID: ConnectionId = ConnectionId { slot: 1, generation: 2 };

fn second(number: u64) -> Instant {
    Instant::from_millis(number * 1_000)
}

fn object_of(len: usize) -> (tempfile::NamedTempFile, Arc<FileObject>) {
    let mut file = tempfile::NamedTempFile::new_in(ON_DISK).unwrap();
    file.write_all(&vec![7; len]).unwrap();
    file.as_file().sync_all().unwrap();
    let object = FileObject::load(file.reopen().unwrap()).unwrap();
    (file, object)
}

/// One that is all holes, and so costs no disk.
fn sparse_of(len: u64) -> Arc<FileObject> {
    let file = tempfile::tempfile().unwrap();
    file.set_len(len).unwrap();
    FileObject::load(file).unwrap()
}

/// A connection, and two windows of which it wants the first now.
fn pair_of_windows(slot: u32) -> (ConnectionId, Range<u64>) {
    let start = u64::from(slot) * 2 * WINDOW;
    (ConnectionId { slot, ..ID }, start..start + 2 * WINDOW)
}

fn evict(file: &tempfile::NamedTempFile) {
    rustix::fs::fadvise(file.as_file(), 0, None, Advice::DontNeed).unwrap();
}

/// An object like that of `object_of`, whose bytes have to be read.
fn cold_object_of(len: usize) -> (tempfile::NamedTempFile, Arc<FileObject>) {
    let (file, object) = object_of(len);
    evict(&file);
    (file, object)
}

fn residency(pool: &DiskPool) -> (Residency, Waker) {
    let waker = Waker::new().unwrap();
    (Residency::new(pool, waker.clone()), waker)
}

fn completion(residency: &mut Residency, waker: &Waker, now: Instant) -> Completion {
    use std::os::fd::AsFd;
    for _ in 0..200 {
        if let Some(completion) = residency.completed(now) {
            return completion;
        }
        pagewire_driver::wait_readable(&[waker.as_fd()], Some(Duration::from_millis(50)));
        waker.clear();
    }
    panic!("no helper answered within 10 s");
}

/// Until helpers have done what they were asked, and nobody waits for it.
fn settle(residency: &mut Residency, pool: &DiskPool, now: Instant) {
    for _ in 0..30_000 {
        let answered = residency.completed(now);
        assert!(answered.is_none(), "{answered:?}");
        if residency.in_flight == 0 && pool.is_idle() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("helpers are not done");
}

/// One that has had all of an object of one window read at 1 s.
fn residency_after_a_read(pool: &DiskPool, object: &Arc<FileObject>) -> (Residency, Waker) {
    let (mut residency, waker) = residency(pool);
    let whole = 0..object.len();
    assert_eq!(residency.request(second(1), ID, object, whole), Answer::Pending);
    completion(&mut residency, &waker, second(1)).result.unwrap();
    settle(&mut residency, pool, second(1));
    (residency, waker)
}

#[test]
fn a_window_is_trusted_for_a_second_and_longer_while_it_is_in_use() {
    let (_file, object) = object_of(100_000);
    let pool = DiskPool::start(1, 8).unwrap();
    let (mut residency, _waker) = residency_after_a_read(&pool, &object);
    // Seen at 5 s. At 5.6 s it is looked after, so it is trusted until 6.6 s.
    for (now, renewed) in [(5_000, 0), (5_499, 0), (5_600, 1), (6_050, 1), (6_300, 2), (7_299, 3)] {
        let now = Instant::from_millis(now);
        let answer = residency.request(now, ID, &object, 0..100_000);
        assert_eq!(answer, Answer::Resident { end: 100_000 });
        assert_eq!(residency.counters().renewed, renewed);
        settle(&mut residency, &pool, now);
    }
    let counters = residency.counters();
    assert_eq!((counters.looked_up, counters.waited, counters.lost), (2, 1, 0));
}

#[test]
fn after_a_window_in_use_has_lost_pages_only_what_is_seen_is_trusted() {
    let (file, object) = object_of(100_000);
    let pool = DiskPool::start(1, 8).unwrap();
    let (mut residency, waker) = residency_after_a_read(&pool, &object);
    let answer = residency.request(second(5), ID, &object, 0..100_000);
    assert_eq!(answer, Answer::Resident { end: 100_000 });
    // The kernel takes the pages of what is cut off. What is there then are others.
    file.as_file().set_len(0).unwrap();
    file.as_file().set_len(100_000).unwrap();
    let renewed_at = Instant::from_millis(5_600);
    let answer = residency.request(renewed_at, ID, &object, 0..100_000);
    assert_eq!(answer, Answer::Resident { end: 100_000 });
    settle(&mut residency, &pool, renewed_at);
    assert_eq!((residency.counters().renewed, residency.counters().lost), (1, 1));
    let ask = |residency: &mut Residency, now| {
        residency.request(Instant::from_millis(now), ID, &object, 0..100_000)
    };
    let looked_up = residency.counters().looked_up;
    assert_eq!(ask(&mut residency, 5_610), Answer::Resident { end: 100_000 });
    assert_eq!(residency.counters().looked_up, looked_up + 1);
    file.as_file().set_len(0).unwrap();
    file.as_file().set_len(100_000).unwrap();
    assert_eq!(ask(&mut residency, 5_710), Answer::Pending);
    completion(&mut residency, &waker, Instant::from_millis(5_710)).result.unwrap();
    settle(&mut residency, &pool, Instant::from_millis(5_710));
    // Long after that as before.
    let later = 60_000;
    assert_eq!(ask(&mut residency, later), Answer::Resident { end: 100_000 });
    let looked_up = residency.counters().looked_up;
    assert_eq!(ask(&mut residency, later + 100), Answer::Resident { end: 100_000 });
    assert_eq!(residency.counters().looked_up, looked_up);
}

#[test]
fn a_wait_for_what_was_in_memory_all_along_is_no_cause_of_care() {
    let (_file, object) = object_of(100_000);
    let pool = DiskPool::start(1, 8).unwrap();
    let (mut residency, waker) = residency_after_a_read(&pool, &object);
    let ask = |residency: &mut Residency, now| {
        residency.request(Instant::from_millis(now), ID, &object, 0..100_000)
    };
    let (release, held) = bounded::<()>(0);
    let busy = move || assert!(held.recv().is_err());
    pool.submit(Box::new(busy)).unwrap();
    // Trusted no longer, and not looked at while helpers are busy.
    assert_eq!(ask(&mut residency, 5_000), Answer::Pending);
    assert!(!residency.is_careful(second(5)));
    drop(release);
    completion(&mut residency, &waker, second(5)).result.unwrap();
    settle(&mut residency, &pool, second(5));
    assert!(!residency.is_careful(second(5)));
    assert_eq!(ask(&mut residency, 5_010), Answer::Resident { end: 100_000 });
    // The one look is that before the read.
    assert_eq!((residency.counters().looked_up, residency.counters().waited), (1, 2));
}

#[test]
fn what_is_read_for_anybody_makes_every_core_careful_for_a_second() {
    let (_file, object) = object_of(100_000);
    let pool = DiskPool::start(1, 8).unwrap();
    let (mut mine, _waker) = residency_after_a_read(&pool, &object);
    assert!(!mine.is_careful(second(1)));
    let (_cold_file, cold) = cold_object_of(100_000);
    let (_other, _waker) = residency_after_a_read(&pool, &cold);
    assert!(mine.is_careful(second(5)));
    assert!(mine.is_careful(Instant::from_millis(5_999)));
    assert!(!mine.is_careful(second(6)));

    // Also where a file is read because it is opened, and a copy taken.
    for len in [5_000, 50_000] {
        let file = cold_object_of(len).0.reopen().unwrap();
        let now = second(20 + len as u64);
        assert!(!mine.is_careful(now));
        FileObject::bring_in(file, pool.reads()).unwrap();
        assert!(mine.is_careful(now), "{len}");
        let file = object_of(len).0.reopen().unwrap();
        FileObject::bring_in(file, pool.reads()).unwrap();
        assert!(!mine.is_careful(now + CAREFUL_AFTER_READ), "{len}");
    }
}

#[test]
fn while_windows_have_to_be_read_few_pages_are_looked_at_at_once() {
    let (_file, object) = cold_object_of(1 << 20);
    let pool = DiskPool::start(1, 8).unwrap();
    let (mut residency, waker) = residency(&pool);
    assert_eq!(residency.request(second(1), ID, &object, 0..1 << 20), Answer::Pending);
    completion(&mut residency, &waker, second(1)).result.unwrap();
    let now = second(1);
    let answer = residency.request(now, ID, &object, 5_000..1 << 20);
    assert_eq!(answer, Answer::Resident { end: 5_000 + LOOK });
    // The next turn goes on where that one ends.
    let looked_up = residency.counters().looked_up;
    let answer = residency.request(now, ID, &object, 9_000..1 << 20);
    assert_eq!(answer, Answer::Resident { end: 5_000 + LOOK });
    assert_eq!(residency.counters().looked_up, looked_up);
    let later = now + LOOK_TRUST;
    let answer = residency.request(later, ID, &object, 9_000..1 << 20);
    assert_eq!(answer, Answer::Resident { end: 9_000 + LOOK });
    let answer = residency.request(now, ID, &object, (1 << 20) - 9..1 << 20);
    assert_eq!(answer, Answer::Resident { end: 1 << 20 });
    settle(&mut residency, &pool, now);
    let calm = second(1) + CAREFUL_AFTER_READ;
    let answer = residency.request(calm, ID, &object, 0..1 << 20);
    assert_eq!(answer, Answer::Resident { end: 1 << 20 });
}

#[test]
fn a_sender_that_outruns_the_disk_has_more_read_ahead_within_bounds() {
    let object = sparse_of(24 << 20);
    let pool = DiskPool::start(1, 256).unwrap();
    // The only helper is held up: all that is read ahead comes too late.
    let (go, gate) = bounded::<()>(0);
    pool.submit(Box::new(move || assert!(gate.recv().is_err()))).unwrap();
    let (mut residency, _waker) = residency(&pool);
    for (window, wanted) in [(0, 2), (1, 4), (2, 7), (3, 12), (4, 13), (5, 14)] {
        let range = window * WINDOW..24 << 20;
        assert_eq!(residency.request(second(1), ID, &object, range.clone()), Answer::Pending);
        assert_eq!(residency.request(second(1), ID, &object, range), Answer::Pending);
        assert_eq!(residency.wanted.len(), wanted, "at {window}");
    }
    // One that jumps begins anew, and never looks beyond what it has been asked for.
    let other = ConnectionId { slot: 7, ..ID };
    residency.request(second(1), other, &object, 19 * WINDOW..24 << 20);
    assert_eq!(residency.wanted.len(), 16);
    residency.request(second(1), other, &object, 20 * WINDOW..20 * WINDOW + 9);
    assert_eq!(residency.wanted.len(), 16);
    let object = sparse_of(200 << 20);
    for slot in 20..80 {
        let (id, range) = pair_of_windows(slot);
        assert_eq!(residency.request(second(1), id, &object, range), Answer::Pending);
    }
    assert_eq!(residency.wanted_ahead, AHEAD_MAX);
    assert!(residency.in_flight <= IN_FLIGHT_MAX);
    drop(go);
}

#[test]
fn what_is_needed_goes_before_what_is_read_ahead() {
    let pool = DiskPool::start(1, 256).unwrap();
    let (go, gate) = bounded::<()>(0);
    pool.submit(Box::new(move || assert!(gate.recv().is_err()))).unwrap();
    let (mut residency, waker) = residency(&pool);
    // So many ahead of need that the rest stays in line.
    let object = sparse_of(200 << 20);
    let slots = 20..20 + 2 * AHEAD_IN_FLIGHT_MAX as u32;
    for (id, range) in slots.clone().map(pair_of_windows) {
        residency.request(second(1), id, &object, range);
    }
    let (given, in_line) = (residency.in_flight, residency.ahead.len());
    assert!(in_line > 0);
    // What was only to be read ahead is needed now.
    let (_, last) = pair_of_windows(slots.end - 1);
    residency.request(second(1), ID, &object, last.end - 9..last.end);
    assert_eq!((residency.in_flight, residency.ahead.len()), (given + 1, in_line - 1));
    drop(go);
    let told = (0..=slots.len()).map(|_| completion(&mut residency, &waker, second(1)).id);
    assert_eq!(told.filter(|id| *id == ID).count(), 1);
}

#[test]
fn a_window_not_used_for_long_is_looked_up_or_asked_for_while_helpers_are_busy() {
    let (_file, object) = object_of(100_000);
    let pool = DiskPool::start(1, 8).unwrap();
    let (mut residency, waker) = residency_after_a_read(&pool, &object);
    let answer = residency.request(second(5), ID, &object, 0..100_000);
    assert_eq!(answer, Answer::Resident { end: 100_000 });
    assert_eq!((residency.counters().looked_up, residency.counters().waited), (2, 1));
    let (end, ended) = bounded::<()>(1);
    let job = move || assert!(ended.recv().is_err(), "nothing is sent");
    pool.submit(Box::new(job)).unwrap();
    assert_eq!(residency.request(second(9), ID, &object, 0..100_000), Answer::Pending);
    drop(end);
    completion(&mut residency, &waker, second(9)).result.unwrap();
    assert_eq!((residency.counters().looked_up, residency.counters().waited), (2, 2));
}

#[test]
fn a_cold_file_is_read_by_a_helper() {
    let (_file, object) = cold_object_of(200_000);
    let (mut residency, waker) = residency(&DiskPool::start(1, 8).unwrap());
    assert_eq!(residency.request(second(1), ID, &object, 0..200_000), Answer::Pending);
    let completion = completion(&mut residency, &waker, second(1));
    assert_eq!((completion.id, completion.result), (ID, Ok(())));
    let answer = residency.request(second(1), ID, &object, 5..200_000);
    assert_eq!(answer, Answer::Resident { end: 5 + LOOK });
    assert_eq!(residency.counters().waited, 1);
}

#[test]
fn a_large_file_goes_by_windows_with_the_next_one_requested_ahead() {
    let (_file, object) = cold_object_of(3 << 20);
    let (mut residency, waker) = residency(&DiskPool::start(1, 8).unwrap());
    assert_eq!(residency.request(second(1), ID, &object, 10..3 << 20), Answer::Pending);
    completion(&mut residency, &waker, second(1)).result.unwrap();
    let answer = residency.request(second(1), ID, &object, 10..3 << 20);
    assert_eq!(answer, Answer::Resident { end: 10 + LOOK });
    while residency.in_flight > 0 {
        assert!(residency.completed(second(1)).is_none());
    }
    let answer = residency.request(second(1), ID, &object, WINDOW..WINDOW + 9);
    assert_eq!(answer, Answer::Resident { end: WINDOW + LOOK });
    let counters = residency.counters();
    assert_eq!((counters.waited, counters.ahead), (1, 1));
}

#[test]
fn everyone_who_waits_for_a_window_is_told() {
    let (_file, object) = object_of(1 << 20);
    let pool = DiskPool::start(1, 8).unwrap();
    // The only helper is held up until all have asked.
    let (go, gate) = bounded::<()>(0);
    pool.submit(Box::new(move || assert!(gate.recv().is_err()))).unwrap();
    let (mut residency, waker) = residency(&pool);
    let ids = (0..50).map(|slot| ConnectionId { slot, generation: 0 });
    for id in ids.clone().chain(ids.clone()) {
        assert_eq!(residency.request(second(1), id, &object, 0..9), Answer::Pending);
    }
    drop(go);
    for id in ids {
        assert_eq!(completion(&mut residency, &waker, second(1)).id, id);
    }
    assert!(residency.completed(second(1)).is_none());
    assert_eq!(residency.counters().waited, 1);
}

#[test]
fn a_request_that_finds_the_queue_full_is_not_lost() {
    let pool = DiskPool::start(1, 1).unwrap();
    let (go, gate) = bounded::<()>(0);
    for _ in 0..2 {
        let blocked = || {
            let gate = gate.clone();
            Box::new(move || assert!(gate.recv().is_err()))
        };
        while pool.submit(blocked()).is_err() {}
    }
    let (_file, object) = object_of(1 << 20);
    let (mut residency, waker) = residency(&pool);
    while pool.queued() == 0 {}
    assert_eq!(residency.request(second(1), ID, &object, 0..9), Answer::Pending);
    assert!(residency.counters().queue_full > 0);
    assert_eq!(residency.deadline(second(1)), Some(second(1) + RETRY));
    drop(go);
    completion(&mut residency, &waker, second(1)).result.unwrap();
    assert_eq!(residency.deadline(second(1)), None);
}

#[test]
fn a_cut_file_is_content_changed() {
    let (file, object) = object_of(2 << 20);
    let (mut residency, waker) = residency(&DiskPool::start(1, 8).unwrap());
    file.as_file().set_len(5_000).unwrap();
    residency.request(second(1), ID, &object, WINDOW..2 << 20);
    let completion = completion(&mut residency, &waker, second(1));
    assert_eq!(completion.result, Err(CloseReason::ContentChanged));
    assert_eq!(residency.counters().failed, 1);
}
