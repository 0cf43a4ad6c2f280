//! Packet scripts: what the user-level stack does, segment by segment, over both families.
//!
//! The format is told in `parse.rs`. `PAGEWIRE_SCRIPT=words` runs only cases whose name has these words.

#[path = "../common/mod.rs"]
mod common;
mod parse;
mod run;

use std::{fs, path::Path};

/// Runs all cases of a script.
fn script(name: &str) {
    let path = folder().join(format!("{name}.script"));
    let text = fs::read_to_string(&path).unwrap();
    let cases = parse::parse(&text).unwrap_or_else(|error| panic!("{name}.script: {error}"));
    let words = std::env::var("PAGEWIRE_SCRIPT").unwrap_or_default();
    let mut failures = Vec::new();
    for case in cases.iter().filter(|case| case.name.contains(&words)) {
        for is_ipv6 in [false, true] {
            if let Err(error) = run::run(case, is_ipv6) {
                failures.push(format!("{name}.script:{} \"{}\": {error}", case.line, case.name));
                break;
            }
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts"))
}

macro_rules! scripts {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                script(stringify!($name));
            }
        )*

        const SCRIPTS: &[&str] = &[$(stringify!($name)),*];
    };
}

scripts! {
    opening,
    connecting,
    cookies,
    data,
    expected,
    guard,
    resets,
    closing,
    time_wait,
    windows,
    icmp,
    frames,
    traps,
}

#[test]
fn no_script_is_left_out_and_no_two_cases_share_a_name() {
    let mut files: Vec<String> = fs::read_dir(folder())
        .unwrap()
        .filter_map(|entry| {
            entry.unwrap().file_name().to_str()?.strip_suffix(".script").map(String::from)
        })
        .collect();
    files.sort();
    let mut known = SCRIPTS.to_vec();
    known.sort_unstable();
    assert_eq!(files, known);
    let mut names: Vec<String> = Vec::new();
    for name in SCRIPTS {
        let text = fs::read_to_string(folder().join(format!("{name}.script"))).unwrap();
        names.extend(parse::parse(&text).unwrap().into_iter().map(|case| case.name));
    }
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
    assert!(count >= 120, "{count} cases");
}
