//! Connections opened, used and closed, all at once: what memory they take, and what is left of it when
//! they are gone.

use super::{
    EngineError,
    keep_alive::{plain_load, resident_bytes},
};
use crate::figures::Figure;

/// Measures, twice over on the same stack.
pub fn measure(count: usize) -> Result<Vec<Figure>, EngineError> {
    let mut load = plain_load(count)?;
    // What the clients need, and what the stack has for any number of connections.
    load.close()?;
    load.rest();
    let before = resident_bytes()?;
    let (mut most, mut left) = (0, 0);
    for _ in 0..2 {
        load.reopen()?;
        load.warm_up()?;
        most = most.max(resident_bytes()?.saturating_sub(before));
        load.close()?;
        load.rest();
        left = left.max(resident_bytes()?.saturating_sub(before));
    }
    let figure = |what: &str, bytes: usize| {
        let name = format!("engine/come and go/{count} connections/{what}");
        Figure { name, value: bytes as f64 / count as f64, unit: "B/connection" }
    };
    Ok(vec![figure("used", most), figure("left", left)])
}
