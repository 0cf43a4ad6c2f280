//! Why a site's configuration cannot be meant.

use std::path::PathBuf;

use thiserror::Error;

use super::config::SiteConfig;

/// Why sites cannot be served as they are described.
#[derive(Debug, Error)]
pub enum SiteError {
    /// There are none, or too many.
    #[error("{0} sites are described; describe between 1 and 65535")]
    Count(usize),
    /// A host name is none.
    #[error(
        "`{0}` is no host name; write example.com, *.example.com or an address, without a port"
    )]
    Name(String),
    /// A host name belongs to two sites.
    #[error("the name {0} belongs to two sites; leave it with one")]
    NameTwice(String),
    /// Two sites are the default.
    #[error("two sites answer for all other names; give one of them names and no `default`")]
    DefaultTwice,
    /// A rule cannot be meant.
    #[error("site {site}, rule {rule}: {source}")]
    Rule {
        /// Its names, or its directory.
        site: String,
        /// Which rule, from 1.
        rule: usize,
        /// What is wrong with it.
        source: RuleError,
    },
}

impl SiteError {
    pub(super) fn rule(config: &SiteConfig, index: usize, source: RuleError) -> Self {
        let name = config.names.first().cloned();
        let site = name.unwrap_or_else(|| config.root.display().to_string());
        Self::Rule { site, rule: index + 1, source }
    }
}

/// Why a rule cannot be meant.
#[derive(Debug, Error)]
pub enum RuleError {
    /// A path pattern has no meaning.
    #[error("the path `{pattern}` is no pattern: {why}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// Why not.
        why: String,
    },
    /// A header field's name is none.
    #[error("`{0}` is no name of a header field")]
    FieldName(String),
    /// A header field is the server's to set.
    #[error("the field {name} cannot be set or removed by a rule{instead}")]
    FieldReserved {
        /// Its name.
        name: String,
        /// What to use instead.
        instead: &'static str,
    },
    /// A header field's value has characters that it may not have.
    #[error(
        "the value of {name} is empty, or has control characters, letters beyond ASCII or blank ends"
    )]
    FieldValue {
        /// The field's name.
        name: String,
    },
    /// A redirect leads nowhere.
    #[error("the redirect to `{to}` is not possible: {why}")]
    Redirect {
        /// Where to.
        to: String,
        /// Why not.
        why: &'static str,
    },
    /// A media type is none.
    #[error("`{0}` is no media type; write it like text/plain")]
    MediaType(String),
    /// A charset is none.
    #[error("`{0}` is no charset; write it like utf-8")]
    Charset(String),
    /// A directory of a rule has no place.
    #[error("the directory {0} needs a rule with one path that ends in a slash or in /**")]
    Root(PathBuf),
    /// An index is no name of a file.
    #[error("`{0}` is no name of a file in a directory")]
    Index(String),
    /// A status that no error page is for.
    #[error("there are no error pages for `{0}`; choose among {1}")]
    ErrorStatus(String, String),
    /// An error page lies elsewhere.
    #[error("the error page `{0}` is not a path below the root; write it like /errors/404.html")]
    ErrorPage(String),
    /// A fallback lies elsewhere, or is made of something unknown.
    #[error(
        "the fallback `{0}` is not a path below the root; write it like /index.html or /{{path}}.html"
    )]
    Fallback(String),
    /// An origin is none.
    #[error("`{0}` is no origin; write https://example.com, with its port if it has one, or *")]
    Origin(String),
    /// Anybody may not be given credentials.
    #[error("credentials cannot be allowed to all origins; name the origins")]
    CredentialsForAll,
    /// A duration is none.
    #[error("`{0}` is no duration; write it with its unit, such as 1h or 365d")]
    Duration(String),
}
