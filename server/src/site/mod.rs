//! What is served, and how: sites by host name, and rules by path. No I/O.
//!
//! - `config`: what a user may say, as plain data; `error`: why it cannot be meant.
//! - `host`: from the authority of a request to its site, for each request, without allocation.
//! - `rule`: what the rules of a site come to for a path ([`Policy`]). That is asked by helper threads
//!   when they look at a file, so header fields are put together once per object and not per request.
//! - `fields`, `cors`, `redirect`, `fallback`, `media`: parts of a policy.

pub mod config;
mod cors;
mod error;
mod fallback;
mod fields;
mod host;
mod media;
mod redirect;
mod rule;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use cors::Cors;
pub use error::{RuleError, SiteError};
pub use fallback::Fallback;
pub use redirect::Redirect;
pub use rule::Policy;

use self::{config::SiteConfig, host::Hosts, rule::Rules};

/// A site's place among [`Sites`].
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct SiteId(pub u16);

/// A directory and the rules for what is in it.
#[derive(Debug)]
pub struct Site {
    root: PathBuf,
    rules: Rules,
}

impl Site {
    /// Its directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directories of its rules, with the numbers of these.
    pub fn rule_roots(&self) -> impl Iterator<Item = (usize, &Path)> {
        self.rules.roots()
    }

    /// What holds for `path`, which starts with a slash and is decoded.
    pub fn policy(&self, path: &[u8]) -> Policy<'_> {
        self.rules.policy(path)
    }

    /// What holds for all paths.
    pub fn everywhere(&self) -> Policy<'_> {
        self.rules.everywhere()
    }

    /// The files of all error pages, as paths below the root. Some may come twice.
    pub fn error_pages(&self) -> impl Iterator<Item = &str> {
        self.rules.error_pages()
    }
}

/// All sites, checked.
#[derive(Debug)]
pub struct Sites {
    sites: Vec<Site>,
    hosts: Hosts,
}

impl Sites {
    /// Checks what is to be served.
    ///
    /// # Errors
    ///
    /// What cannot be meant, with what to write instead.
    pub fn build(configs: &[SiteConfig]) -> Result<Self, SiteError> {
        let too_many = u16::try_from(configs.len()).is_err();
        if configs.is_empty() || too_many {
            return Err(SiteError::Count(configs.len()));
        }
        let mut hosts = Hosts::default();
        let mut sites = Vec::with_capacity(configs.len());
        for (index, config) in configs.iter().enumerate() {
            let id = SiteId(index as u16);
            for name in &config.names {
                hosts.add(name, id)?;
            }
            if config.default || config.names.is_empty() {
                hosts.set_default(id)?;
            }
            let rules = Rules::build(&config.rules)
                .map_err(|(rule, source)| SiteError::rule(config, rule, source))?;
            sites.push(Site { root: config.root.clone(), rules });
        }
        Ok(Self { sites, hosts })
    }

    /// The site for the authority of a request, with or without a port; empty where there is none.
    /// None where no site has the name and none is the default.
    pub fn route(&self, authority: &[u8]) -> Option<SiteId> {
        self.hosts.find(authority)
    }

    /// A site.
    pub fn get(&self, id: SiteId) -> Option<&Site> {
        self.sites.get(usize::from(id.0))
    }

    /// All sites, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &Site> {
        self.sites.iter()
    }
}
