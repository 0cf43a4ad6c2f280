//! Keep-alive requests with answers of 128 bytes, over all connections in random order.

use std::{
    fs, io,
    time::{Duration, Instant as Clock},
};

use pagewire_driver::{Instant, Random};

use super::{
    EngineError,
    app::{Answers, App, Product, stack_on_link},
    clients::Clients,
};
use crate::{cpu::Stopwatch, figures::Figure};

/// Bytes of an answer's body.
const BODY: usize = 128;
/// Requests that are in the stack's queue together.
const BATCH: usize = 32;

/// What answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Layer {
    /// The stack alone: any bytes are answered with 128 others.
    Tcp,
    /// The product's shard: requests for a file of 128 bytes.
    Http,
}

/// Measures `count` connections for `time` of the stack's own turns.
pub fn measure(layer: Layer, count: usize, time: Duration) -> Result<Vec<Figure>, EngineError> {
    let before = resident_bytes()?;
    let (stack, far, disk) = stack_on_link(count, false)?;
    let clients = Clients::new(far, count, false);
    let own = count * size_of::<u64>();
    match layer {
        Layer::Tcp => {
            let app = Answers::new(stack, vec![b'x'; BODY], None);
            let request = [b'G'; 120];
            Run { app, clients, name: "tcp", request: &request }.measure(count, time, before + own)
        }
        Layer::Http => {
            let directory =
                std::env::temp_dir().join(format!("pagewire-bench-{}", std::process::id()));
            fs::create_dir_all(&directory)?;
            fs::write(directory.join("body"), [b'x'; BODY])?;
            let app = Product::new(stack, disk, &directory)?;
            let request = b"GET /body HTTP/1.1\r\nHost: 10.0.0.1\r\nUser-Agent: pagewire-bench\r\n\
                            Accept: */*\r\nAccept-Encoding: identity\r\n\r\n";
            let run = Run { app, clients, name: "http", request };
            let figures = run.measure(count, time, before + own);
            fs::remove_dir_all(&directory)?;
            figures
        }
    }
}

struct Run<'a, A> {
    app: A,
    clients: Clients,
    name: &'static str,
    request: &'a [u8],
}

impl<A: App> Run<'_, A> {
    fn measure(
        mut self,
        count: usize,
        time: Duration,
        before: usize,
    ) -> Result<Vec<Figure>, EngineError> {
        let mut now = Instant::from_millis(1);
        self.clients.open(&mut self.app, &mut now)?;
        let idle = resident_bytes()?.saturating_sub(before);
        let mut order: Vec<u32> = (0..count as u32).collect();
        let mut random = Random::new(7);
        for last in (1..count).rev() {
            order.swap(last, random.below(last as u64 + 1) as usize);
        }
        // Every connection once, so that all memory is in place; also lets helpers find the file.
        self.round(&order, &mut now, |_| true)?;
        let used = resident_bytes()?.saturating_sub(before);
        let (mut busy, mut requests) = (Duration::ZERO, 0);
        while busy < time {
            self.round(&order, &mut now, |spent| {
                busy += spent;
                requests += BATCH.min(count);
                busy < time
            })?;
        }
        let name =
            |what: &str| format!("engine/keep-alive/{}/{count} connections/{what}", self.name);
        let nanos = busy.as_secs_f64() * 1e9 / requests as f64;
        Ok(vec![
            Figure { name: name("requests"), value: 1e9 / nanos, unit: "1/s" },
            Figure { name: name("time"), value: nanos, unit: "ns/request" },
            Figure { name: name("idle"), value: idle as f64 / count as f64, unit: "B/connection" },
            Figure { name: name("used"), value: used as f64 / count as f64, unit: "B/connection" },
        ])
    }

    /// One request on each connection, batch by batch, until `goes_on` is told how long the stack's
    /// turns took and says no.
    fn round(
        &mut self,
        order: &[u32],
        now: &mut Instant,
        mut goes_on: impl FnMut(Duration) -> bool,
    ) -> Result<(), EngineError> {
        for batch in order.chunks(BATCH) {
            for &index in batch {
                self.clients.request(index as usize, self.request);
            }
            self.clients.flush(*now);
            let start = Stopwatch::start();
            self.app.turn(*now);
            self.app.turn(*now);
            let mut spent = start.elapsed();
            let mut answers = self.clients.collect(*now).1;
            // The first request for a file waits for a helper.
            let patience = Clock::now();
            while answers < batch.len() {
                let start = Stopwatch::start();
                self.app.turn(*now);
                spent += start.elapsed();
                answers += self.clients.collect(*now).1;
                if patience.elapsed() > Duration::from_secs(5) {
                    let text = format!("{answers} of {} requests answered", batch.len());
                    return Err(EngineError::Broken(text));
                }
            }
            *now += Duration::from_micros(20);
            if !goes_on(spent) {
                break;
            }
        }
        Ok(())
    }
}

/// Resident memory of this process with its page tables, in bytes.
fn resident_bytes() -> io::Result<usize> {
    let status = fs::read_to_string("/proc/self/status")?;
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next()?.parse::<usize>().ok()).unwrap_or(0)
    };
    Ok((kib("VmRSS:") + kib("VmPTE:")) * 1_024)
}
