//! The book under `docs/` says what is true: its pages and links exist, its commands take the flags that it
//! gives them, and its configurations can be read.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use pagewire::settings::{KEYS, Key, Sources};

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/src")
}

/// All pages, with their paths below the source folder.
fn pages() -> Vec<(String, String)> {
    let mut pages = Vec::new();
    for folder in [source(), source().join("tools")] {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "md") {
                let name = path.strip_prefix(source()).unwrap().to_string_lossy().into_owned();
                pages.push((name, fs::read_to_string(path).unwrap()));
            }
        }
    }
    pages
}

/// What stands between `](` and `)`, but for addresses elsewhere.
fn links(page: &str) -> impl Iterator<Item = &str> {
    let targets = page.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target).filter(|target| !target.contains("://"))
}

/// The blocks of code in this language.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let begin = format!("```{language}\n");
    page.split(&begin).skip(1).filter_map(|rest| Some(rest.split_once("```")?.0)).collect()
}

#[test]
fn every_page_is_in_the_summary_and_every_link_leads_somewhere() {
    let pages = pages();
    let summary = &pages.iter().find(|(name, _)| name == "SUMMARY.md").unwrap().1;
    let listed: BTreeSet<&str> = links(summary).collect();
    for (name, page) in &pages {
        assert!(name == "SUMMARY.md" || listed.contains(name.as_str()), "{name} is not listed");
        let folder = source().join(name).parent().unwrap().to_owned();
        for link in links(page) {
            let file = link.split('#').next().unwrap();
            assert!(folder.join(file).exists(), "{name}: there is no {link}");
        }
    }
}

/// The words of a command before its first flag, and its flags.
fn parts(command: &str) -> (Vec<&str>, Vec<&str>) {
    let words = command.split('#').next().unwrap_or_default().split_whitespace();
    let words: Vec<&str> = words.take_while(|word| !word.starts_with('>')).collect();
    let flags = words.iter().filter(|word| word.starts_with("--") && word.len() > 2).copied();
    let flags = flags.map(|flag| flag.split('=').next().unwrap_or(flag)).collect();
    (words.iter().take_while(|word| !word.starts_with('-')).copied().collect(), flags)
}

/// Whether a command of ours takes what it is given.
fn check(command: &str) -> Result<(), String> {
    // `pw lab run SIDE -- COMMAND`
    let (command, inner) = command.split_once(" -- ").unwrap_or((command, ""));
    if !inner.is_empty() {
        check(inner)?;
    }
    let (words, flags) = parts(command);
    let known: String = match words.as_slice() {
        ["pagewire", ..] => {
            let mut known: Vec<String> = KEYS.iter().map(Key::flag).collect();
            known.extend(["config", "to"].map(str::to_owned));
            format!("--{}", known.join("\n--"))
        }
        ["pw", tool, rest @ ..] => {
            let mut help = Command::new(env!("CARGO_BIN_EXE_pw"));
            help.arg(tool).args(rest.first().filter(|_| *tool == "lab")).arg("--help");
            let output = help.output().unwrap();
            if !output.status.success() {
                return Err(String::from_utf8_lossy(&output.stderr).into_owned());
            }
            String::from_utf8_lossy(&output.stdout).into_owned()
        }
        _ => return Ok(()),
    };
    let is_known = |flag: &str| {
        known.split(|c: char| c.is_whitespace() || "=,[<".contains(c)).any(|word| word == flag)
    };
    match flags.into_iter().find(|flag| !is_known(flag)) {
        Some(flag) => Err(format!("`{command}` does not take {flag}")),
        None => Ok(()),
    }
}

#[test]
fn commands_take_the_flags_that_the_book_gives_them() {
    let mut checked = 0;
    for (name, page) in pages() {
        for line in blocks(&page, "sh").into_iter().flat_map(str::lines) {
            check(line.trim()).unwrap_or_else(|error| panic!("{name}: {line}: {error}"));
            checked += 1;
        }
    }
    assert!(checked > 30, "{checked}");
    assert!(check("pw doctor eth1 --nonsense").is_err());
    assert!(check("pagewire serve / --nonsense").is_err());
    assert!(check("pw nonsense").is_err());
}

#[test]
fn configurations_in_the_book_can_be_read() {
    let mut read = 0;
    for (name, page) in pages() {
        for block in blocks(&page, "toml") {
            let file = tempfile::NamedTempFile::new().unwrap();
            fs::write(file.path(), block).unwrap();
            let sources = Sources { file: Some(file.path().to_owned()), ..Sources::default() };
            let settings = sources.read();
            assert!(settings.is_ok(), "{name}: {:?}", settings.err());
            read += 1;
        }
    }
    assert!(read > 0);
}
