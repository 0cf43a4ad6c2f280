//! Which pages of other origins may read: the CORS protocol of the Fetch standard, §3.2.

use std::fmt::Write;

use super::{
    config::CorsConfig,
    error::RuleError,
    fields::{is_token, seconds},
};

/// Who may read, as far as a response says so.
#[derive(Debug)]
pub struct Cors {
    /// None for everybody.
    origins: Option<Vec<Box<[u8]>>>,
    response: Box<[u8]>,
    preflight: Box<[u8]>,
}

impl Cors {
    pub(super) fn build(config: &CorsConfig) -> Result<Self, RuleError> {
        let is_for_all = config.origins.iter().any(|origin| origin == "*");
        if is_for_all && config.credentials {
            return Err(RuleError::CredentialsForAll);
        }
        if let Some(origin) = config.origins.iter().find(|origin| !is_origin(origin)) {
            return Err(RuleError::Origin(origin.clone()));
        }
        let names = config.headers.iter().chain(&config.expose);
        if let Some(name) = names.into_iter().find(|name| !is_token(name)) {
            return Err(RuleError::FieldName(name.clone()));
        }
        let (mut response, mut preflight) = (String::new(), String::new());
        // Writing to a string cannot fail.
        let line = |out: &mut String, name: &str, value: &str| {
            let _ = write!(out, "Access-Control-{name}: {value}\r\n");
        };
        if is_for_all {
            line(&mut response, "Allow-Origin", "*");
        }
        if config.credentials {
            line(&mut response, "Allow-Credentials", "true");
        }
        if !config.expose.is_empty() {
            line(&mut response, "Expose-Headers", &config.expose.join(", "));
        }
        line(&mut preflight, "Allow-Methods", "GET, HEAD, OPTIONS");
        if !config.headers.is_empty() {
            line(&mut preflight, "Allow-Headers", &config.headers.join(", "));
        }
        if let Some(max_age) = &config.max_age {
            line(&mut preflight, "Max-Age", &seconds(max_age)?.to_string());
        }
        let origin = |origin: &String| origin.to_ascii_lowercase().into_bytes().into();
        Ok(Self {
            origins: (!is_for_all).then(|| config.origins.iter().map(origin).collect()),
            response: response.into_bytes().into(),
            preflight: preflight.into_bytes().into(),
        })
    }

    /// Whether responses differ by origin.
    pub fn varies(&self) -> bool {
        self.origins.is_some()
    }

    /// Whether a page of `origin` may read. What it may read by then also says so
    /// (`Access-Control-Allow-Origin`), unless everybody may.
    pub fn allows(&self, origin: &[u8]) -> bool {
        let Some(origins) = &self.origins else { return true };
        origins.iter().any(|allowed| origin.eq_ignore_ascii_case(allowed))
    }

    /// The other fields of all responses.
    pub fn response_fields(&self) -> &[u8] {
        &self.response
    }

    /// Further fields of the answer to a preflight request that is allowed.
    pub fn preflight_fields(&self) -> &[u8] {
        &self.preflight
    }
}

/// RFC 6454 §6.2, or `*`. Browsers write `null` for those that cannot be named.
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return matches!(text, "*" | "null") };
    let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    is_token(scheme) && !host.is_empty() && host.bytes().all(is_valid)
}
