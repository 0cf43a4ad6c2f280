//! All that is served: the sites, their directories and their error pages.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::Path,
    sync::Arc,
};

use pagewire_stack::{DiskReads, FileObject};
use rustix::fs::OFlags;

use super::{
    resource::{ErrorPage, Refusal, Resource, Shared},
    root::{Root, RootError},
};
use crate::{
    http::{Status, response::write_line},
    site::{Policy, Site, SiteId, Sites, config::SiteConfig, config::Symlinks},
};

/// Largest error page, in bytes.
const LARGEST_PAGE: u64 = 256 << 10;

/// All that is served. Shared by all cores and never changed; a change of configuration makes another.
#[derive(Debug)]
pub struct Catalogue {
    sites: Sites,
    places: Vec<Place>,
    /// What is said where no site is concerned.
    nowhere: Refusals,
}

/// What belongs to a site on the disk.
#[derive(Debug)]
pub(super) struct Place {
    root: Root,
    /// Those of rules, with the numbers of these.
    others: Vec<(usize, Root)>,
    pages: BTreeMap<String, Arc<ErrorPage>>,
    refusals: Refusals,
}

/// The responses to requests that lead to no file, by status.
#[derive(Debug)]
struct Refusals {
    each: Vec<Refusal>,
    /// For a status that is no error.
    other: Refusal,
}

/// What is wrong with requests, rather than with the files that they ask for: a core finds it out.
const ASKED_WRONGLY: [Status; 5] = [
    Status::MethodNotAllowed,
    Status::NotAcceptable,
    Status::PreconditionFailed,
    Status::RangeNotSatisfiable,
    Status::NotImplemented,
];

/// What stands before the other lines of responses that differ by who asks.
pub(super) const VARY_ORIGIN: &[u8] = b"Vary: Origin\r\n";

/// Bytes of the site's number at the front of a key.
const SITE_LEN: usize = 2;

impl Catalogue {
    /// Checks what is to be served, opens its directories and reads its error pages.
    ///
    /// # Errors
    ///
    /// What cannot be meant, opened or read.
    pub fn open(configs: &[SiteConfig]) -> Result<Self, RootError> {
        let sites = Sites::build(configs)?;
        let places = sites.iter().map(Place::open).collect::<Result<_, _>>()?;
        Ok(Self { sites, places, nowhere: Refusals::of(&Policy::default(), |_| None) })
    }

    /// The files below one directory, under any name.
    ///
    /// # Errors
    ///
    /// If it is no directory or may not be read.
    pub fn of_directory(path: &Path) -> Result<Self, RootError> {
        Self::open(&[SiteConfig::of_directory(path)])
    }

    /// The sites.
    pub fn sites(&self) -> &Sites {
        &self.sites
    }

    /// Begins the key of something in `site`; the decoded path follows.
    pub fn begin_key(site: SiteId, key: &mut Vec<u8>) {
        key.clear();
        key.extend_from_slice(&site.0.to_be_bytes());
    }

    /// Looks at what `key` leads to now. If that is still the same as `known`, the answer is `known`.
    pub fn resolve(
        &self,
        key: &[u8],
        known: Option<Arc<Resource>>,
        reads: &DiskReads,
    ) -> Arc<Resource> {
        let place = key.split_first_chunk::<SITE_LEN>().and_then(|(site, path)| {
            let id = SiteId(u16::from_be_bytes(*site));
            Some((self.sites.get(id)?, self.places.get(usize::from(id.0))?, path))
        });
        match place {
            Some((site, place, path)) => super::resolve::resolve(site, place, path, known, reads),
            // No key is made for a site that there is not.
            None => Arc::new(Resource::Refused(Refusal {
                status: Status::Misdirected,
                shared: Shared::default(),
            })),
        }
    }

    /// What is said to a request that leads to no file, in `site` if it is known.
    pub fn refusal(&self, site: Option<SiteId>, status: Status) -> &Refusal {
        let place = site.and_then(|site| self.places.get(usize::from(site.0)));
        place.map_or(&self.nowhere, |place| &place.refusals).get(status)
    }
}

impl Place {
    fn open(site: &Site) -> Result<Self, RootError> {
        let path = site.root();
        let open = |path: &Path| {
            Root::open(path).map_err(|source| RootError::Unreadable { path: path.into(), source })
        };
        let root = open(path)?;
        let others = site.rule_roots().map(|(rule, path)| Ok((rule, open(path)?)));
        let others = others.collect::<Result<_, RootError>>()?;
        let mut pages = BTreeMap::new();
        for page in site.error_pages() {
            let read = read_page(&root, site, page);
            let read = read.map_err(|source| RootError::ErrorPage {
                page: format!("/{page}"),
                path: path.into(),
                source,
            })?;
            pages.insert(page.to_owned(), Arc::new(read));
        }
        let refusals = Refusals::of(&site.everywhere(), |page| pages.get(page).cloned());
        Ok(Self { root, others, pages, refusals })
    }

    /// The directory that a path leads into, and its way from there.
    pub fn locate<'a>(&self, path: &'a [u8], policy: &Policy<'_>) -> (&Root, &'a [u8]) {
        let other = policy.root.and_then(|(rule, base_len)| {
            let (_, root) = self.others.iter().find(|(other, _)| *other == rule)?;
            // A rule's path starts with a slash.
            Some((root, path.get(base_len - 1..)?))
        });
        other.unwrap_or((&self.root, path))
    }

    /// What is said where the policy for a path says so.
    pub fn refuse(&self, status: Status, policy: &Policy<'_>) -> Resource {
        let shared = self.shared(policy, Some(status));
        Resource::Refused(Refusal { status, shared })
    }

    /// What all responses about a path have in common, one with `status` included.
    pub fn shared(&self, policy: &Policy<'_>, status: Option<Status>) -> Shared {
        let statuses = ASKED_WRONGLY.iter().copied().chain(status);
        Shared::of(policy, statuses, |page| self.pages.get(page).cloned())
    }
}

fn read_page(root: &Root, site: &Site, page: &str) -> io::Result<ErrorPage> {
    let file = root.open_beneath(page.as_bytes(), OFlags::RDONLY, Symlinks::Within)?;
    let mut bytes = Vec::new();
    File::from(file).take(LARGEST_PAGE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_PAGE {
        let message = format!("it is larger than {LARGEST_PAGE} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    let content_type = site.policy(format!("/{page}").as_bytes()).media_type(page.as_bytes());
    Ok(ErrorPage { object: FileObject::from_bytes(bytes), content_type })
}

impl Refusals {
    fn of(policy: &Policy<'_>, page: impl Fn(&str) -> Option<Arc<ErrorPage>>) -> Self {
        let refusal = |status| Refusal { status, shared: Shared::of(policy, [status], &page) };
        let each = Status::ERRORS.iter().map(|&status| refusal(status)).collect();
        Self { each, other: refusal(Status::InternalError) }
    }

    fn get(&self, status: Status) -> &Refusal {
        self.each.iter().find(|refusal| refusal.status == status).unwrap_or(&self.other)
    }
}

impl Shared {
    /// What a policy says of all responses about a path, among them some errors.
    fn of(
        policy: &Policy<'_>,
        statuses: impl IntoIterator<Item = Status>,
        page: impl Fn(&str) -> Option<Arc<ErrorPage>>,
    ) -> Self {
        let pages = statuses.into_iter().filter_map(|status| {
            let page = policy.error_page(status).and_then(&page)?;
            Some((status, page))
        });
        let mut lines = Vec::new();
        if policy.cors.is_some_and(|cors| cors.varies()) {
            lines.extend_from_slice(VARY_ORIGIN);
        }
        for (name, value) in &policy.headers {
            write_line(&mut lines, name, value);
        }
        if let Some(cors) = policy.cors {
            lines.extend_from_slice(cors.response_fields());
        }
        Self { lines: lines.into(), cors: policy.cors.cloned(), pages: pages.collect() }
    }
}
