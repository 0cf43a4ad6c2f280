//! Header fields that rules may add or remove.

use super::{
    config::{HstsConfig, SecurityPreset},
    error::RuleError,
};

/// Fields that frame messages, or that have a setting of their own, with what to say about it.
const RESERVED: &[(&str, &str)] = &[
    ("Connection", ""),
    ("Content-Encoding", "; see `precompressed`"),
    ("Content-Length", ""),
    ("Content-Range", ""),
    ("Date", ""),
    ("Keep-Alive", ""),
    ("TE", ""),
    ("Trailer", ""),
    ("Transfer-Encoding", ""),
    ("Upgrade", ""),
    ("Allow", ""),
    ("Vary", ""),
    ("Cache-Control", "; use `cache_control`"),
    ("Content-Type", "; use `types` and `charset`"),
    ("ETag", "; use `etag`"),
    ("Location", "; use `redirect`"),
    ("Access-Control-Allow-Origin", "; use `cors`"),
    ("Access-Control-Allow-Credentials", "; use `cors`"),
    ("Strict-Transport-Security", "; use `hsts`"),
];

/// Fields that every site has, and that rules may remove or replace.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Standard {
    Server,
    LastModified,
    AcceptRanges,
}

impl Standard {
    pub fn named(name: &str) -> Option<Self> {
        let all = [
            ("Server", Self::Server),
            ("Last-Modified", Self::LastModified),
            ("Accept-Ranges", Self::AcceptRanges),
        ];
        all.into_iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, it)| it)
    }
}

/// Checks a name that a rule sets or removes.
pub(super) fn check_name(name: &str) -> Result<(), RuleError> {
    if !is_token(name) {
        return Err(RuleError::FieldName(name.to_owned()));
    }
    match RESERVED.iter().find(|(reserved, _)| reserved.eq_ignore_ascii_case(name)) {
        Some((_, instead)) => Err(RuleError::FieldReserved { name: name.to_owned(), instead }),
        None => Ok(()),
    }
}

/// Checks a value (RFC 9110 §5.5, without obs-text).
pub(super) fn check_value(name: &str, value: &str) -> Result<(), RuleError> {
    let is_valid = |byte: u8| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t');
    if value.is_empty() || value.trim_ascii() != value || !value.bytes().all(is_valid) {
        return Err(RuleError::FieldValue { name: name.to_owned() });
    }
    Ok(())
}

/// RFC 9110 §5.6.2.
pub(super) fn is_token(text: &str) -> bool {
    let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_valid)
}

/// Whole seconds.
pub(super) fn seconds(text: &str) -> Result<u64, RuleError> {
    humantime::parse_duration(text)
        .map(|duration| duration.as_secs())
        .map_err(|_| RuleError::Duration(text.to_owned()))
}

/// The value of `Strict-Transport-Security` (RFC 6797 §6.1).
pub(super) fn hsts(config: &HstsConfig) -> Result<String, RuleError> {
    let mut value = format!("max-age={}", seconds(&config.max_age)?);
    for (directive, is_set) in
        [("; includeSubDomains", config.subdomains), ("; preload", config.preload)]
    {
        value += if is_set { directive } else { "" };
    }
    Ok(value)
}

/// The fields of a preset.
pub(super) const fn security(preset: SecurityPreset) -> &'static [(&'static str, &'static str)] {
    match preset {
        SecurityPreset::Off => &[],
        SecurityPreset::Basic => &[
            ("X-Content-Type-Options", "nosniff"),
            ("X-Frame-Options", "SAMEORIGIN"),
            ("Referrer-Policy", "strict-origin-when-cross-origin"),
        ],
        SecurityPreset::Strict => &[
            ("X-Content-Type-Options", "nosniff"),
            ("X-Frame-Options", "DENY"),
            ("Referrer-Policy", "no-referrer"),
            (
                "Content-Security-Policy",
                "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; \
                 frame-ancestors 'none'",
            ),
            ("Cross-Origin-Opener-Policy", "same-origin"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Permissions-Policy", "camera=(), geolocation=(), microphone=()"),
        ],
    }
}
