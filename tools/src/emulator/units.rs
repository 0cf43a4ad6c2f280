//! Values of the link's flags: a number, then a unit. Each prints as it is written.

use std::{fmt, str::FromStr, time::Duration};

use thiserror::Error;

/// A value that means nothing.
#[derive(Debug, Error)]
#[error("`{text}` is not {wanted}")]
pub struct BadValue {
    text: String,
    wanted: &'static str,
}

/// Splits a number, zero or more, from its unit.
fn split(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number = text[..end].parse().ok().filter(|number: &f64| number.is_finite())?;
    Some((number, &text[end..]))
}

/// A number and its unit, by a table of units.
fn scaled(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let (number, unit) = split(text)?;
    let (_, scale) = units.iter().find(|(name, _)| *name == unit)?;
    Some(number * scale)
}

/// The whole number nearest to one that is zero or more.
#[expect(clippy::cast_sign_loss, reason = "it has no sign")]
pub(super) fn whole(number: f64) -> u64 {
    number.round() as u64
}

/// A span of time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        const MOST_NANOS: f64 = 60e9;
        let units = [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9)];
        let nanos = scaled(text, &units).filter(|&nanos| nanos <= MOST_NANOS);
        nanos.map(|nanos| Self(Duration::from_nanos(whole(nanos)))).ok_or_else(|| {
            let wanted = "a time up to a minute, like 20ms, 1.5s or 500us";
            BadValue { text: text.to_owned(), wanted }
        })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// A share of all frames.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    percent: f64,
}

impl Share {
    /// As a number from 0 to 1.
    pub fn probability(self) -> f64 {
        self.percent / 100.0
    }
}

impl FromStr for Share {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let percent = scaled(text, &[("%", 1.0)]).filter(|&percent| percent <= 100.0);
        percent.map(|percent| Self { percent }).ok_or_else(|| {
            let wanted = "a share between 0% and 100%, like 1% or 0.05%";
            BadValue { text: text.to_owned(), wanted }
        })
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.percent)
    }
}

/// Bits per second.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rate {
    /// The number, not zero.
    pub bits_per_s: u64,
}

const RATE_UNITS: [(&str, f64); 4] = [("gbit", 1e9), ("mbit", 1e6), ("kbit", 1e3), ("bit", 1.0)];

impl FromStr for Rate {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let bits = scaled(text, &RATE_UNITS).filter(|bits| (1e3..=1e12).contains(bits));
        bits.map(|bits| Self { bits_per_s: whole(bits) }).ok_or_else(|| {
            let wanted = "a rate from 1kbit to 1000gbit a second, like 100mbit or 2.5gbit";
            BadValue { text: text.to_owned(), wanted }
        })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.bits_per_s;
        for (name, scale) in RATE_UNITS {
            if bits.is_multiple_of(whole(scale)) {
                return write!(f, "{}{name}", bits / whole(scale));
            }
        }
        Ok(())
    }
}

/// Another rate, by turns.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RateSteps {
    /// The other rate.
    pub rate: Rate,
    /// For how long each lasts.
    pub period: Span,
}

impl FromStr for RateSteps {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let parse = || {
            let (rate, period) = text.split_once(',')?;
            let (rate, period) = (rate.parse().ok()?, period.parse::<Span>().ok()?);
            (!period.0.is_zero()).then_some(Self { rate, period })
        };
        parse().ok_or_else(|| {
            let wanted = "another rate and how long each of the two lasts, like 25mbit,2s";
            BadValue { text: text.to_owned(), wanted }
        })
    }
}

impl fmt::Display for RateSteps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.rate, self.period)
    }
}

/// The size of a queue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Queue {
    /// So many times the rate times the round trip.
    Bdp(f64),
    /// So many bytes.
    Bytes(u64),
    /// So many frames.
    Frames(u64),
}

impl FromStr for Queue {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let parsed = split(text).filter(|&(number, _)| number > 0.0 && number < 1e12);
        let whole = |number| whole(number).max(1);
        match parsed {
            Some((number, "bdp")) => Ok(Self::Bdp(number)),
            Some((number, "b")) => Ok(Self::Bytes(whole(number))),
            Some((number, "k")) => Ok(Self::Bytes(whole(number * 1_024.0))),
            Some((number, "m")) => Ok(Self::Bytes(whole(number * 1_048_576.0))),
            Some((number, "p")) => Ok(Self::Frames(whole(number))),
            _ => {
                let wanted = "the size of a queue, like 1bdp, 64k (bytes) or 200p (packets)";
                Err(BadValue { text: text.to_owned(), wanted })
            }
        }
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bdp(times) => write!(f, "{times}bdp"),
            Self::Bytes(bytes) if bytes.is_multiple_of(1_024) => write!(f, "{}k", bytes / 1_024),
            Self::Bytes(bytes) => write!(f, "{bytes}b"),
            Self::Frames(frames) => write!(f, "{frames}p"),
        }
    }
}

/// Loss in bursts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bursts {
    /// Share of all frames that is lost so, less than all.
    pub mean: Share,
    /// Mean length of a bad time in frames, at least one.
    pub len: f64,
    /// Share of the frames that is lost in a bad time, more than [`mean`](Self::mean).
    pub within: Share,
}

impl FromStr for Bursts {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let parse = || {
            let mut words = text.split(',');
            let mean: Share = words.next()?.parse().ok()?;
            let len = words.next().map_or(Some(8.0), |len| scaled(len, &[("", 1.0)]))?;
            let within: Share = words.next().unwrap_or("100%").parse().ok()?;
            let fits = len >= 1.0 && mean.percent < within.percent && words.next().is_none();
            fits.then_some(Self { mean, len, within })
        };
        parse().ok_or_else(|| {
            let wanted = "a share of all frames, the length of a burst and the share lost in it, \
                          which is the greater, like 1% or 1%,8 or 1%,8,90%";
            BadValue { text: text.to_owned(), wanted }
        })
    }
}

impl fmt::Display for Bursts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{},{}", self.mean, self.len, self.within)
    }
}

/// Frames held back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeldBack {
    /// Share of all frames.
    pub share: Share,
    /// For how long.
    pub time: Span,
}

impl FromStr for HeldBack {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let (share, time) = text.split_once(',').unwrap_or((text, "1ms"));
        if let (Ok(share), Ok(time)) = (share.parse(), time.parse()) {
            return Ok(Self { share, time });
        }
        let wanted = "a share of all frames and how long they are held back, like 1% or 1%,5ms";
        Err(BadValue { text: text.to_owned(), wanted })
    }
}

impl fmt::Display for HeldBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.share, self.time)
    }
}

/// The largest packet that a path carries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PathMtu {
    /// Its bytes, from the IP header on.
    pub bytes: u32,
    /// Whether nobody is told of larger ones.
    pub silent: bool,
}

impl FromStr for PathMtu {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let (number, rest) = text.split_once(',').unwrap_or((text, ""));
        let bytes = number.parse().ok().filter(|bytes| (68..=65_535).contains(bytes));
        let silent = rest == "silent";
        bytes.filter(|_| silent || number == text).map(|bytes| Self { bytes, silent }).ok_or_else(
            || {
                let wanted = "the size of a packet from 68 to 65535, like 1300 or 1300,silent";
                BadValue { text: text.to_owned(), wanted }
            },
        )
    }
}

impl fmt::Display for PathMtu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.bytes, if self.silent { ",silent" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prints_as<T: FromStr + fmt::Display>(text: &str) -> String {
        text.parse::<T>().map_or_else(|_| "refused".to_owned(), |value| value.to_string())
    }

    #[test]
    fn values_print_as_they_are_written() {
        for text in ["20ms", "1.5s", "500µs", "0ns"] {
            assert_eq!(prints_as::<Span>(text), text);
        }
        assert_eq!(prints_as::<Span>("0.5ms"), "500µs");
        for text in ["0%", "0.05%", "7%", "100%"] {
            assert_eq!(prints_as::<Share>(text), text);
        }
        for text in ["100mbit", "2500mbit", "1gbit", "64kbit"] {
            assert_eq!(prints_as::<Rate>(text), text);
        }
        for text in ["1bdp", "0.5bdp", "64k", "1500b", "200p"] {
            assert_eq!(prints_as::<Queue>(text), text);
        }
        assert_eq!(prints_as::<Queue>("1m"), "1024k");
        assert_eq!(prints_as::<RateSteps>("25mbit,2s"), "25mbit,2s");
        assert_eq!(prints_as::<Bursts>("1%"), "1%,8,100%");
        assert_eq!(prints_as::<Bursts>("1%,20,90%"), "1%,20,90%");
        assert_eq!(prints_as::<HeldBack>("1%,5ms"), "1%,5ms");
        assert_eq!(prints_as::<HeldBack>("1%"), "1%,1ms");
        for text in ["1300", "576,silent"] {
            assert_eq!(prints_as::<PathMtu>(text), text);
        }
    }

    #[test]
    fn values_without_a_meaning_are_refused() {
        for text in ["", "20", "ms", "-1ms", "61s", "1e3ms", "1.2.3ms", "infs", "1h"] {
            assert_eq!(prints_as::<Span>(text), "refused", "{text}");
        }
        for text in ["1", "101%", "-1%", "%", "nan%"] {
            assert_eq!(prints_as::<Share>(text), "refused", "{text}");
        }
        for text in ["0mbit", "100", "100mb", "2000gbit"] {
            assert_eq!(prints_as::<Rate>(text), "refused", "{text}");
        }
        for text in ["0p", "0bdp", "bdp", "12", "1g"] {
            assert_eq!(prints_as::<Queue>(text), "refused", "{text}");
        }
        for text in ["25mbit", "25mbit,0s", ",2s", "25mbit,2s,3s"] {
            assert_eq!(prints_as::<RateSteps>(text), "refused", "{text}");
        }
        for text in ["1%,0.5", "100%", "50%,8,40%", "1%,8,90%,1", "1%,"] {
            assert_eq!(prints_as::<Bursts>(text), "refused", "{text}");
        }
        for text in ["", "67", "65536", "1300,", "1300,loud", "silent", "1k"] {
            assert_eq!(prints_as::<PathMtu>(text), "refused", "{text}");
        }
        for text in ["1%,", "1%,5", "5ms"] {
            assert_eq!(prints_as::<HeldBack>(text), "refused", "{text}");
        }
    }
}
