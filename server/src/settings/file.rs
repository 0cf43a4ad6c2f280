//! Reading the TOML file. All that is wrong is told at once, each with its line and key.

use std::{fs, ops::Range, path::Path, sync::Arc};

use serde::Deserialize;
use toml::{
    Spanned,
    de::{DeTable, DeValue, ValueDeserializer},
};

use super::{KEYS, Key, Origin, Problem, Settings, SiteSettings, guess};

/// The largest file that is read: a mistaken name must not fill the memory.
const LARGEST: u64 = 16 << 20;

/// The table that each site has.
pub(super) const SITES: &str = "site";

/// Sets what the file at `path` says, and adds to `problems` what is wrong with it.
pub(super) fn read(path: &Path, settings: &mut Settings, problems: &mut Vec<Problem>) {
    let text = match load(path) {
        Ok(text) => text,
        Err(message) => {
            problems.push(Problem { place: path.display().to_string(), message });
            return;
        }
    };
    let mut file = Reading { path: path.into(), text: &text, problems };
    let (table, errors) = DeTable::parse_recoverable(&text);
    for error in errors {
        file.complain(error.span(), None, format!("this is not TOML: {}", error.message()));
    }
    let mut entries: Vec<_> = table.into_inner().into_iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    for (name, value) in entries {
        let place = name.span();
        if name.get_ref() == SITES {
            file.set_sites(value, settings);
            continue;
        }
        match KEYS.iter().find(|key| key.field == *name.get_ref()) {
            Some(key) => file.set(key, place, value.get_ref(), settings),
            None => file.refuse(name.get_ref(), place),
        }
    }
}

fn load(path: &Path) -> Result<String, String> {
    let what = "name a file that this user may read, or leave --config out";
    let size = fs::metadata(path).map_err(|error| format!("{error}; {what}"))?.len();
    if size > LARGEST {
        return Err(format!("has {size} bytes, which no configuration has; {what}"));
    }
    fs::read_to_string(path).map_err(|error| format!("{error}; {what}"))
}

/// A file that is being read.
struct Reading<'a> {
    path: Arc<Path>,
    text: &'a str,
    problems: &'a mut Vec<Problem>,
}

impl Reading<'_> {
    /// The line of a byte, counted from 1.
    fn line(&self, at: usize) -> usize {
        self.text.as_bytes().iter().take(at).filter(|&&byte| byte == b'\n').count() + 1
    }

    fn complain(&mut self, span: Option<Range<usize>>, key: Option<&str>, message: String) {
        let mut place = self.path.display().to_string();
        if let Some(span) = span {
            place = format!("{place}:{}", self.line(span.start));
        }
        if let Some(key) = key {
            place = format!("{place}: {key}");
        }
        self.problems.push(Problem { place, message });
    }

    fn set(
        &mut self,
        key: &Key,
        place: Range<usize>,
        value: &DeValue<'_>,
        settings: &mut Settings,
    ) {
        let origin = Origin::File { path: Arc::clone(&self.path), line: self.line(place.start) };
        let set = texts(value).and_then(|texts| {
            let texts: Vec<_> = texts.iter().map(String::as_str).collect();
            settings.set(key.field, &texts, origin)
        });
        if let Err(message) = set {
            self.complain(Some(place), Some(key.field), message);
        }
    }

    fn set_sites(&mut self, value: Spanned<DeValue<'_>>, settings: &mut Settings) {
        let place = value.span();
        let sites = ValueDeserializer::from(value.clone());
        let written = ValueDeserializer::from(value);
        match (Deserialize::deserialize(sites), Deserialize::deserialize(written)) {
            (Ok(configs), Ok(written)) => {
                settings.sites = SiteSettings { configs, written: Some(written) };
            }
            (Err(error), _) | (_, Err(error)) => {
                let place = error.span().unwrap_or(place);
                self.complain(Some(place), Some(SITES), error.message().to_owned());
            }
        }
    }

    fn refuse(&mut self, name: &str, place: Range<usize>) {
        let known: Vec<_> =
            KEYS.iter().map(|key| key.field).chain([SITES]).map(str::to_owned).collect();
        let guess = guess(&name.replace('-', "_"), &known);
        let message = format!("is no key{guess}; `pagewire config` shows all of them");
        self.complain(Some(place), Some(name), message);
    }
}

/// A value as the text that a flag would have.
fn texts(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    Ok(match value {
        DeValue::String(text) => vec![text.to_string()],
        DeValue::Boolean(is_on) => vec![is_on.to_string()],
        DeValue::Integer(number) => {
            let value = i64::from_str_radix(number.as_str(), number.radix());
            vec![value.map_or_else(|_| number.to_string(), |value| value.to_string())]
        }
        DeValue::Array(values) => {
            let mut all = Vec::new();
            for value in values {
                if value.get_ref().is_array() {
                    return Err("must not have a list within a list".to_owned());
                }
                all.extend(texts(value.get_ref())?);
            }
            all
        }
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Table(_) => {
            return Err(format!("cannot be a {}", value.type_str()));
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Sources;

    fn problems(text: &str) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.toml");
        std::fs::write(&path, text).unwrap();
        let read = Sources { file: Some(path), ..Sources::default() }.read();
        let prefix = format!("{}/", directory.path().display());
        read.err()
            .unwrap_or_default()
            .iter()
            .map(|it| it.to_string().replace(&prefix, ""))
            .collect()
    }

    #[test]
    fn what_is_wrong_is_told_with_file_line_key_and_fix() {
        let text = "\
port = 80
head_timout = \"3s\"
head-timeout = \"3s\"

busy = \"yes\"
listen = [\"127.0.0.1:80\", \"here\"]
idle_timeout = 5
connections = 1.5
root = [\"a\", \"b\"]
cores = [\"0\", [\"1\"]]
";
        let shows = "; `pagewire config` shows all of them";
        assert_eq!(problems(text), [
            format!("a.toml:2: head_timout: is no key; did you mean `head_timeout`?{shows}"),
            format!("a.toml:3: head-timeout: is no key; did you mean `head_timeout`?{shows}"),
            "a.toml:5: busy: must be true or false".into(),
            "a.toml:6: listen: `here` is not an address with a port, such as 192.0.2.1:80 or \
             [::1]:8080"
                .into(),
            "a.toml:7: idle_timeout: time unit needed, for example 5sec or 5ms; write a time with \
             its unit, such as 30s or 500ms"
                .into(),
            "a.toml:8: connections: cannot be a float".into(),
            "a.toml:9: root: takes a single value, not a list".into(),
            "a.toml:10: cores: must not have a list within a list".into(),
        ]);
    }

    #[test]
    fn what_is_no_toml_is_told_with_its_line() {
        let found = problems("port = 80\nbusy = \n");
        assert!(found[0].starts_with("a.toml:2: this is not TOML"), "{found:?}");
        let found = problems("port = 80\nport = 81\n");
        assert!(found[0].starts_with("a.toml:2: "), "{found:?}");
    }

    #[test]
    fn what_is_wrong_with_a_site_is_told_with_its_line() {
        let text = "\
port = 80

[[site]]
names = [\"a.example\"]
root = \"/srv/a\"

[[site.rule]]
path = \"/x/\"
lisstting = true
";
        let found = problems(text);
        assert!(
            found.len() == 1 && found[0].starts_with("a.toml:9: site: unknown field"),
            "{found:?}"
        );
        let found = problems("[[site]]\nnames = [\"a.example\"]\n");
        assert!(
            found.len() == 1 && found[0].starts_with("a.toml:1: site: missing field"),
            "{found:?}"
        );
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd_to_be_told_about(noise in "(\\PC|\n){0,200}", at in 0..200usize, len in 0..8usize) {
            problems(&noise);
            // A good file with a few bytes replaced.
            let good = "port = 80\nlisten = [\"[::1]:1\"]\nidle_timeout = \"3s\"\ncores = \"0-1\"\n\
                        [[site]]\nroot = \"/a\"\n[[site.rule]]\npath = \"/x/\"\nlisting = true\n";
            let at = at.min(good.len() - len);
            let noise: String = noise.chars().take(len).collect();
            problems(&format!("{}{noise}{}", &good[..at], &good[at + len..]));
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let read = Sources { file: Some("/nonesuch/a.toml".into()), ..Sources::default() }.read();
        let problem = read.unwrap_err().remove(0).to_string();
        assert!(problem.starts_with("/nonesuch/a.toml: No such file"), "{problem}");
    }
}
