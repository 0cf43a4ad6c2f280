//! Having running shards take over a new configuration.

use std::{sync::Arc, time::Instant};

use crossbeam_channel::RecvTimeoutError;

use super::{LAST_MOMENTS, Server, descriptors};
use crate::{config::Config, content::Catalogue, failure::Failure, shard::change::Change};

impl Server {
    /// Has every shard go on with the live part of `config`, and returns when all have. No connection is
    /// lost by it.
    ///
    /// # Errors
    ///
    /// If what `config` names cannot be had; the shards then go on as before. If a shard does not answer.
    pub fn reload(&self, config: &Config) -> Result<(), Failure> {
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
        let (taken, all_taken) = crossbeam_channel::bounded(0);
        let change = Change {
            catalogue,
            limits: live.limits,
            cache: live.cache,
            timeouts: live.timeouts,
            taken,
        };
        let deadline = Instant::now() + LAST_MOMENTS;
        for shard in &self.shards {
            // Refused by a shard that has ended, which is noticed elsewhere, or that does not look at its
            // channel, which is noticed below.
            let _ = shard.change.send_deadline(change.clone(), deadline);
        }
        drop(change);
        self.stop.announce();
        self.wake();
        match all_taken.recv_deadline(deadline) {
            Err(RecvTimeoutError::Timeout) => {
                Err(Failure::Shard("a shard that does not take over the configuration".to_owned()))
            }
            _ => Ok(()),
        }
    }
}
