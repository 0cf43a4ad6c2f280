//! Measured figures, and their form on disk: a JSON array of `{name, value, unit}`.

use std::{fs, io, path::Path};

use serde_json::{Value, json};

/// One measured figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// What was measured: words from the general to the particular, separated by slashes.
    pub name: String,
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: &'static str,
}

/// Writes `figures` to `path`.
pub fn write_json(path: &Path, figures: &[Figure]) -> io::Result<()> {
    let array: Vec<Value> = figures
        .iter()
        .map(|Figure { name, value, unit }| json!({ "name": name, "value": value, "unit": unit }))
        .collect();
    fs::write(path, serde_json::to_string_pretty(&array)? + "\n")
}
