//! What every measurement is told alike.

use std::path::PathBuf;

use crate::{
    error::BenchError,
    figures::{self, Figure},
};

/// Options of every measurement.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Common {
    /// Less of it, in shorter runs
    #[arg(long)]
    pub quick: bool,

    /// Also write the figures to this file, as a JSON array of {name, value, unit}
    #[arg(long, value_name = "PATH")]
    json: Option<PathBuf>,
}

impl Common {
    /// Writes `figures` to the file, if there is to be one.
    pub fn write(&self, figures: &[Figure]) -> Result<(), BenchError> {
        self.json.as_ref().map_or(Ok(()), |path| figures::write(path, figures))
    }
}
