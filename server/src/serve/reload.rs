//! Having running shards take over a new configuration.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crossbeam_channel::RecvTimeoutError;

use super::{LAST_MOMENTS, Server, descriptors};
use crate::{config::Config, content::Catalogue, failure::Failure, shard::change::Change};

impl Server {
    /// Has every shard go on with the live part of `config`, and returns when all have. No connection is
    /// lost by it. A shard that makes no turn for some seconds is not waited for any longer, which is logged:
    /// `config` is what holds then all the same, for that shard as soon as it makes a turn.
    ///
    /// # Errors
    ///
    /// If what `config` names cannot be had, or there is no room for it; the shards then go on as before.
    pub fn reload(&self, config: &Config) -> Result<(), Failure> {
        for number in self.reload_within(config, LAST_MOMENTS)? {
            let core = self.shards[number].core;
            tracing::error!(
                "shard {number} on core {core} is stuck: it serves by the old configuration until it makes a turn"
            );
        }
        Ok(())
    }

    /// The same, with the shards that have not taken it over within `patience`.
    fn reload_within(&self, config: &Config, patience: Duration) -> Result<Vec<usize>, Failure> {
        let mut config = config.clone();
        config.cores = self.shards.iter().map(|shard| shard.core).collect();
        let limit = descriptors::raise_limit();
        if self.behind.is_some() {
            descriptors::fit_files(&mut config, limit);
        } else {
            descriptors::fit_files_and_connections(&mut config, limit);
        }
        let live = config.live;
        if live.limits.request_bytes() > self.request_bytes {
            return Err(Failure::Usage(format!(
                "head_bytes and body_bytes come to {} bytes, and connections have room for {}: lower \
                 them, or restart",
                live.limits.request_bytes(),
                self.request_bytes
            )));
        }
        let catalogue = Arc::new(Catalogue::open(&live.sites)?);
        let mut pending = Vec::with_capacity(self.shards.len());
        for (number, shard) in self.shards.iter().enumerate() {
            // One that has ended takes nothing over, which is noticed elsewhere.
            if shard.thread.is_finished() {
                continue;
            }
            let (taken, is_taken) = crossbeam_channel::bounded(0);
            shard.change.put(Change {
                catalogue: Arc::clone(&catalogue),
                limits: live.limits,
                cache: live.cache,
                timeouts: live.timeouts,
                taken,
            });
            pending.push((number, is_taken));
        }
        self.stop.announce();
        self.wake();
        let deadline = Instant::now() + patience;
        pending.retain(|(_, is_taken)| {
            is_taken.recv_deadline(deadline) == Err(RecvTimeoutError::Timeout)
        });
        Ok(pending.into_iter().map(|(number, _)| number).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicBool, Ordering},
        thread,
    };

    use pagewire_driver::Waker;
    use pagewire_stack::DiskReads;

    use super::{super::RunningShard, *};
    use crate::{
        counters::Counters,
        shard::{
            change::{self, Changes},
            inquiry::Inbox,
        },
        stop::Stop,
    };

    fn config(flags: &str) -> Config {
        let words = ["pagewire", "serve", "."].into_iter().chain(flags.split_whitespace());
        Config::of_command_line(words).unwrap()
    }

    /// A server of shards that do `run` in place of serving.
    fn server(runs: Vec<Box<dyn FnOnce(Changes, Stop) + Send>>) -> Server {
        let stop = Stop::default();
        let shard = |(core, run): (usize, Box<dyn FnOnce(Changes, Stop) + Send>)| {
            let (change, changes) = change::channel();
            let (questions, _) = Inbox::new();
            let stop = stop.clone();
            let thread = thread::spawn(move || {
                run(changes, stop);
                String::new()
            });
            let counters = Arc::new(Counters::default());
            RunningShard {
                core,
                thread_id: 0,
                waker: Waker::new().unwrap(),
                counters,
                questions,
                change,
                thread,
            }
        };
        let shards = runs.into_iter().enumerate().map(shard).collect();
        Server {
            addresses: Vec::new(),
            shards,
            stop,
            ended: crossbeam_channel::never(),
            behind: None,
            never: crossbeam_channel::never(),
            trouble: Arc::default(),
            request_bytes: config("").live.limits.request_bytes(),
            access_log: None,
            disk: DiskReads::default(),
        }
    }

    #[test]
    fn a_stuck_shard_is_named_and_has_the_last_configuration_when_it_goes_on() {
        let (free, stuck) = crossbeam_channel::bounded::<()>(0);
        let (tell, told) = crossbeam_channel::unbounded();
        let is_over = Arc::new(AtomicBool::new(false));
        let hears_it_is_over = Arc::clone(&is_over);
        let healthy = move |mut changes: Changes, stop: Stop| {
            while !hears_it_is_over.load(Ordering::Relaxed) {
                drop(changes.after(stop.hear().announcements()));
                thread::yield_now();
            }
        };
        let hung = move |mut changes: Changes, stop: Stop| {
            let _ = stuck.recv();
            let change = changes.after(stop.hear().announcements()).unwrap();
            tell.send(change.timeouts.idle).unwrap();
        };
        let server = server(vec![Box::new(healthy), Box::new(hung), Box::new(|_, _| ())]);
        while !server.shards[2].thread.is_finished() {
            thread::yield_now();
        }
        for seconds in 1..=3 {
            let next = config(&format!("--idle-timeout {seconds}s"));
            // The healthy one may have to wait for a core.
            let mut tries =
                (0..20).map(|_| server.reload_within(&next, Duration::from_millis(200)));
            assert!(
                tries.any(|waited_for| waited_for.unwrap() == [1]),
                "not the one that has ended"
            );
        }
        is_over.store(true, Ordering::Relaxed);
        drop(free);
        assert_eq!(told.recv().unwrap(), Duration::from_secs(3));
    }

    #[test]
    fn what_there_is_no_room_for_changes_nothing() {
        let server = server(Vec::new());
        let failure = server.reload(&config("--head-bytes 24576")).unwrap_err();
        assert!(failure.to_string().contains("restart"), "{failure}");
    }
}
