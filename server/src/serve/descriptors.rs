//! Descriptors and mappings: how many there may be, and how the configuration is fitted to that.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// Descriptors for all else: standard streams, epoll, eventfds, listeners, files being looked at.
const RESERVED: usize = 64;

/// The same for each core.
const RESERVED_EACH: usize = 128;

/// `vm.max_map_count` is 65,530 unless somebody changed it; the program needs some itself.
const MAPPINGS: usize = 60_000;

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

/// Cuts `config` so that it fits `limit` descriptors, of which each connection has
/// `each_connection`.
pub(super) fn fit(config: &mut Config, limit: usize, each_connection: usize) {
    let cores = config.cores.len().max(1);
    let each = (limit.saturating_sub(RESERVED) / cores).saturating_sub(RESERVED_EACH).max(2);
    let files = if each_connection == 0 { each } else { each / 4 };
    config.cache.entries = config.cache.entries.min(files).min(MAPPINGS / cores).max(1);
    if each_connection > 0 {
        let rest = (each - config.cache.entries.min(each - 1)) / each_connection;
        if rest < config.connections {
            tracing::warn!(
                "the limit of {limit} descriptors allows {rest} connections a core, not {}; raise \
                 it (`ulimit -n`) for more",
                config.connections
            );
            config.connections = rest.max(1);
        }
    }
}
