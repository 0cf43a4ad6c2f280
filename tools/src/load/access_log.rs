//! Access logs in the common and combined formats of Apache and nginx.

use super::target::is_path;

/// What a line asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Line<'a> {
    /// A GET that was answered with the file: its path, query included.
    Path(&'a str),
    /// Another method or outcome, which a file server is not to be asked for again.
    Other,
    /// Not a line of such a log.
    Malformed,
}

/// Reads a line: `host ident user [time] "GET /path HTTP/1.1" status bytes …`.
pub(super) fn parse(line: &str) -> Line<'_> {
    let mut quoted = line.splitn(3, '"');
    let (Some(_), Some(request), Some(rest)) = (quoted.next(), quoted.next(), quoted.next()) else {
        return Line::Malformed;
    };
    let Some(status) = rest.split_ascii_whitespace().next().and_then(|it| it.parse::<u16>().ok())
    else {
        return Line::Malformed;
    };
    let mut words = request.split(' ');
    match (words.next(), words.next(), words.next(), words.next()) {
        (Some("GET"), Some(path), Some(_), None)
            if is_path(path) && matches!(status, 200 | 206 | 304) =>
        {
            Line::Path(path)
        }
        _ => Line::Other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn gets_that_were_answered_give_their_path() {
        let combined = r#"192.0.2.7 - - [10/Oct/2026:13:55:36 +0000] "GET /a/b%20c?d=e HTTP/1.1" 200 2326 "http://x/" "Mozilla/5.0 \"quoted\"""#;
        assert_eq!(parse(combined), Line::Path("/a/b%20c?d=e"));
        let common = r#"::1 - frank [10/Oct/2026:13:55:36 -0700] "GET / HTTP/1.0" 304 -"#;
        assert_eq!(parse(common), Line::Path("/"));
    }

    #[test]
    fn what_a_file_server_did_not_answer_is_left_out() {
        for line in [
            r#"a - - [t] "POST /form HTTP/1.1" 200 5"#,
            r#"a - - [t] "GET /gone HTTP/1.1" 404 5"#,
            r#"a - - [t] "GET http://elsewhere/ HTTP/1.1" 200 5"#,
            r#"a - - [t] "-" 400 0"#,
            r#"a - - [t] "\x16\x03\x01" 400 0"#,
        ] {
            assert_eq!(parse(line), Line::Other, "{line}");
        }
    }

    #[test]
    fn what_is_no_log_is_malformed() {
        for line in ["", "GET / HTTP/1.1", r#"a "GET / HTTP/1.1""#, r#"a "GET / HTTP/1.1" ok"#] {
            assert_eq!(parse(line), Line::Malformed, "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in ".*") {
            let _ = parse(&line);
        }
    }
}
