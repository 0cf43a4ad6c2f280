//! What the user stack costs beyond the raw exchange of its frames, stage by stage: where the limit lies.

use std::fmt::Write;

/// Stages in which the kernel does what veth needs, or lets a core sleep and wakes it. With no stack at all
/// they are there as well.
pub const KERNEL: [&str; 5] = [
    "receive: kernel thread",
    "transmit: kick",
    "other kernel work",
    "interrupts",
    "sleep and wake",
];

/// How many of the largest stages a sentence names.
const NAMED: usize = 4;

/// A stage on both sides, in microseconds a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its name.
    pub stage: String,
    /// With the user stack.
    pub user_us: f64,
    /// In the raw exchange.
    pub raw_us: f64,
}

/// Both sides of a cell.
#[derive(Clone, Debug, PartialEq)]
pub struct Limit {
    /// The stages, the largest first.
    pub rows: Vec<Row>,
}

impl Limit {
    /// Of stages and what they cost. Nothing if one side has none.
    pub fn of<'a>(
        user: impl IntoIterator<Item = (&'a str, f64)>,
        raw: impl IntoIterator<Item = (&'a str, f64)>,
    ) -> Option<Self> {
        let mut rows: Vec<Row> = Vec::new();
        let mut row = |stage: &str| {
            rows.iter().position(|row| row.stage == stage).unwrap_or_else(|| {
                rows.push(Row { stage: stage.to_owned(), user_us: 0.0, raw_us: 0.0 });
                rows.len() - 1
            })
        };
        let user: Vec<_> = user.into_iter().map(|(stage, cost)| (row(stage), cost)).collect();
        let raw: Vec<_> = raw.into_iter().map(|(stage, cost)| (row(stage), cost)).collect();
        for (at, cost) in user {
            rows[at].user_us += cost;
        }
        for (at, cost) in raw {
            rows[at].raw_us += cost;
        }
        rows.sort_by(|one, other| {
            let larger = |row: &Row| row.user_us.max(row.raw_us);
            larger(other).total_cmp(&larger(one))
        });
        let limit = Self { rows };
        let (user, raw) = limit.sums(|_| true);
        (user > 0.0 && raw > 0.0).then_some(limit)
    }

    /// The sums of some stages on both sides.
    pub fn sums(&self, is_meant: impl Fn(&str) -> bool) -> (f64, f64) {
        let meant = self.rows.iter().filter(|row| is_meant(&row.stage));
        meant.fold((0.0, 0.0), |(user, raw), row| (user + row.user_us, raw + row.raw_us))
    }

    /// What is done outside the kernel: rings, TCP, HTTP, copies.
    pub fn own(&self) -> (f64, f64) {
        self.sums(|stage| !KERNEL.contains(&stage))
    }

    /// Where the limit lies, if the user stack should cost at most `goal` times what the raw exchange does.
    pub fn sentence(&self, goal: f64) -> String {
        let (user, raw) = self.sums(|_| true);
        let (user_kernel, raw_kernel) = self.sums(|stage| KERNEL.contains(&stage));
        let (own, _) = self.own();
        let left = goal * raw - user_kernel;
        let mut text = format!(
            "The kernel's part costs {user_kernel:.2} µs a request, and {raw_kernel:.2} in the raw exchange; "
        );
        let goal_us = goal * raw;
        // Writing to a string cannot fail.
        let _ = if left > 0.0 {
            write!(
                text,
                "of {goal:.2} × raw ({goal_us:.2} µs) that leaves {left:.2} µs for rings, TCP, HTTP and \
                 copies. They take {own:.2}"
            )
        } else {
            write!(
                text,
                "that is more than {goal:.2} × raw ({goal_us:.2} µs) by itself. Rings, TCP, HTTP and copies \
                 take {own:.2}"
            )
        };
        let mut ours: Vec<_> =
            self.rows.iter().filter(|row| !KERNEL.contains(&row.stage.as_str())).collect();
        ours.sort_by(|one, other| other.user_us.total_cmp(&one.user_us));
        let largest: Vec<_> = ours
            .iter()
            .take(NAMED)
            .map(|row| format!("{} {:.2}", row.stage, row.user_us))
            .collect();
        let _ = write!(text, ": {}", largest.join(", "));
        let _ = write!(text, ". In all {user:.2} against {raw:.2} µs, {:.2} times.", user / raw);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit() -> Limit {
        let user = [("transmit: kick", 0.6), ("HTTP", 0.3), ("gather", 0.1), ("parse", 0.2)];
        let raw = [("transmit: kick", 0.7), ("gather", 0.1)];
        Limit::of(user, raw).unwrap()
    }

    #[test]
    fn both_sides_of_a_stage_stand_in_one_row_and_add_up() {
        let limit = limit();
        assert_eq!(limit.rows[0].stage, "transmit: kick");
        assert_eq!((limit.rows[0].user_us, limit.rows[0].raw_us), (0.6, 0.7));
        let (user, raw) = limit.sums(|_| true);
        assert!((user - 1.2).abs() < 1e-9 && (raw - 0.8).abs() < 1e-9);
        let (own, own_raw) = limit.own();
        assert!((own - 0.6).abs() < 1e-9 && (own_raw - 0.1).abs() < 1e-9);
        assert_eq!(Limit::of([("HTTP", 1.0)], []), None);
    }

    #[test]
    fn the_sentence_says_what_is_left_and_what_is_taken() {
        let text = limit().sentence(1.25);
        assert!(text.contains("costs 0.60 µs a request, and 0.70 in the raw exchange"), "{text}");
        assert!(
            text.contains("leaves 0.40 µs") && text.contains("They take 0.60: HTTP 0.30"),
            "{text}"
        );
        assert!(text.contains("1.20 against 0.80 µs, 1.50 times"), "{text}");
        let text = limit().sentence(0.5);
        assert!(text.contains("more than 0.50 × raw (0.40 µs) by itself"), "{text}");
    }
}
