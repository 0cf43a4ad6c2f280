//! Who has spent how much CPU time, and what has crossed the wire meanwhile.
//!
//! The server is charged with the threads of its process, with the kernel threads that receive for it
//! (NAPI), and with what its core's software interrupts leave to `ksoftirqd`. An interrupt is charged to
//! the thread that it interrupts. What its core was busy with besides stays visible as a rest.

use std::{io, time::Duration};

use super::wire::{Frames, Link};
use crate::{cpu, error::BenchError};

/// Whose threads are the server's.
#[derive(Clone, Copy, Debug)]
pub enum Server {
    /// A process with this id.
    Process(u32),
    /// A thread of this process with this id.
    Thread(i32),
}

/// What was spent, in sum or in a stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spent {
    /// The server's own threads.
    pub server: Duration,
    /// The kernel's threads that receive for it.
    pub server_receive: Duration,
    /// `ksoftirqd` of its core.
    pub server_softirq: Duration,
    /// All that its core was busy with, by samples of the timer.
    pub server_core: Duration,
    /// Receptions in software interrupts on its core: work that nobody could put elsewhere.
    pub server_interrupts: u64,
    /// The client's threads.
    pub client: Duration,
    /// The kernel's threads that receive for it.
    pub client_receive: Duration,
    /// `ksoftirqd` of its core.
    pub client_softirq: Duration,
    /// All that its core was busy with.
    pub client_core: Duration,
    /// Receptions in software interrupts on its core.
    pub client_interrupts: u64,
    /// What has crossed.
    pub frames: Frames,
}

/// Reads what was spent. The kernel's receive threads are looked for again each time, since attaching a
/// program makes them anew; then they are also put on their cores again.
#[derive(Debug)]
pub struct Meter<'a> {
    link: &'a Link,
    server: Server,
    softirq: [Vec<i32>; 2],
}

impl<'a> Meter<'a> {
    /// A meter for a server on `link`.
    pub fn new(link: &'a Link, server: Server) -> Result<Self, BenchError> {
        let softirq = [&link.server, &link.client].map(|end| cpu::softirq_threads(&end.cores));
        let [server_softirq, client_softirq] = softirq;
        let error = BenchError::system("look for kernel threads");
        let softirq = [server_softirq.map_err(&error)?, client_softirq.map_err(&error)?];
        Ok(Self { link, server, softirq })
    }

    /// What was spent so far. To be asked on a thread within the client's namespace.
    pub fn read(&self) -> Result<Spent, BenchError> {
        let receive = self.link.place()?;
        self.sum(&receive).map_err(BenchError::system("read what the cores did"))
    }

    fn sum(&self, [server_receive, client_receive]: &[Vec<i32>; 2]) -> io::Result<Spent> {
        let (near, far) = (&self.link.server.cores, &self.link.client.cores);
        let ours = cpu::own_time()?;
        let (server, client) = match self.server {
            Server::Process(id) => (cpu::process_time(id), ours),
            Server::Thread(id) => {
                let server = cpu::threads_time(&[id]);
                (server, ours.saturating_sub(server))
            }
        };
        Ok(Spent {
            server,
            server_receive: cpu::threads_time(server_receive),
            server_softirq: cpu::threads_time(&self.softirq[0]),
            server_core: cpu::busy(near)?,
            server_interrupts: cpu::receive_interrupts(near)?,
            client,
            client_receive: cpu::threads_time(client_receive),
            client_softirq: cpu::threads_time(&self.softirq[1]),
            client_core: cpu::busy(far)?,
            client_interrupts: cpu::receive_interrupts(far)?,
            frames: self.link.frames()?,
        })
    }
}

impl Spent {
    /// What was spent since `before`. A thread made anew meanwhile has begun from zero.
    pub fn since(&self, before: &Self) -> Self {
        let less = |now: Duration, then| now.checked_sub(then).unwrap_or(now);
        Self {
            server: less(self.server, before.server),
            server_receive: less(self.server_receive, before.server_receive),
            server_softirq: less(self.server_softirq, before.server_softirq),
            server_core: less(self.server_core, before.server_core),
            server_interrupts: self.server_interrupts.saturating_sub(before.server_interrupts),
            client: less(self.client, before.client),
            client_receive: less(self.client_receive, before.client_receive),
            client_softirq: less(self.client_softirq, before.client_softirq),
            client_core: less(self.client_core, before.client_core),
            client_interrupts: self.client_interrupts.saturating_sub(before.client_interrupts),
            frames: self.frames.since(&before.frames),
        }
    }

    /// What the server is charged with.
    pub fn charged(&self) -> Duration {
        self.server + self.server_receive + self.server_softirq
    }

    /// What the server's core was busy with that nobody is charged with: other programs, other
    /// interrupts, and the error of samples.
    pub fn rest(&self) -> Duration {
        self.server_core.saturating_sub(self.charged())
    }

    /// What both cores spent on neither side.
    pub fn others(&self) -> Duration {
        let client = self.client + self.client_receive + self.client_softirq;
        self.rest() + self.client_core.saturating_sub(client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_server_is_charged_with_its_kernel_threads_and_the_rest_stays_visible() {
        let spent = Spent {
            server: 50 * MS,
            server_receive: 20 * MS,
            server_softirq: 5 * MS,
            server_core: 90 * MS,
            client: 60 * MS,
            client_receive: 30 * MS,
            client_core: 100 * MS,
            ..Spent::default()
        };
        assert_eq!(spent.charged(), 75 * MS);
        assert_eq!(spent.rest(), 15 * MS);
        assert_eq!(spent.others(), 25 * MS);
    }

    #[test]
    fn a_thread_made_anew_counts_from_zero() {
        let before = Spent { server_receive: 100 * MS, server: 10 * MS, ..Spent::default() };
        let after = Spent { server_receive: 30 * MS, server: 25 * MS, ..Spent::default() };
        let spent = after.since(&before);
        assert_eq!((spent.server_receive, spent.server), (30 * MS, 15 * MS));
    }
}
