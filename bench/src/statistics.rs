//! Medians, and how far they can be trusted after a few runs.

/// Quantiles of Student's t for two-sided 95 %, by degrees of freedom from 1.
const T_95: [f64; 15] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131,
];

/// A median, and the 95 % interval around it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The median.
    pub median: f64,
    /// Where the interval begins.
    pub low: f64,
    /// Where it ends.
    pub high: f64,
}

impl Estimate {
    /// The median of values above zero; what is no number is left out. The interval's half-width is Student's t of their logarithms,
    /// as the errors of times are relative ones. A single value has no interval; no value gives nothing.
    pub fn of(values: &[f64]) -> Option<Self> {
        let values: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
        let median = median(&values)?;
        let count = values.len() as f64;
        let logs: Vec<_> = values.iter().map(|value| value.max(f64::MIN_POSITIVE).ln()).collect();
        let mean = logs.iter().sum::<f64>() / count;
        let squares: f64 = logs.iter().map(|log| (log - mean).powi(2)).sum();
        let factor = match values.len() - 1 {
            0 => f64::INFINITY,
            free => (student(free) * (squares / free as f64 / count).sqrt()).exp(),
        };
        Some(Self { median, low: median / factor, high: median * factor })
    }

    /// Whether there is an interval at all.
    pub fn has_interval(&self) -> bool {
        self.high.is_finite()
    }
}

/// The middle of some values; what is no number is left out.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// Student's t for these degrees of freedom, at least one; beyond the table its last, which is more.
fn student(free: usize) -> f64 {
    T_95[free.min(T_95.len()) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-3 * b.abs()
    }

    #[test]
    fn a_median_is_the_middle_or_between_the_two_middles() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 9.0]), Some(3.0));
        assert_eq!(median(&[4.0, 1.0, 9.0, 2.0]), Some(3.0));
    }

    #[test]
    fn an_interval_is_as_wide_as_few_runs_make_it() {
        let e = std::f64::consts::E;
        // Logarithms 0 and 1: the deviation of their mean is 1/2, and t is 12.706.
        let two = Estimate::of(&[1.0, e]).unwrap();
        assert!(close(two.high / two.median, (12.706_f64 / 2.0).exp()), "{two:?}");
        assert!(close(two.median / two.low, two.high / two.median), "{two:?}");
        let four = Estimate::of(&[1.0, e, 1.0, e]).unwrap();
        // Their variance is 1/3, that of the mean 1/12.
        assert!(close(four.high / four.median, (3.182 / 12_f64.sqrt()).exp()), "{four:?}");
    }

    #[test]
    fn equal_values_leave_no_doubt_and_a_single_one_leaves_all() {
        let same = Estimate::of(&[2.0; 4]).unwrap();
        assert!(close(same.low, 2.0) && close(same.high, 2.0));
        let single = Estimate::of(&[2.0]).unwrap();
        assert!(!single.has_interval() && close(single.median, 2.0));
        assert_eq!(Estimate::of(&[]), None);
        assert_eq!(Estimate::of(&[f64::NAN]), None);
        let with_gap = Estimate::of(&[2.0, f64::NAN, 2.0]).unwrap();
        assert!(close(with_gap.high, 2.0), "{with_gap:?}");
    }
}
