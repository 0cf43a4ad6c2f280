//! A large file from the page cache into frames, beside a plain copy of the same bytes into the same
//! memory; and the same with an acknowledgement for every second segment, where the first acknowledges all
//! of a turn at once, as a receiver that takes many segments together does.
//!
//! For a second after a file had to be read from the disk, the stack looks at pages before it sends them. What
//! that costs is shown apart, if the directory of temporary files is on a disk.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
    time::Duration,
};

use pagewire_driver::Instant;
use pagewire_stack::{DiskReads, FileObject};

use super::{
    EngineError,
    app::{Answers, App, stack_on_link},
    clients::Clients,
};
use crate::{cpu::Stopwatch, figures::Figure, product};

/// Bytes of the file: well beyond the caches.
pub const FILE: usize = 256 << 20;
/// Payload of a full segment over IPv4 without options.
const SEGMENT: usize = 1_460;
/// Less of the stack's own time than the careful second is: a turn takes less than the clock goes on for it.
const CAREFUL: Duration = Duration::from_millis(300);
/// Frames that the copy is spread over, as the stack's are over its pool.
const FRAMES: usize = 1_024;

/// Measures for `time` of the stack's own turns, with a file of so many bytes.
pub fn measure(is_ipv6: bool, time: Duration, file: usize) -> Result<Vec<Figure>, EngineError> {
    let path = std::env::temp_dir().join(format!("pagewire-bench-{}.bulk", std::process::id()));
    let result = measure_with(&path, is_ipv6, time, file);
    let _ = fs::remove_file(&path);
    result
}

fn measure_with(
    path: &Path,
    is_ipv6: bool,
    time: Duration,
    len: usize,
) -> Result<Vec<Figure>, EngineError> {
    let block: Vec<u8> = (0..1u32 << 20).map(|byte| (byte ^ (byte >> 8)) as u8).collect();
    let mut file = File::create(path)?;
    for _ in 0..len >> 20 {
        file.write_all(&block)?;
    }
    let object = FileObject::load(File::open(path)?)?;
    let (stack, far, disk) = stack_on_link(1, is_ipv6)?;
    let mut app = Answers::new(stack, Vec::new(), Some(object));
    let mut clients = Clients::new(far, 1, is_ipv6);
    let mut now = Instant::from_millis(1);
    clients.open(&mut app, &mut now)?;
    let mut transfer = Transfer { app: &mut app, clients: &mut clients, len, now, left: 0 };
    // All of it once, so that the file is read and its pages are mapped.
    transfer.pass(len, Duration::MAX, u32::MAX)?;
    let at_once = transfer.measure(time, u32::MAX)?;
    let by_two = transfer.measure(time, 2 * SEGMENT as u32)?;
    let is_careful = read_from_disk(&path.with_extension("cold"), disk.reads())?;
    let careful = transfer.measure((time / 2).min(CAREFUL), u32::MAX)?;
    let copy = copy_rate(path, &app, time)?;
    let family = if is_ipv6 { "ipv6" } else { "ipv4" };
    let figure = |what: &str, value, unit| Figure {
        name: format!("engine/bulk/{family}/{what}"),
        value,
        unit,
    };
    let mut figures = vec![
        figure("stack", at_once.bytes_per_s / 1e9, "GB/s"),
        figure("memcpy", copy / 1e9, "GB/s"),
        figure("share of memcpy", at_once.bytes_per_s / copy, ""),
        figure("a segment", at_once.segment_ns, "ns"),
        figure("a segment, every second acknowledged", by_two.segment_ns, "ns"),
    ];
    if is_careful {
        let share = careful.bytes_per_s / copy;
        figures.push(figure("share of memcpy, just after a read", share, ""));
    }
    Ok(figures)
}

/// Has a file opened that is not in memory. Returns whether it had to be read, as the stack sees it.
fn read_from_disk(path: &Path, reads: &DiskReads) -> io::Result<bool> {
    let before = reads.count();
    fs::write(path, vec![b'x'; 64 << 10])?;
    let file = File::open(path);
    let _ = fs::remove_file(path);
    let file = file?;
    product::forget(&file)?;
    FileObject::bring_in(file, reads)?;
    Ok(reads.count() > before)
}

/// What a transfer costs the stack.
struct Cost {
    bytes_per_s: f64,
    segment_ns: f64,
}

/// The file, again and again.
struct Transfer<'a> {
    app: &'a mut Answers,
    clients: &'a mut Clients,
    /// Bytes of the file.
    len: usize,
    now: Instant,
    /// Bytes that are still to come.
    left: usize,
}

impl Transfer<'_> {
    /// Goes on for `time` of the stack's own turns, with an acknowledgement for each `step` bytes.
    fn measure(&mut self, time: Duration, step: u32) -> Result<Cost, EngineError> {
        self.pass(usize::MAX, time, step)
    }

    /// Goes on for so many bytes, or `time` of the stack's own turns.
    fn pass(&mut self, most: usize, time: Duration, step: u32) -> Result<Cost, EngineError> {
        let Self { app, clients, len, now, left } = self;
        let (mut sent, mut segments, mut busy, mut quiet) = (0, 0, Duration::ZERO, 0);
        while busy < time && sent < most {
            if *left == 0 {
                clients.request(0, b"GET");
                *left = *len;
            }
            clients.acknowledge_in_steps(0, step);
            clients.flush(*now);
            let start = Stopwatch::start();
            app.turn(*now);
            let turn = start.elapsed();
            let (bytes, count) = clients.collect(*now);
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
            segments += count;
            *left -= bytes.min(*left);
            *now += Duration::from_micros(10);
        }
        let busy = busy.as_secs_f64();
        Ok(Cost { bytes_per_s: sent as f64 / busy, segment_ns: busy * 1e9 / segments as f64 })
    }
}

/// How fast the file's bytes can be copied into frames of the stack's own pool.
fn copy_rate(path: &Path, app: &Answers, time: Duration) -> Result<f64, EngineError> {
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
