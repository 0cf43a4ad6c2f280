//! Numbers for people.

use std::time::Duration;

use indicatif::HumanCount;

/// `1,234,567`.
pub(super) fn count(number: u64) -> String {
    HumanCount(number).to_string()
}

/// `1,234/s`, or `0.50/s`.
pub(super) fn per_second(rate: f64) -> String {
    if rate < 10.0 {
        return format!("{rate:.2}/s");
    }
    #[expect(clippy::cast_sign_loss, reason = "it is at least 10")]
    let whole = rate.round() as u64;
    format!("{}/s", count(whole))
}

/// `123 µs`: three digits, and a unit that suits.
pub(super) fn time(time: Duration) -> String {
    let nanos = time.as_nanos() as f64;
    let (value, unit) = match nanos {
        _ if nanos < 1e3 => return format!("{nanos:.0} ns"),
        _ if nanos < 999.5e3 => (nanos / 1e3, "µs"),
        _ if nanos < 999.5e6 => (nanos / 1e6, "ms"),
        _ => (nanos / 1e9, "s"),
    };
    let decimals = match value {
        _ if value < 9.995 => 2,
        _ if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {unit}")
}

/// `1.23 GB`, in steps of 1,000.
pub(super) fn size(bytes: f64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let (mut value, mut unit) = (bytes, 0);
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1e3;
        unit += 1;
    }
    let decimals = usize::from(unit > 0 && value < 99.95);
    format!("{value:.decimals$} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits_and_a_unit() {
        for (nanos, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_234, "1.23 µs"),
            (123_456, "123 µs"),
            (999_700, "1.00 ms"),
            (12_345_678, "12.3 ms"),
            (5_000_000_000, "5.00 s"),
        ] {
            assert_eq!(time(Duration::from_nanos(nanos)), text);
        }
    }

    #[test]
    fn rates_and_sizes_are_short() {
        assert_eq!(per_second(0.5), "0.50/s");
        assert_eq!(per_second(234_567.4), "234,567/s");
        assert_eq!(size(0.0), "0 B");
        assert_eq!(size(1_234_567.0), "1.2 MB");
        assert_eq!(size(123_456_789.0), "123 MB");
    }
}
