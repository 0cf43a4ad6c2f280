//! What a key can have as its value, how that is read from text, and how it is written to a file.

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use pagewire_stack::Prefix;

use crate::site::config::Dotfiles;

/// A value of a key. It is read from text wherever it comes from: a flag, the environment, a file.
pub trait Value: Sized + Clone + PartialEq + fmt::Debug {
    /// What stands for it in the help.
    const PLACEHOLDER: &'static str;

    /// Whether it is a list: a repeated flag, a TOML array, commas in the environment.
    const IS_LIST: bool = false;

    /// All that it may be, where that is a few words.
    const WORDS: &'static [&'static str] = &[];

    /// Reads it; more than one text is given for lists alone.
    ///
    /// # Errors
    ///
    /// What is wrong and what to write instead, for people, in words that follow the key's name.
    fn read(texts: &[&str]) -> Result<Self, String>;

    /// As it stands in a file; none if it is not set.
    fn write(&self) -> Option<toml::Value>;
}

fn one<'a>(texts: &[&'a str]) -> Result<&'a str, String> {
    match texts {
        [text] => Ok(text),
        _ => Err("takes a single value, not a list".to_owned()),
    }
}

impl Value for bool {
    const PLACEHOLDER: &'static str = "BOOL";
    const WORDS: &'static [&'static str] = &["true", "false"];

    fn read(texts: &[&str]) -> Result<Self, String> {
        one(texts)?.parse().map_err(|_| "must be true or false".to_owned())
    }

    fn write(&self) -> Option<toml::Value> {
        Some((*self).into())
    }
}

impl Value for Dotfiles {
    const PLACEHOLDER: &'static str = "WORD";
    const WORDS: &'static [&'static str] = &["hide", "serve"];

    fn read(texts: &[&str]) -> Result<Self, String> {
        match one(texts)? {
            "hide" => Ok(Self::Hide),
            "serve" => Ok(Self::Serve),
            _ => Err("must be hide or serve".to_owned()),
        }
    }

    fn write(&self) -> Option<toml::Value> {
        Some(Self::WORDS[*self as usize].into())
    }
}

/// A whole number within a range.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Number<const LEAST: u64, const MOST: u64>(pub u64);

impl<const LEAST: u64, const MOST: u64> Number<LEAST, MOST> {
    /// The number, for counting things in memory.
    pub fn count(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl<const LEAST: u64, const MOST: u64> Value for Number<LEAST, MOST> {
    const PLACEHOLDER: &'static str = "N";

    fn read(texts: &[&str]) -> Result<Self, String> {
        let number = one(texts)?.parse().ok().filter(|number| (LEAST..=MOST).contains(number));
        number.map(Self).ok_or_else(|| format!("must be a whole number from {LEAST} to {MOST}"))
    }

    fn write(&self) -> Option<toml::Value> {
        i64::try_from(self.0).ok().map(toml::Value::Integer)
    }
}

/// Units of [`Bytes`], the largest first.
const UNITS: [(&str, u64); 4] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// An amount of bytes within a range: `4096` or `64MiB`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bytes<const LEAST: u64, const MOST: u64>(pub u64);

impl<const LEAST: u64, const MOST: u64> Bytes<LEAST, MOST> {
    /// The number, for things in memory.
    pub fn count(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// `bytes` in the largest unit that leaves no fraction.
fn in_units(bytes: u64) -> String {
    let unit = UNITS.iter().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit));
    unit.map_or_else(|| bytes.to_string(), |(name, unit)| format!("{}{name}", bytes / unit))
}

impl<const LEAST: u64, const MOST: u64> Value for Bytes<LEAST, MOST> {
    const PLACEHOLDER: &'static str = "BYTES";

    fn read(texts: &[&str]) -> Result<Self, String> {
        let text = one(texts)?;
        let (digits, unit) = UNITS
            .iter()
            .find_map(|(name, unit)| Some((text.strip_suffix(name)?.trim_end(), *unit)))
            .unwrap_or((text, 1));
        let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
        let bytes = bytes.filter(|bytes| (LEAST..=MOST).contains(bytes));
        bytes.map(Self).ok_or_else(|| {
            let (least, most) = (in_units(LEAST), in_units(MOST));
            format!("must be from {least} to {most} bytes, such as 65536, 64KiB or 1GiB")
        })
    }

    fn write(&self) -> Option<toml::Value> {
        let text = in_units(self.0);
        Some(text.parse().map_or(toml::Value::String(text), toml::Value::Integer))
    }
}

/// A time within a range, both ends in milliseconds: `30s`, `500ms`, `1m30s`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Time<const LEAST_MS: u64, const MOST_MS: u64>(pub Duration);

/// How long to wait for something that is sure to come, or that is not worth more.
pub type Timeout = Time<100, 86_400_000>;

impl<const LEAST_MS: u64, const MOST_MS: u64> Value for Time<LEAST_MS, MOST_MS> {
    const PLACEHOLDER: &'static str = "TIME";

    fn read(texts: &[&str]) -> Result<Self, String> {
        let (least, most) = (Duration::from_millis(LEAST_MS), Duration::from_millis(MOST_MS));
        match humantime::parse_duration(one(texts)?) {
            Ok(time) if (least..=most).contains(&time) => Ok(Self(time)),
            Ok(_) => Err(format!(
                "must be between {} and {}",
                humantime::format_duration(least),
                humantime::format_duration(most)
            )),
            Err(error) => Err(format!("{error}; write a time with its unit, such as 30s or 500ms")),
        }
    }

    fn write(&self) -> Option<toml::Value> {
        Some(humantime::format_duration(self.0).to_string().replace(' ', "").into())
    }
}

impl Value for PathBuf {
    const PLACEHOLDER: &'static str = "PATH";

    fn read(texts: &[&str]) -> Result<Self, String> {
        Ok(one(texts)?.into())
    }

    fn write(&self) -> Option<toml::Value> {
        Some(self.to_string_lossy().into_owned().into())
    }
}

impl Value for String {
    const PLACEHOLDER: &'static str = "NAME";

    fn read(texts: &[&str]) -> Result<Self, String> {
        Ok(one(texts)?.to_owned())
    }

    fn write(&self) -> Option<toml::Value> {
        Some(self.clone().into())
    }
}

impl Value for SocketAddr {
    const PLACEHOLDER: &'static str = "ADDR:PORT";

    fn read(texts: &[&str]) -> Result<Self, String> {
        let text = one(texts)?;
        text.parse().map_err(|_| {
            format!("`{text}` is not an address with a port, such as 192.0.2.1:80 or [::1]:8080")
        })
    }

    fn write(&self) -> Option<toml::Value> {
        Some(self.to_string().into())
    }
}

impl Value for Prefix {
    const PLACEHOLDER: &'static str = "ADDR/LEN";

    fn read(texts: &[&str]) -> Result<Self, String> {
        parse_prefix(one(texts)?)
    }

    fn write(&self) -> Option<toml::Value> {
        Some(format!("{}/{}", self.address(), self.length()).into())
    }
}

/// Numbers of cores or queues, in the order given.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NumberList(pub Vec<u32>);

impl Value for NumberList {
    const PLACEHOLDER: &'static str = "LIST";

    fn read(texts: &[&str]) -> Result<Self, String> {
        parse_list(&texts.join(","))
    }

    fn write(&self) -> Option<toml::Value> {
        let numbers: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        Some(numbers.join(",").into())
    }
}

/// Unset by an empty text, so that a flag can take back what a file says.
impl<T: Value> Value for Option<T> {
    const PLACEHOLDER: &'static str = T::PLACEHOLDER;
    const IS_LIST: bool = T::IS_LIST;
    const WORDS: &'static [&'static str] = T::WORDS;

    fn read(texts: &[&str]) -> Result<Self, String> {
        match texts {
            [] | [""] => Ok(None),
            _ => T::read(texts).map(Some),
        }
    }

    fn write(&self) -> Option<toml::Value> {
        self.as_ref().and_then(T::write)
    }
}

/// Empty by an empty text.
impl<T: Value> Value for Vec<T> {
    const PLACEHOLDER: &'static str = T::PLACEHOLDER;
    const IS_LIST: bool = true;
    const WORDS: &'static [&'static str] = T::WORDS;

    fn read(texts: &[&str]) -> Result<Self, String> {
        match texts {
            [] | [""] => Ok(Self::new()),
            _ => texts.iter().map(|text| T::read(&[text])).collect(),
        }
    }

    fn write(&self) -> Option<toml::Value> {
        let values = || self.iter().filter_map(T::write).collect();
        (!self.is_empty()).then(|| toml::Value::Array(values()))
    }
}

/// Makes an enumeration whose variants are words: `words! { /// Doc. Name { /// Doc. Variant: "word", } }`.
macro_rules! words {
    ($(#[doc = $doc:literal])* $name:ident {
        $($(#[doc = $variant_doc:literal])* $variant:ident: $word:literal,)*
    }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum $name {
            $($(#[doc = $variant_doc])* $variant,)*
        }

        impl $crate::settings::Value for $name {
            const PLACEHOLDER: &'static str = "WORD";
            const WORDS: &'static [&'static str] = &[$($word),*];

            fn read(texts: &[&str]) -> Result<Self, String> {
                match texts {
                    $([$word] => Ok(Self::$variant),)*
                    _ => Err(format!("must be one of: {}", Self::WORDS.join(", "))),
                }
            }

            fn write(&self) -> Option<toml::Value> {
                Some(match self { $(Self::$variant => $word,)* }.into())
            }
        }
    };
}
pub(crate) use words;

/// Reads `0-1` or `0,2-3`.
///
/// # Errors
///
/// What is wrong, for people.
pub fn parse_list(text: &str) -> Result<NumberList, String> {
    const MOST: u32 = 1024;
    let mut numbers = Vec::new();
    let mut seen = BTreeSet::new();
    for range in text.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (Ok(first), Ok(last)) = (first.parse::<u32>(), last.parse::<u32>()) else {
            return Err(format!("`{range}` is neither a number nor a range such as 0-3"));
        };
        if first > last || last >= MOST {
            return Err(format!("`{range}` is not a rising range below {MOST}"));
        }
        for number in first..=last {
            if !seen.insert(number) {
                return Err(format!("{number} stands in it twice"));
            }
            numbers.push(number);
        }
    }
    Ok(NumberList(numbers))
}

/// Reads `10.77.0.1/24`.
///
/// # Errors
///
/// What is wrong, for people.
pub fn parse_prefix(text: &str) -> Result<Prefix, String> {
    let form = "write an address with its prefix length, such as 10.77.0.1/24 or fd77::1/64";
    let (address, length) = text.split_once('/').ok_or(form)?;
    let address: IpAddr = address.parse().map_err(|_| form)?;
    let length = length.parse().map_err(|_| form)?;
    if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
        return Err(format!("{address} is not the address of a host on a network"));
    }
    Prefix::new(address, length).map_err(|error| error.to_string())
}

#[cfg(test)]
#[path = "value_tests.rs"]
mod tests;
