//! Running out of descriptors. Alone in its process, since it lowers the process's limit.

use std::{
    net::TcpStream,
    time::{Duration, Instant as RealInstant},
};

use pagewire_driver::Clock;
use pagewire_stack::{DiskPool, Event, EventBatch, KernelConfig, KernelStack, Refused, Transport};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[test]
fn without_descriptors_accepting_rests_and_resumes() {
    let clock = Clock::start();
    let disk = DiskPool::start(1, 8).unwrap();
    let mut stack = KernelStack::new(KernelConfig::default(), &disk).unwrap();
    let address = stack.listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let clients: Vec<_> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(3), maximum: before.maximum }).unwrap();
    let mut seen = EventBatch::new();
    let (start, mut turns) = (RealInstant::now(), 0);
    while start.elapsed() < Duration::from_millis(500) {
        let now = clock.now();
        stack.poll(now, &mut seen);
        stack.wait(now, Some(now + Duration::from_millis(100)));
        turns += 1;
    }
    let refused = stack.connect(clock.now(), address);
    setrlimit(Resource::Nofile, before).unwrap();
    assert!(turns < 50, "{turns} turns in half a second");
    assert!(stack.counters().accept_no_descriptors > 0);
    assert_eq!(refused, Err(Refused::Exhausted));
    assert!(seen.is_empty(), "{seen:?}");
    while seen.len() < clients.len() {
        assert!(start.elapsed() < Duration::from_secs(20));
        let now = clock.now();
        stack.poll(now, &mut seen);
        stack.wait(now, Some(now + Duration::from_millis(100)));
    }
    assert!(seen.iter().all(|event| matches!(event, Event::Opened { .. })));
}
