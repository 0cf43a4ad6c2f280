//! Measured figures, and their form on disk: a JSON array of `{name, value, unit}`.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::error::BenchError;

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

/// Writes `figures` to the file at `path`.
pub fn write(path: &Path, figures: &[Figure]) -> Result<(), BenchError> {
    let array: Vec<Value> = figures
        .iter()
        .map(|Figure { name, value, unit }| json!({ "name": name, "value": value, "unit": unit }))
        .collect();
    let failed = |source| BenchError::File { path: path.to_owned(), source };
    fs::write(path, format!("{:#}\n", Value::Array(array))).map_err(failed)
}
