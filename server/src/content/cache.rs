//! What one core remembers about files, and what it is waiting to hear.

use std::{
    cell::Cell,
    collections::{HashMap, VecDeque},
    fmt, mem,
    sync::Arc,
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender};
use pagewire_driver::{Instant, Waker};
use pagewire_stack::{ConnectionId, DiskPool, Figure};
use quick_cache::{Weighter, unsync::Cache};

use super::{
    catalogue::Catalogue,
    prepared::Prepared,
    resource::{Refusal, Resource, Shared},
};
use crate::http::Status;

/// How long an answer may be used after it was looked at.
const TRUSTED: Duration = Duration::from_secs(1);

/// After how long an answer in use is looked at again, so that it is renewed before it expires.
const RENEWED: Duration = Duration::from_millis(900);

/// Looks under way at once for one core; more wait for these.
const MOST_LOOKS: usize = 64;

/// What one core may keep open.
#[derive(Clone, Copy, Debug)]
pub struct CacheLimits {
    /// Answers, and with them descriptors and mappings.
    pub entries: usize,
    /// Bytes of small files held in memory.
    pub bytes: u64,
}

impl Default for CacheLimits {
    fn default() -> Self {
        Self { entries: 4096, bytes: 64 << 20 }
    }
}

impl CacheLimits {
    /// An empty cache that keeps to them.
    fn cache(self) -> KnownCache {
        let entries = self.entries.max(1) as u64;
        let each = (self.bytes / entries).max(1);
        Cache::with_weighter(self.entries, each * entries, Weigh { each })
    }
}

/// Both limits in one weight: a cache full of small weights holds `entries` of them, one full of large
/// weights holds `bytes`.
#[derive(Clone)]
struct Weigh {
    each: u64,
}

impl Weighter<Box<[u8]>, Cached> for Weigh {
    fn weight(&self, _key: &Box<[u8]>, cached: &Cached) -> u64 {
        self.each * cached.resource.held_files().max(1) + cached.resource.held_bytes()
    }
}

#[derive(Clone)]
struct Cached {
    resource: Arc<Resource>,
    looked_at: Cell<Instant>,
    prepared: Prepared,
}

/// What a key leads to, as far as a core remembers.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// The resource.
    pub resource: &'a Arc<Resource>,
    /// What this core has put together of it.
    pub prepared: &'a Prepared,
}

/// A look that is asked for.
#[derive(Debug)]
struct Pending {
    asked_at: Instant,
    waiting: Vec<ConnectionId>,
}

/// A helper's answer.
struct Answer {
    key: Box<[u8]>,
    resource: Arc<Resource>,
}

/// An answer, and the connections that asked and were told to wait. Some may be gone.
#[derive(Debug)]
pub struct Answered {
    /// What the key leads to.
    pub resource: Arc<Resource>,
    /// Who waits for it.
    pub waiting: Vec<ConnectionId>,
}

/// The files of the sites, as one core sees them.
pub struct Content {
    cache: KnownCache,
    looks: Looks,
    answers: Receiver<Answer>,
    counters: ContentCounters,
}

/// What is remembered.
type KnownCache = Cache<Box<[u8]>, Cached, Weigh>;

/// What helpers are asked.
struct Looks {
    catalogue: Arc<Catalogue>,
    helpers: DiskPool,
    pending: HashMap<Box<[u8]>, Pending>,
    /// Keys of `pending` that no helper has been asked about yet.
    backlog: VecDeque<Box<[u8]>>,
    looking: usize,
    sender: Sender<Answer>,
    waker: Waker,
}

/// What the content of one core has counted, and how much it holds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ContentCounters {
    /// Lookups that were answered at once.
    pub hits: u64,
    /// Lookups that had to wait for a helper.
    pub misses: u64,
    /// Answers that were looked at again while they were in use.
    pub renewals: u64,
    /// Answers cached.
    pub cached: usize,
    /// Looks under way, or in line for it.
    pub pending: usize,
}

impl ContentCounters {
    /// Tells each of them.
    pub fn tell(&self, tell: &mut dyn FnMut(Figure, u64)) {
        let lookups =
            Figure::counter("cache_lookups", "Lookups of files, by how they were answered.");
        tell(lookups.caused_by("hit"), self.hits);
        tell(lookups.caused_by("miss"), self.misses);
        let renewals = "Cached answers that were looked at again while in use.";
        tell(Figure::counter("cache_renewals", renewals), self.renewals);
        tell(Figure::gauge("cache_entries", "Answers cached."), self.cached as u64);
        let pending = "Files that helpers are asked about, or are to be.";
        tell(Figure::gauge("cache_pending", pending), self.pending as u64);
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content")
            .field("cached", &self.cache.len())
            .field("pending", &self.looks.pending.len())
            .finish()
    }
}

impl Content {
    /// The files of `catalogue`. `waker` ends the sleep of the core that this is for.
    pub fn new(
        catalogue: Arc<Catalogue>,
        helpers: DiskPool,
        limits: CacheLimits,
        waker: Waker,
    ) -> Self {
        let (sender, answers) = crossbeam_channel::unbounded();
        let looks = Looks {
            catalogue,
            helpers,
            pending: HashMap::new(),
            backlog: VecDeque::new(),
            looking: 0,
            sender,
            waker,
        };
        Self { cache: limits.cache(), looks, answers, counters: ContentCounters::default() }
    }

    /// What has been counted.
    pub fn counters(&self) -> ContentCounters {
        let (cached, pending) = (self.cache.len(), self.looks.pending.len());
        ContentCounters { cached, pending, ..self.counters }
    }

    /// Goes on with what is in `catalogue`. Nothing of before is answered any more; returns who waited for
    /// it, to be asked anew.
    pub fn adopt(&mut self, catalogue: Arc<Catalogue>, limits: CacheLimits) -> Vec<ConnectionId> {
        let old = mem::replace(&mut self.cache, limits.cache());
        let looks = &mut self.looks;
        looks.catalogue = catalogue;
        // Unmapping many files takes a while, which a core does not have. If no helper has either, the
        // core must.
        let _ = looks.helpers.submit(Box::new(move || drop(old)));
        // Looks under way answer to nobody.
        (looks.sender, self.answers) = crossbeam_channel::unbounded();
        looks.looking = 0;
        looks.backlog.clear();
        looks.pending.drain().flat_map(|(_, pending)| pending.waiting).collect()
    }

    /// What is served.
    pub fn catalogue(&self) -> &Arc<Catalogue> {
        &self.looks.catalogue
    }

    /// What `key` leads to, if that is known; otherwise `waiting` will be in a later
    /// [`Answered::waiting`].
    pub fn lookup(&mut self, key: &[u8], now: Instant, waiting: ConnectionId) -> Option<Found<'_>> {
        let known = self.cache.get(key).filter(|cached| !cached.resource.is_outdated()).map(
            |Cached { resource, looked_at, prepared }| {
                (Found { resource, prepared }, now.since(looked_at.get()))
            },
        );
        match known {
            Some((found, age)) if age < RENEWED => {
                self.counters.hits += 1;
                Some(found)
            }
            Some((found, age)) if age < TRUSTED => {
                self.counters.hits += 1;
                self.counters.renewals += 1;
                self.looks.ask(&self.cache, key, now, None);
                Some(found)
            }
            _ => {
                self.counters.misses += 1;
                self.looks.ask(&self.cache, key, now, Some(waiting));
                None
            }
        }
    }

    /// The next answer, if one has come.
    pub fn answered(&mut self) -> Option<Answered> {
        let Answer { key, resource } = self.answers.try_recv().ok()?;
        self.looks.looking -= 1;
        let pending = self.looks.pending.remove(&key);
        self.looks.dispatch(&self.cache);
        let pending = pending?;
        match self.cache.peek(&key) {
            Some(cached) if Arc::ptr_eq(&cached.resource, &resource) => {
                cached.looked_at.set(pending.asked_at);
            }
            _ if resource.is_lasting() => {
                let resource = Arc::clone(&resource);
                let (looked_at, prepared) = (pending.asked_at.into(), Prepared::default());
                self.cache.insert(key, Cached { resource, looked_at, prepared });
            }
            _ => drop(self.cache.remove(&key)),
        }
        Some(Answered { resource, waiting: pending.waiting })
    }

    /// How many answers are cached.
    pub fn cached(&self) -> usize {
        self.cache.len()
    }
}

impl Looks {
    fn ask(&mut self, cache: &KnownCache, key: &[u8], now: Instant, waiting: Option<ConnectionId>) {
        if let Some(pending) = self.pending.get_mut(key) {
            pending.waiting.extend(waiting);
            return;
        }
        let pending = Pending { asked_at: now, waiting: waiting.into_iter().collect() };
        self.pending.insert(key.into(), pending);
        self.backlog.push_back(key.into());
        self.dispatch(cache);
    }

    /// Hands looks to helpers, as many as may be under way.
    fn dispatch(&mut self, cache: &KnownCache) {
        while self.looking < MOST_LOOKS {
            let Some(key) = self.backlog.pop_front() else { return };
            self.looking += 1;
            let known = cache.peek(&key).map(|cached| Arc::clone(&cached.resource));
            let catalogue = Arc::clone(&self.catalogue);
            let reply = Reply {
                key,
                sender: self.sender.clone(),
                waker: self.waker.clone(),
                resource: None,
            };
            let reads = self.helpers.reads().clone();
            let look = move || reply.with(|key| catalogue.resolve(key, known, &reads));
            // A job refused by a full queue is dropped, and answers by that.
            let _ = self.helpers.submit(Box::new(look));
        }
    }
}

/// The duty to answer. It is met, with 503, even if the look panics or is never run.
struct Reply {
    key: Box<[u8]>,
    resource: Option<Arc<Resource>>,
    sender: Sender<Answer>,
    waker: Waker,
}

impl Reply {
    fn with(mut self, look: impl FnOnce(&[u8]) -> Arc<Resource>) {
        self.resource = Some(look(&self.key));
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        let resource = self.resource.take().unwrap_or_else(|| {
            let (status, shared) = (Status::Unavailable, Shared::default());
            Arc::new(Resource::Refused(Refusal { status, shared }))
        });
        // Nobody is there to be told any more once the core has stopped.
        let _ = self.sender.send(Answer { key: std::mem::take(&mut self.key), resource });
        self.waker.wake();
    }
}
