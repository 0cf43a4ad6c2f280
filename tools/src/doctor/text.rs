//! The findings as people read them.

use std::fmt::Write;

use super::finding::{Finding, Verdict};
use crate::quantity::several;

/// Columns of the text.
const WIDTH: usize = 80;
/// Columns before a finding's text.
const INDENT: usize = 6;

/// All that is not as it should be, worst first, or everything.
pub fn report(interface: &str, findings: &[Finding], all: bool, colour: bool) -> String {
    let mut text = String::new();
    let mut shown: Vec<&Finding> =
        findings.iter().filter(|finding| all || finding.verdict != Verdict::Good).collect();
    shown.sort_by_key(|finding| std::cmp::Reverse(finding.verdict));
    for finding in shown {
        one(&mut text, finding, colour);
    }
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let counted = |verdict, noun| several(count(verdict), noun);
    let (faults, warnings) =
        (counted(Verdict::Fault, "fault"), counted(Verdict::Warning, "warning"));
    let (notes, good) = (counted(Verdict::Note, "note"), count(Verdict::Good));
    // Writing to a string does not fail.
    let _ =
        writeln!(text, "{interface}: {faults}, {warnings}, {notes}; {good} looked at and right");
    let safe = findings.iter().filter_map(|finding| finding.fix.as_ref());
    if safe.clone().any(super::finding::Fix::is_safe) {
        let _ = writeln!(
            text,
            "+ is safe: --fix does it, --undo takes it back. $ is for you to decide."
        );
    }
    text
}

fn one(text: &mut String, finding: &Finding, colour: bool) {
    let mark = finding.verdict.mark();
    let mark = match (colour, finding.verdict) {
        (true, Verdict::Fault) => format!("\x1b[1;35m{mark}\x1b[0m"),
        (true, Verdict::Warning) => format!("\x1b[33m{mark}\x1b[0m"),
        (true, Verdict::Note) => format!("\x1b[36m{mark}\x1b[0m"),
        _ => mark.to_owned(),
    };
    let _ = writeln!(text, "{mark}  {:<20}{}", finding.check, finding.found);
    for line in wrapped(finding.reason, WIDTH - INDENT) {
        let _ = writeln!(text, "{:INDENT$}{line}", "");
    }
    for line in finding.fix.iter().flat_map(super::finding::Fix::lines) {
        let sign = match &finding.fix {
            Some(super::finding::Fix::Safe { .. }) => '+',
            Some(super::finding::Fix::Manual(_)) => '$',
            _ => '>',
        };
        let _ = writeln!(text, "{:INDENT$}{sign} {line}", "");
    }
}

/// Lines of at most `width` columns, broken between words.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::{
        super::finding::{Action, Fix},
        *,
    };

    #[test]
    fn the_worst_comes_first_and_what_is_good_only_if_asked_for() {
        let fix = Fix::safe(Action::run("ip link set dev eth1 up"), Action::run("true"));
        let findings = [
            Finding::good("mtu", "1500 bytes"),
            Finding::bad("hugepages", Verdict::Note, "none", "It is slower."),
            Finding::bad("link", Verdict::Fault, "it is down", "Nothing goes.").with(fix),
        ];
        let text = report("eth1", &findings, false, false);
        assert!(text.starts_with("FAIL  link"), "{text}");
        assert!(text.contains("+ ip link set dev eth1 up") && !text.contains("1500"), "{text}");
        assert!(
            text.contains("eth1: 1 fault, 0 warnings, 1 note; 1 looked at and right"),
            "{text}"
        );
        assert!(report("eth1", &findings, true, false).contains("ok    mtu"));
    }

    #[test]
    fn long_reasons_are_broken_between_words() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
    }
}
