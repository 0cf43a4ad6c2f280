//! Connections that are opened, used once or not at all, and closed by the client.

use std::time::Duration;

use pagewire_driver::{BURST, Instant};

use super::{
    EngineError,
    app::{Answers, App, stack_on_link},
    clients::Clients,
    keep_alive::PLAIN_REQUEST,
};
use crate::{cpu::Stopwatch, figures::Figure};

/// Clients that open and close again and again.
const CLIENTS: usize = 4_096;
/// Connections that are opened together.
const BATCH: usize = BURST;

/// Measures for `time` of the stack's own turns; with a request on each connection, or without.
pub fn measure(uses: bool, time: Duration) -> Result<Vec<Figure>, EngineError> {
    let (stack, far, _disk) = stack_on_link(CLIENTS, false)?;
    let mut cycle = Cycle {
        app: Answers::new(stack, vec![b'x'; 128], None),
        clients: Clients::new(far, CLIENTS, false),
        uses,
        now: Instant::from_millis(1),
        busy: Duration::ZERO,
    };
    // The stack asks for the clients' MAC address first.
    cycle.run(&[0])?;
    let indices: Vec<usize> = (1..CLIENTS).collect();
    (cycle.busy, cycle.now) = (Duration::ZERO, Instant::from_millis(100));
    let mut connections = 0;
    for batch in indices.chunks_exact(BATCH).cycle() {
        cycle.run(batch)?;
        connections += batch.len();
        if cycle.busy >= time {
            break;
        }
    }
    let what = if uses { "used once" } else { "unused" };
    let name = format!("engine/open to close/{what}/connections");
    let value = f64::from(connections as u32) / cycle.busy.as_secs_f64();
    Ok(vec![Figure { name, value, unit: "1/s" }])
}

struct Cycle {
    app: Answers,
    clients: Clients,
    uses: bool,
    now: Instant,
    busy: Duration,
}

impl Cycle {
    /// Opens, uses and closes the connections of a batch.
    fn run(&mut self, batch: &[usize]) -> Result<(), EngineError> {
        self.step(batch, Clients::ask_to_open);
        self.step(batch, Clients::acknowledge);
        if self.uses {
            self.step(batch, |clients, index| clients.request(index, &PLAIN_REQUEST));
        }
        self.step(batch, Clients::finish);
        self.step(batch, Clients::acknowledge);
        match self.app.connections() {
            0 => Ok(()),
            left => Err(EngineError::Broken(format!("{left} connections did not close"))),
        }
    }

    fn step(&mut self, batch: &[usize], mut act: impl FnMut(&mut Clients, usize)) {
        for &index in batch {
            act(&mut self.clients, index);
        }
        // Twice: the second time what the stack has asked the link has been answered.
        for _ in 0..2 {
            self.clients.flush(self.now);
            let start = Stopwatch::start();
            self.app.turn(self.now);
            self.app.turn(self.now);
            self.busy += start.elapsed();
            self.clients.collect(self.now);
        }
        self.now += Duration::from_micros(50);
    }
}
