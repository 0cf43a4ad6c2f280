//! Horizontal bars: HTML for the words, so that they stay readable on a phone, and SVG for the bars.

use std::fmt::Write;

use super::page::escape;

/// Width of a bar's drawing, in its own units: it is stretched to the place there is.
const WIDTH: f64 = 1000.0;

/// A part of a bar.
#[derive(Clone, Debug)]
pub struct Part {
    /// How much.
    pub value: f64,
    /// A CSS colour.
    pub colour: String,
}

/// A bar.
#[derive(Clone, Debug, Default)]
pub struct Bar {
    /// What it is.
    pub label: String,
    /// What it is made of, from the left.
    pub parts: Vec<Part>,
    /// The text behind it.
    pub text: String,
    /// An interval around its end.
    pub interval: Option<(f64, f64)>,
    /// Where it should end, at most.
    pub goal: Option<f64>,
}

/// A group of bars under a title; an empty one is not shown.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// The title.
    pub title: String,
    /// The bars.
    pub bars: Vec<Bar>,
}

/// Groups of bars to one scale, whose right end is `most`, or the longest bar.
pub fn bars(groups: &[Group], most: Option<f64>) -> String {
    let all = groups.iter().flat_map(|group| &group.bars);
    let longest = all.map(length).fold(0.0, f64::max);
    let most = most.unwrap_or(longest).max(f64::MIN_POSITIVE);
    let mut text = String::from("<div class=\"bars\">\n");
    for group in groups {
        if !group.title.is_empty() {
            let _ = writeln!(text, "<div class=\"group\">{}</div>", escape(&group.title));
        }
        for bar in &group.bars {
            let _ = writeln!(
                text,
                "<div class=\"bar\"><div class=\"label\">{}</div>{}<div class=\"value\">{}</div></div>",
                escape(&bar.label),
                drawing(bar, most),
                escape(&bar.text),
            );
        }
    }
    text + "</div>\n"
}

fn length(bar: &Bar) -> f64 {
    bar.parts.iter().map(|part| part.value).filter(|value| value.is_finite()).sum()
}

fn drawing(bar: &Bar, most: f64) -> String {
    let at = |value: f64| (value / most * WIDTH).clamp(0.0, WIDTH);
    let mut text = format!(
        "<svg viewBox=\"0 0 {WIDTH} 20\" preserveAspectRatio=\"none\" aria-hidden=\"true\">"
    );
    let mut start = 0.0;
    for part in bar.parts.iter().filter(|part| part.value.is_finite() && part.value > 0.0) {
        let end = start + part.value;
        let (x, width) = (at(start), at(end) - at(start));
        let colour = &part.colour;
        let _ = write!(
            text,
            "<rect x=\"{x:.1}\" y=\"3\" width=\"{width:.1}\" height=\"14\" fill=\"{colour}\"/>"
        );
        start = end;
    }
    let mut line = |x: f64, from: f64, to: f64, colour: &str, width: f64| {
        let _ = write!(
            text,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{from}\" y2=\"{to}\" stroke=\"{colour}\" \
             stroke-width=\"{width}\" vector-effect=\"non-scaling-stroke\"/>"
        );
    };
    if let Some(goal) = bar.goal {
        line(at(goal), 0.0, 20.0, "var(--goal)", 2.0);
    }
    if let Some((low, high)) = bar.interval {
        line(at(low), 6.0, 14.0, "var(--goal)", 1.0);
        line(at(high), 6.0, 14.0, "var(--goal)", 1.0);
        let (low, high) = (at(low), at(high));
        let _ = write!(
            text,
            "<line x1=\"{low:.1}\" x2=\"{high:.1}\" y1=\"10\" y2=\"10\" stroke=\"var(--goal)\" \
             vector-effect=\"non-scaling-stroke\"/>"
        );
    }
    text + "</svg>"
}

/// What colours mean.
pub fn legend(entries: &[(&str, &str)]) -> String {
    let entry = |(name, colour): &(&str, &str)| {
        format!("<span><i style=\"background:{colour}\"></i>{}</span>", escape(name))
    };
    format!("<div class=\"legend\">{}</div>\n", entries.iter().map(entry).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_fills_the_place() {
        let part = |value| Part { value, colour: "red".to_owned() };
        let bar = |value| Bar { parts: vec![part(value)], ..Bar::default() };
        let text = bars(&[Group { title: String::new(), bars: vec![bar(1.0), bar(4.0)] }], None);
        assert!(text.contains("width=\"250.0\"") && text.contains("width=\"1000.0\""), "{text}");
    }

    #[test]
    fn nothing_is_drawn_of_what_is_no_number() {
        let parts = vec![Part { value: f64::NAN, colour: "red".to_owned() }];
        let text = bars(
            &[Group { title: String::new(), bars: vec![Bar { parts, ..Bar::default() }] }],
            None,
        );
        assert!(!text.contains("<rect") && !text.contains("NaN"), "{text}");
    }
}
