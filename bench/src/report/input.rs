//! Figures read back.

use std::{fs, io, path::Path};

use serde_json::Value;

/// A figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Words from the general to the particular.
    pub path: Vec<String>,
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: String,
}

/// All figures, in the order in which they were written.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    entries: Vec<Entry>,
}

impl Figures {
    /// Adds those of a file.
    pub fn read(&mut self, path: &Path) -> io::Result<()> {
        self.parse(&fs::read_to_string(path)?)
    }

    /// Adds those of a text.
    pub fn parse(&mut self, text: &str) -> io::Result<()> {
        let no_figures = || io::Error::other("it holds no array of {name, value, unit}");
        let Value::Array(all) = serde_json::from_str(text).map_err(|_| no_figures())? else {
            return Err(no_figures());
        };
        for one in all {
            let name = one["name"].as_str().ok_or_else(no_figures)?;
            // Null stands for what was no number.
            let value = one["value"].as_f64().unwrap_or(f64::NAN);
            let unit = one["unit"].as_str().unwrap_or_default().to_owned();
            let path = name.split('/').map(str::to_owned).collect();
            self.entries.push(Entry { path, value, unit });
        }
        Ok(())
    }

    /// Those whose names begin with these words.
    pub fn under<'a>(&'a self, words: &[&str]) -> Vec<&'a Entry> {
        let begins = |entry: &&Entry| {
            entry.path.len() > words.len() && words.iter().zip(&entry.path).all(|(a, b)| a == b)
        };
        self.entries.iter().filter(begins).collect()
    }

    /// The words that follow these in names, each once, in order of appearance.
    pub fn next<'a>(&'a self, words: &[&str]) -> Vec<&'a str> {
        let mut found = Vec::new();
        for entry in self.under(words) {
            let word = entry.path[words.len()].as_str();
            if !found.contains(&word) {
                found.push(word);
            }
        }
        found
    }

    /// The value with this name.
    pub fn value(&self, words: &[&str]) -> Option<f64> {
        let is_it = |entry: &&Entry| entry.path.iter().eq(words.iter());
        self.entries.iter().find(is_it).map(|entry| entry.value)
    }
}

/// A number with three digits, or with its thousands told apart.
pub fn number(value: f64) -> String {
    match value.abs() {
        _ if !value.is_finite() => "–".to_owned(),
        0.0 => "0".to_owned(),
        ..0.1 => format!("{value:.3}"),
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        _ => thousands(&format!("{value:.0}")),
    }
}

fn thousands(digits: &str) -> String {
    let mut text = String::new();
    for (index, digit) in digits.char_indices() {
        let behind = digits.len() - index;
        if index > 0 && behind.is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_by_their_words() {
        let mut figures = Figures::default();
        let text =
            r#"[{"name":"a/b/c","value":1.5,"unit":"x"},{"name":"a/d/c","value":null,"unit":""}]"#;
        figures.parse(text).unwrap();
        assert_eq!(figures.next(&["a"]), ["b", "d"]);
        assert_eq!(figures.value(&["a", "b", "c"]), Some(1.5));
        assert!(figures.value(&["a", "d", "c"]).unwrap().is_nan());
        assert_eq!(figures.under(&["a", "b"]).len(), 1);
        assert!(figures.parse("{}").is_err() && figures.parse("[1]").is_err());
    }

    #[test]
    fn numbers_are_short_and_large_ones_are_grouped() {
        let texts = [0.0, 0.05, 1.234, 45.67, 123.4, 1_234_567.0, -1234.0, f64::NAN].map(number);
        assert_eq!(texts, ["0", "0.050", "1.23", "45.7", "123", "1,234,567", "-1,234", "–"]);
    }
}
