//! The values of a header field, however many lines it stands on.

/// A header field that should come once at most.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Field<'a> {
    /// It is not there.
    #[default]
    Absent,
    /// It is there once, with this value.
    Once(&'a [u8]),
    /// It is there several times: this is all from its first value to the end of its last, other fields that
    /// stand between included.
    Repeated(&'a [u8]),
}

impl<'a> Field<'a> {
    /// Adds a value that stands in `head` behind those before it.
    pub(super) fn add(&mut self, value: &'a [u8], head: &'a [u8]) {
        *self = match *self {
            Self::Absent => Self::Once(value),
            Self::Once(first) | Self::Repeated(first) => {
                let at =
                    |part: &[u8]| (part.as_ptr() as usize).wrapping_sub(head.as_ptr() as usize);
                let all = head.get(at(first)..at(value).saturating_add(value.len()));
                Self::Repeated(all.unwrap_or(first))
            }
        };
    }

    /// The values of the field, which has this `name`: a list may stand on several lines (RFC 9110 §5.3).
    pub fn values(self, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
        let (first, rest) = match self {
            Self::Absent => (None, b"".as_slice()),
            Self::Once(value) => (Some(value), b"".as_slice()),
            Self::Repeated(all) => {
                let end = memchr::memchr(b'\n', all).unwrap_or(all.len());
                (Some(&all[..end]), &all[end..])
            }
        };
        let others = rest.split(|&byte| byte == b'\n').filter_map(move |line| {
            let (found, value) = line.split_at_checked(name.len())?;
            value.strip_prefix(b":").filter(|_| found.eq_ignore_ascii_case(name.as_bytes()))
        });
        first.into_iter().chain(others).map(<[u8]>::trim_ascii)
    }
}
