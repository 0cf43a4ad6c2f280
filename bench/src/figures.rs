//! Measured figures, and their form on disk: a JSON array of `{name, value, unit}`.

use std::{fs, path::PathBuf};

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

/// The option of every measurement to keep its figures.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Json {
    /// Also write the figures to this file, as a JSON array of {name, value, unit}
    #[arg(long = "json", value_name = "PATH")]
    path: Option<PathBuf>,
}

impl Json {
    /// Writes `figures` to the file, if there is to be one.
    pub fn write(&self, figures: &[Figure]) -> Result<(), BenchError> {
        let Some(path) = &self.path else { return Ok(()) };
        let array: Vec<Value> = figures
            .iter()
            .map(|Figure { name, value, unit }| json!({ "name": name, "value": value, "unit": unit }))
            .collect();
        let failed = |source| BenchError::File { path: path.clone(), source };
        fs::write(path, format!("{:#}\n", Value::Array(array))).map_err(failed)
    }
}
