//! Numbers as people read them, in at most six characters.

/// A number with a decimal prefix: `999`, `1.23k`, `45.6M`.
pub fn count(value: f64) -> String {
    const UNITS: [&str; 6] = ["", "k", "M", "G", "T", "P"];
    scaled(value, 1_000.0, &UNITS)
}

/// Bytes with a binary prefix: `999`, `28.5K`, `1.0M`.
pub fn bytes(value: u64) -> String {
    const UNITS: [&str; 6] = ["", "K", "M", "G", "T", "P"];
    let (mut scaled, mut unit) = (value as f64, 0);
    while scaled >= 1_000.0 && unit + 1 < UNITS.len() {
        scaled /= 1_024.0;
        unit += 1;
    }
    if unit == 0 { value.to_string() } else { format!("{scaled:.1}{}", UNITS[unit]) }
}

/// A time: `85us`, `12.3ms`, `1.25s`, `2.1h`.
pub fn seconds(value: f64) -> String {
    match value {
        ..0.000_001 => "0".to_owned(),
        ..0.001 => format!("{:.0}us", value * 1e6),
        ..0.1 => format!("{:.1}ms", value * 1e3),
        ..1.0 => format!("{:.0}ms", value * 1e3),
        ..100.0 => format!("{value:.1}s"),
        ..6_000.0 => format!("{:.0}m", value / 60.0),
        ..360_000.0 => format!("{:.1}h", value / 3_600.0),
        _ => format!("{:.0}d", value / 86_400.0),
    }
}

fn scaled(value: f64, step: f64, units: &[&str]) -> String {
    let (mut scaled, mut unit) = (value, 0);
    // What would be rounded up to the next unit is told in that.
    while scaled >= step - 0.5 && unit + 1 < units.len() {
        scaled /= step;
        unit += 1;
    }
    let decimals = match scaled {
        _ if unit == 0 && (scaled.fract() == 0.0 || scaled >= 100.0) => 0,
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{scaled:.decimals$}{}", units[unit])
}

/// How many there are of something: `1 fault`, `2 faults`.
pub fn several(count: usize, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.25, "0.25"),
            (12.0, "12"),
            (999.0, "999"),
            (1_234.0, "1.23k"),
            (45_600.0, "45.6k"),
            (999_999.0, "1.00M"),
            (9.87e12, "9.87T"),
        ] {
            assert_eq!(count(value), text);
        }
        for (value, text) in [(0, "0"), (999, "999"), (29_200, "28.5K"), (1 << 20, "1.0M")] {
            assert_eq!(bytes(value), text);
        }
        for (value, text) in
            [(0.0, "0"), (0.000_085, "85us"), (0.0123, "12.3ms"), (0.5, "500ms"), (7_560.0, "2.1h")]
        {
            assert_eq!(seconds(value), text);
        }
    }

    #[test]
    fn things_are_one_or_several() {
        let counted = [0, 1, 2].map(|count| several(count, "fault"));
        assert_eq!(counted, ["0 faults", "1 fault", "2 faults"]);
    }

    #[test]
    fn no_number_is_longer_than_its_column() {
        let mut value = 0.000_000_1;
        while value < 1e15 {
            assert!(count(value).len() <= 6, "{}", count(value));
            assert!(seconds(value.min(1e8)).len() <= 6, "{}", seconds(value));
            value *= 1.07;
        }
        for bits in 0..50 {
            for value in [1 << bits, (1 << bits) + (1 << bits) / 3] {
                assert!(bytes(value).len() <= 6, "{}", bytes(value));
            }
        }
    }
}
