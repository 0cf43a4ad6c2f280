//! The effective configuration as a commented file that can be read again.

use std::fmt::Write;

use super::{Effect, KEYS, Origin, Settings, file::SITES};

/// Columns of a comment.
const WIDTH: usize = 96;

/// The file that sets every key to what it is set to now.
pub fn print(settings: &Settings) -> String {
    let mut text = String::from(
        "# The configuration in effect. Every key has a flag (--head-timeout) and an environment\n\
         # variable (PAGEWIRE_HEAD_TIMEOUT) of its name; a flag beats the environment, and that beats the\n\
         # file. Keys marked (restart) take effect with a restart, all others with a reload (SIGHUP).\n",
    );
    let mut group = "";
    for key in KEYS {
        if key.group != group {
            group = key.group;
            let _ = write!(text, "\n# ---- {group}\n");
        }
        let (value, origin) = settings.written(key.field);
        let restart = if key.effect == Effect::AtStart { " (restart)" } else { "" };
        let origin = match origin {
            Origin::Default => String::new(),
            Origin::Flag => " Set by a flag.".to_owned(),
            Origin::Environment => format!(" Set by {}.", key.variable()),
            Origin::File { path, line } => format!(" Set in {}:{line}.", path.display()),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text);
        comment(&mut text, &format!("{}{restart}{origin}", key.help()));
        let _ = match value {
            Some(value) => writeln!(text, "{} = {value}", key.field),
            None if key.is_list => writeln!(text, "# {} = [\"{}\"]", key.field, key.placeholder),
            None => writeln!(text, "# {} = \"{}\"", key.field, key.placeholder),
        };
    }
    text.push_str("\n# ---- Sites, each with names and rules of its own\n\n");
    match &settings.sites.written {
        // What was read from a file can be written to one.
        Some(sites) => {
            let table = toml::Table::from_iter([(SITES.to_owned(), sites.clone())]);
            text.push_str(&toml::to_string(&table).unwrap_or_default());
        }
        None => text.push_str("# [[site]]\n# names = [\"example.com\"]\n# root = \"PATH\"\n"),
    }
    text
}

/// Writes `words` as a comment, broken at spaces.
fn comment(text: &mut String, words: &str) {
    text.push('#');
    let mut column = 1;
    for word in words.split_whitespace() {
        let width = word.chars().count() + 1;
        if column > 1 && column + width > WIDTH {
            text.push_str("\n#");
            column = 1;
        }
        text.push(' ');
        text.push_str(word);
        column += width;
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::{super::Sources, *};

    #[test]
    fn what_is_printed_is_read_as_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let read = |text: &str| {
            let path = directory.path().join("a.toml");
            std::fs::write(&path, text).unwrap();
            let settings = Sources { file: Some(path), ..Sources::default() }.read();
            settings.unwrap_or_else(|problems| panic!("{problems:?} in\n{text}"))
        };
        let text = "root = \"/srv/a \\\"b\\\"\"\nbusy = true\naddress = [\"10.0.0.1/8\", \"fd00::1/64\"]\n\
                    cores = \"3,0-1\"\ncache_bytes = \"1GiB\"\nsend_timeout = \"1m30s\"\n\
                    [[site]]\nnames = [\"a.example\"]\nroot = \"/a\"\n[[site.rule]]\npath = \"/x/\"\n\
                    headers = { x-a = \"b\" }\n[[site]]\nroot = \"/b\"\n";
        for text in ["", text] {
            let settings = read(text);
            let again = read(&print(&settings));
            for key in KEYS {
                let (first, second) = (settings.written(key.field).0, again.written(key.field).0);
                assert_eq!(first, second, "{}", key.field);
            }
            assert_eq!(settings.sites.configs, again.sites.configs);
            assert!(print(&settings).lines().all(|line| line.len() <= WIDTH));
        }
    }
}
