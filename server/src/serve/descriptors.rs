//! Descriptors and mappings: how many there may be, and how the configuration is fitted to that.

use pagewire_stack::FileObject;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// Descriptors for all else: standard streams, epoll, eventfds, listeners, files being looked at.
const RESERVED: usize = 64;

/// The same for each core.
const RESERVED_EACH: usize = 128;

/// Files that all caches together may keep mapped. The rest is for files that are being sent although no
/// cache has them any more.
const MAPPINGS: usize = FileObject::MAPPED_MAX / 4 * 3;

/// Raises the soft limit on descriptors as far as it goes, and says how far that is.
pub(super) fn raise_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    current.map_or(usize::MAX, |current| usize::try_from(current).unwrap_or(usize::MAX))
}

/// Cuts what `config` keeps open to what `limit` descriptors allow.
pub(super) fn fit_files(config: &mut Config, limit: usize) {
    let each = each_core(config, limit);
    cut_entries(config, each);
}

/// The same where each connection has a descriptor too. Most are for connections.
pub(super) fn fit_files_and_connections(config: &mut Config, limit: usize) {
    let each = each_core(config, limit);
    cut_entries(config, each / 4);
    let rest = each - config.live.cache.entries;
    if rest < config.connections {
        tracing::info!(
            "the limit of {limit} descriptors allows {rest} connections a core, not {}; raise it \
             (`ulimit -n`) for more",
            config.connections
        );
        config.connections = rest;
    }
}

/// Descriptors that each core may use as it likes.
fn each_core(config: &Config, limit: usize) -> usize {
    let cores = config.cores.len().max(1);
    (limit.saturating_sub(RESERVED) / cores).saturating_sub(RESERVED_EACH).max(8)
}

fn cut_entries(config: &mut Config, most: usize) {
    let mappings = MAPPINGS / config.cores.len().max(1);
    config.live.cache.entries = config.live.cache.entries.min(most).min(mappings).max(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_open_fits_the_limit() {
        let mut config = Config::of_command_line(["pagewire", "serve", "."]).unwrap();
        config.cores = vec![0, 1, 2, 3];
        let fitted = |limit, fit: fn(&mut Config, usize)| {
            let mut config = config.clone();
            fit(&mut config, limit);
            (config.live.cache.entries, config.connections)
        };
        assert_eq!(fitted(1 << 20, fit_files_and_connections), (4096, 4096));
        assert_eq!(fitted(1 << 20, fit_files), (4096, 4096));
        for limit in [0, 256, 1024, 4096, 20_000] {
            let (entries, connections) = fitted(limit, fit_files_and_connections);
            assert!(entries >= 1 && connections >= 1);
            assert!(limit < 1024 || 4 * (entries + connections) < limit, "{limit}");
        }
    }
}
