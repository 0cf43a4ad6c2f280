//! A large file from the page cache into frames, beside a plain copy of the same bytes into the same
//! memory.

use std::{
    fs::{self, File},
    io::Write,
    time::Duration,
};

use pagewire_driver::Instant;
use pagewire_stack::FileObject;

use super::{
    EngineError,
    app::{Answers, App, stack_on_link},
    clients::Clients,
};
use crate::{cpu::Stopwatch, figures::Figure};

/// Bytes of the file: well beyond the caches.
const FILE: usize = 256 << 20;
/// Payload of a full segment over IPv4 without options.
const SEGMENT: usize = 1_460;
/// Frames that the copy is spread over, as the stack's are over its pool.
const FRAMES: usize = 1_024;

/// Measures for `time` of the stack's own turns.
pub fn measure(is_ipv6: bool, time: Duration) -> Result<Vec<Figure>, EngineError> {
    let path = std::env::temp_dir().join(format!("pagewire-bench-{}.bulk", std::process::id()));
    let result = measure_with(&path, is_ipv6, time);
    let _ = fs::remove_file(&path);
    result
}

fn measure_with(
    path: &std::path::Path,
    is_ipv6: bool,
    time: Duration,
) -> Result<Vec<Figure>, EngineError> {
    let block: Vec<u8> = (0..1u32 << 20).map(|byte| (byte ^ (byte >> 8)) as u8).collect();
    let mut file = File::create(path)?;
    for _ in 0..FILE >> 20 {
        file.write_all(&block)?;
    }
    let object = FileObject::load(File::open(path)?)?;
    let (stack, far, _disk) = stack_on_link(1, is_ipv6)?;
    let mut app = Answers::new(stack, Vec::new(), Some(object));
    let mut clients = Clients::new(far, 1, is_ipv6);
    let mut now = Instant::from_millis(1);
    clients.open(&mut app, &mut now)?;
    let (mut sent, mut busy, mut left, mut quiet) = (0, Duration::ZERO, 0, 0);
    while busy < time {
        if left == 0 {
            clients.request(0, b"GET");
            left = FILE;
        }
        clients.acknowledge(0);
        clients.flush(now);
        let start = Stopwatch::start();
        app.turn(now);
        let turn = start.elapsed();
        let (bytes, _) = clients.collect(now);
        // Turns that wait for the disk helpers are not the stack's work.
        if bytes > 0 {
            busy += turn;
            quiet = 0;
        }
        quiet += 1;
        if quiet > 1_000_000 {
            return Err(EngineError::Broken(format!(
                "the transfer stands still after {sent} bytes"
            )));
        }
        sent += bytes;
        left -= bytes.min(left);
        now += Duration::from_micros(10);
    }
    let rate = sent as f64 / busy.as_secs_f64();
    let copy = copy_rate(path, &app, time)?;
    let family = if is_ipv6 { "ipv6" } else { "ipv4" };
    let name = |what: &str| format!("engine/bulk/{family}/{what}");
    Ok(vec![
        Figure { name: name("stack"), value: rate / 1e9, unit: "GB/s" },
        Figure { name: name("memcpy"), value: copy / 1e9, unit: "GB/s" },
        Figure { name: name("share of memcpy"), value: rate / copy, unit: "" },
    ])
}

/// How fast the file's bytes can be copied into frames of the stack's own pool.
fn copy_rate(path: &std::path::Path, app: &Answers, time: Duration) -> Result<f64, EngineError> {
    let bytes = fs::read(path)?;
    let pool = app.stack().port().pool();
    let mut frames: Vec<_> = (0..FRAMES).map_while(|_| pool.allocate()).collect();
    let (mut copied, mut next) = (0, 0);
    let start = Stopwatch::start();
    while start.elapsed() < time {
        for segment in bytes.chunks_exact(SEGMENT) {
            frames[next].chunk_mut()[54..54 + SEGMENT].copy_from_slice(segment);
            next = (next + 1) % frames.len();
        }
        copied += bytes.len() / SEGMENT * SEGMENT;
    }
    Ok(copied as f64 / start.elapsed().as_secs_f64())
}
