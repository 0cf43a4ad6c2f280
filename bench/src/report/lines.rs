//! A plot of lines over a logarithmic axis, as inline SVG.

use std::fmt::Write;

use super::{input::number, page::escape};

/// The drawing's size and margins.
const SIZE: (f64, f64) = (520.0, 290.0);
const LEFT: f64 = 52.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 44.0;

/// A line.
#[derive(Clone, Debug)]
pub struct Line {
    /// A CSS colour.
    pub colour: &'static str,
    /// Its points, from left to right.
    pub points: Vec<(f64, f64)>,
}

/// Lines over the logarithm of x, from zero up.
pub fn lines(all: &[Line], x_name: &str, y_name: &str) -> String {
    let points = || all.iter().flat_map(|line| &line.points);
    let xs = points().map(|point| point.0.ln());
    let (least, most) = xs.fold((f64::MAX, f64::MIN), |(a, b), x| (a.min(x), b.max(x)));
    let step = tick(points().map(|point| point.1).fold(0.0, f64::max) / 4.0);
    let top = (points().map(|point| point.1).fold(0.0, f64::max) / step).ceil() * step;
    let x_at =
        |x: f64| LEFT + (x.ln() - least) / (most - least).max(1e-9) * (SIZE.0 - LEFT - RIGHT);
    let y_at = |y: f64| SIZE.1 - BOTTOM - y / top.max(1e-9) * (SIZE.1 - TOP - BOTTOM);
    let mut text =
        format!("<svg class=\"plot\" viewBox=\"0 0 {} {}\" role=\"img\">", SIZE.0, SIZE.1);
    let mut y = 0.0;
    while y <= top * 1.001 {
        let at = y_at(y);
        let _ = write!(
            text,
            "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"var(--line)\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            SIZE.0 - RIGHT,
            LEFT - 6.0,
            at + 5.0,
            round(y),
        );
        y += step;
    }
    let mut marks: Vec<f64> = points().map(|point| point.0).collect();
    marks.sort_by(f64::total_cmp);
    marks.dedup();
    for x in marks {
        let anchor = if x_at(x) > SIZE.0 - 40.0 { "end" } else { "middle" };
        let _ = write!(
            text,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"{anchor}\">{}</text>",
            x_at(x),
            SIZE.1 - BOTTOM + 18.0,
            round(x)
        );
    }
    for line in all {
        let path: Vec<_> =
            line.points.iter().map(|(x, y)| format!("{:.1},{:.1}", x_at(*x), y_at(*y))).collect();
        let colour = line.colour;
        let _ = write!(
            text,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2.5\"/>",
            path.join(" ")
        );
        for (x, y) in &line.points {
            let _ = write!(
                text,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\" fill=\"{colour}\"/>",
                x_at(*x),
                y_at(*y)
            );
        }
    }
    let _ = writeln!(
        text,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text><text x=\"4\" y=\"15\">{}</text></svg>",
        SIZE.0 - RIGHT,
        SIZE.1 - 6.0,
        escape(x_name),
        escape(y_name)
    );
    text
}

/// A number without zeros behind its point.
fn round(value: f64) -> String {
    let text = number(value);
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// The round number, 1, 2 or 5 times a power of ten, that is not below `least`.
fn tick(least: f64) -> f64 {
    if least <= 0.0 || !least.is_finite() {
        return 1.0;
    }
    let power = 10_f64.powf(least.log10().floor());
    let round = [1.0, 2.0, 5.0, 10.0].into_iter().find(|round| round * power >= least * 0.999);
    round.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_no_idle_zeros() {
        let texts = [0.0, 0.5, 5.0, 64.0, 100.0, 10_000.0].map(round);
        assert_eq!(texts, ["0", "0.5", "5", "64", "100", "10,000"]);
    }

    #[test]
    fn ticks_are_round() {
        for (least, round) in
            [(0.9, 1.0), (1.1, 2.0), (3.0, 5.0), (0.07, 0.1), (700.0, 1000.0), (0.0, 1.0)]
        {
            assert!((tick(least) - round).abs() < 1e-9, "{least}: {}", tick(least));
        }
    }

    #[test]
    fn a_plot_has_a_line_and_a_number_for_each_point() {
        let line =
            Line { colour: "red", points: vec![(64.0, 1.0), (1024.0, 2.0), (10_000.0, 3.0)] };
        let text = lines(&[line], "connections", "µs");
        assert!(text.contains("10,000") && text.matches("<circle").count() == 3, "{text}");
        assert!(!text.contains("NaN"), "{text}");
    }
}
