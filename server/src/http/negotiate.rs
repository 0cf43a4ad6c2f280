//! What a client would rather have: `Accept-Encoding` and `Accept` (RFC 9110 §12.4.2, §12.5).

use serde::Deserialize;

use super::Field;

/// A content coding (RFC 9110 §8.4.1) whose files may lie beside a file.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Coding {
    /// Brotli (RFC 7932), `.br`.
    Br,
    /// Zstandard (RFC 8878), `.zst`.
    Zstd,
    /// Gzip (RFC 1952), `.gz`.
    Gzip,
}

impl Coding {
    /// All of them, in the order in which they are preferred.
    pub const ALL: [Self; 3] = [Self::Br, Self::Zstd, Self::Gzip];

    /// Its name in header fields.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Br => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// Whether `name` is its name in a header field, whatever its case. Gzip has an older one too.
    pub const fn is_named(self, name: &[u8]) -> bool {
        name.eq_ignore_ascii_case(self.name().as_bytes())
            || matches!(self, Self::Gzip) && name.eq_ignore_ascii_case(b"x-gzip")
    }

    /// What the name of a coded file ends in.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Br => ".br",
            Self::Zstd => ".zst",
            Self::Gzip => ".gz",
        }
    }
}

/// A weight in thousandths; zero is a refusal.
type Weight = u16;

/// Full weight.
const FULL: Weight = 1000;

/// The weights that a client gives to content codings.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Encodings {
    coded: [Weight; Coding::ALL.len()],
    identity: Weight,
    /// Whether no coding at all is refused as well.
    refuses_identity: bool,
}

impl Encodings {
    /// What a field says. Without one only the plain representation is sent: it is the one that every client
    /// reads.
    pub fn of(field: Field<'_>) -> Self {
        let mut found: [Option<Weight>; Coding::ALL.len()] = [None; _];
        let (mut identity, mut any) = (None, None);
        for (name, weight) in field.values("accept-encoding").flat_map(members) {
            let weight = weight.unwrap_or(0);
            let slot = match name {
                b"*" => &mut any,
                name if name.eq_ignore_ascii_case(b"identity") => &mut identity,
                name => match Coding::ALL.iter().position(|it| it.is_named(name)) {
                    Some(index) => &mut found[index],
                    None => continue,
                },
            };
            // Whoever names one twice means the better one.
            *slot = (*slot).max(Some(weight));
        }
        Self {
            coded: found.map(|weight| weight.or(any).unwrap_or(0)),
            // Nothing is below it but what is refused (RFC 9110 §12.5.3, §12.4.3).
            identity: identity.or(any).unwrap_or(1),
            refuses_identity: identity.or(any) == Some(0),
        }
    }

    /// The coding to send out of those that there are, in the server's order of preference; `Some(None)` for
    /// the plain representation, and nothing if nothing is acceptable.
    #[allow(clippy::option_option)] // No coding and no representation are two things.
    pub fn choose(&self, available: impl Iterator<Item = Coding>) -> Option<Option<Coding>> {
        let mut best = (!self.refuses_identity).then_some((self.identity, None));
        // A coding wins over the plain one at equal weight, and over codings that come later.
        for coding in available {
            let weight = self.coded[coding as usize];
            let is_better = match best {
                None => weight > 0,
                Some((best, None)) => weight > 0 && weight >= best,
                Some((best, Some(_))) => weight > best,
            };
            if is_better {
                best = Some((weight, Some(coding)));
            }
        }
        best.map(|(_, coding)| coding)
    }
}

/// Whether a client would rather have JSON than HTML.
pub fn prefers_json(accept: Field<'_>) -> bool {
    let weight = |media_type: &[u8], kind: &[u8]| {
        // The most specific range counts.
        let (mut exact, mut of_kind, mut any) = (None, None, None);
        for (range, weight) in accept.values("accept").flat_map(members) {
            let weight = weight.unwrap_or(0);
            if range.eq_ignore_ascii_case(media_type) {
                exact = Some(weight);
            } else if range.eq_ignore_ascii_case(kind) {
                of_kind = Some(weight);
            } else if range == b"*/*" {
                any = Some(weight);
            }
        }
        exact.or(of_kind).or(any).unwrap_or(0)
    };
    weight(b"application/json", b"application/*") > weight(b"text/html", b"text/*")
}

/// The members of a list with weights, parameters other than the weight left out. A weight that is none
/// is `None`.
fn members(value: &[u8]) -> impl Iterator<Item = (&[u8], Option<Weight>)> {
    value.split(|&byte| byte == b',').filter_map(|member| {
        let mut pieces = member.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
        let name = pieces.next().filter(|name| !name.is_empty())?;
        let weight = pieces.find_map(|piece| match piece {
            [b'q' | b'Q', b'=', digits @ ..] => Some(parse_weight(digits)),
            _ => None,
        });
        Some((name, weight.unwrap_or(Some(FULL))))
    })
}

/// RFC 9110 §12.4.2: `0`, `0.123`, `1`, `1.000`.
fn parse_weight(text: &[u8]) -> Option<Weight> {
    let (whole, fraction) = match text {
        [b'0'] | [b'0', b'.'] => return Some(0),
        [b'1'] | [b'1', b'.'] => return Some(FULL),
        [whole, b'.', fraction @ ..] => (whole, fraction),
        _ => return None,
    };
    if fraction.len() > 3 || !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let places = fraction.iter().chain(b"000").take(3);
    let thousandths = places.fold(0, |sum, digit| sum * 10 + Weight::from(digit - b'0'));
    match whole {
        b'0' => Some(thousandths),
        b'1' if thousandths == 0 => Some(FULL),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: &[Coding] = &Coding::ALL;

    fn chosen(accept_encoding: &str, available: &[Coding]) -> &'static str {
        let field = Field::Once(accept_encoding.as_bytes());
        match Encodings::of(field).choose(available.iter().copied()) {
            Some(Some(coding)) => coding.name(),
            Some(None) => "identity",
            None => "none",
        }
    }

    #[test]
    fn encodings_are_chosen_by_weight_and_then_by_ours() {
        let cases = [
            ("gzip, deflate, br, zstd", "br"),
            ("gzip, deflate", "gzip"),
            ("gzip", "gzip"),
            ("GZIP", "gzip"),
            ("x-gzip", "gzip"),
            ("deflate", "identity"),
            ("", "identity"),
            ("identity", "identity"),
            ("*", "br"),
            ("br;q=0.5, gzip;q=0.8", "gzip"),
            ("br;q=0.5,gzip;q=0.5", "br"),
            ("br; q=0.2 , zstd;q=0.201", "zstd"),
            ("br;q=0, *", "zstd"),
            ("*;q=0.5, gzip;q=0.6", "gzip"),
            ("gzip;q=0.5, identity", "identity"),
            ("gzip;q=0.5, identity;q=0.5", "gzip"),
            ("gzip;q=0.001", "gzip"),
            ("gzip;q=0", "identity"),
            ("identity;q=0", "none"),
            ("*;q=0", "none"),
            ("*;q=0, identity;q=0.1", "identity"),
            ("*;q=0, gzip", "gzip"),
            ("identity;q=0, gzip;q=0.1", "gzip"),
            ("identity;q=0, *;q=0.1", "br"),
            ("gzip;q=2", "identity"),
            ("gzip;q=0.1234", "identity"),
            ("gzip;q=1.1", "identity"),
            ("gzip;q=", "identity"),
            ("gzip;q=1.000", "gzip"),
            ("gzip;q=0, gzip", "gzip"),
            ("gzip;level=9;q=0.5", "gzip"),
            (",, gzip ,", "gzip"),
            ("gzip br", "identity"),
            ("br;q=0.5, gzip;q=0.201", "br"),
            ("gzip;q=0.5x", "identity"),
            ("IDENTITY;q=0", "none"),
        ];
        for (accept_encoding, expected) in cases {
            assert_eq!(chosen(accept_encoding, ALL), expected, "{accept_encoding:?}");
        }
        assert_eq!(chosen("br, gzip", &[Coding::Gzip]), "gzip");
        assert_eq!(chosen("br, gzip", &[Coding::Gzip, Coding::Br]), "gzip");
        assert_eq!(chosen("br", &[]), "identity");
        assert_eq!(chosen("br, identity;q=0", &[]), "none");
        assert_eq!(Encodings::of(Field::Absent).choose(ALL.iter().copied()), Some(None));
        let lines = Field::Repeated(b"br;q=0.1\r\nX: zstd\r\nACCEPT-ENCODING:gzip , x");
        assert_eq!(Encodings::of(lines).choose(ALL.iter().copied()), Some(Some(Coding::Gzip)));
    }

    #[test]
    fn json_goes_to_those_who_would_rather_have_it() {
        let cases = [
            ("application/json", true),
            ("application/json, text/html;q=0.9", true),
            ("application/*", true),
            ("text/html, application/json", false),
            ("text/html;q=0.5, application/json", true),
            ("*/*", false),
            ("application/json, */*;q=0.1", true),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", false),
            ("application/json;q=0", false),
            ("text/*, application/json;q=0.5", false),
            ("", false),
            ("APPLICATION/JSON", true),
            ("application/*;q=0.1, application/json, text/html;q=0.5", true),
            ("application/*, */*;q=0.1", true),
        ];
        for (accept, expected) in cases {
            assert_eq!(prefers_json(Field::Once(accept.as_bytes())), expected, "{accept:?}");
        }
        assert!(!prefers_json(Field::Absent));
        assert!(prefers_json(Field::Repeated(b"text/html;q=0.1\r\nAccept: application/json")));
    }

    /// The choice by trying every coding, from the words of RFC 9110 §12.5.3.
    fn oracle(entries: &[(&str, u32)], available: &[Coding]) -> &'static str {
        let listed = |name: &str| {
            let named = entries.iter().filter(|(other, _)| *other == name);
            named.map(|(_, weight)| *weight).max()
        };
        let of = |name: &str| listed(name).or(listed("*"));
        let mut choices: Vec<(u32, u32, &'static str)> = Vec::new();
        for (rank, coding) in available.iter().enumerate() {
            let weight = of(coding.name()).unwrap_or(0);
            choices.push((weight * 10, 9 - rank as u32, coding.name()));
        }
        // Acceptable unless it is excluded, and then the last resort.
        choices.push((of("identity").map_or(1, |weight| weight * 10), 0, "identity"));
        let best = choices.into_iter().filter(|(weight, ..)| *weight > 0).max();
        best.map_or("none", |(_, _, name)| name)
    }

    proptest! {
        #[test]
        fn choices_agree_with_the_oracle(
            entries in proptest::collection::vec(
                (prop::sample::select(vec!["br", "zstd", "gzip", "identity", "*", "x"]), 0u32..=10),
                0..6,
            ),
            available in proptest::sample::subsequence(ALL, 0..=3),
        ) {
            let member = |(name, tenths): &(&str, u32)| format!("{name};q={}.{}", tenths / 10, tenths % 10);
            let field = entries.iter().map(member).collect::<Vec<_>>().join(", ");
            prop_assert_eq!(chosen(&field, &available), oracle(&entries, &available), "{}", field);
        }

        #[test]
        fn any_value_is_borne(value in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = Encodings::of(Field::Once(&value)).choose(ALL.iter().copied());
            let _ = prefers_json(Field::Once(&value));
        }
    }
}
