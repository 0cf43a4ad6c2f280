//! Values as they are read and written.

use super::*;

#[test]
fn lists_are_numbers_and_ranges() {
    let list = |text| parse_list(text).map(|list| list.0).ok();
    assert_eq!(list("0"), Some(vec![0]));
    assert_eq!(list("0-3"), Some(vec![0, 1, 2, 3]));
    assert_eq!(list("2,0-1"), Some(vec![2, 0, 1]));
    for text in ["", "a", "3-1", "0,0", "0-", "-1", "0-2,1", "0-99999999999", "0-1024", "0 1"] {
        assert_eq!(list(text), None, "{text:?}");
    }
}

#[test]
fn prefixes_are_addresses_with_a_length() {
    let text = |text| parse_prefix(text).map(|prefix| (prefix.address(), prefix.length())).ok();
    assert_eq!(text("10.77.0.1/24"), Some(([10, 77, 0, 1].into(), 24)));
    assert_eq!(text("fd77::1/64"), Some(("fd77::1".parse().unwrap(), 64)));
    for bad in ["10.77.0.1", "10.77.0.1/33", "10.77.0.1/x", "0.0.0.0/0", "ff02::1/8", "::1/128"] {
        assert_eq!(text(bad), None, "{bad}");
    }
}

#[test]
fn times_have_units() {
    assert_eq!(Timeout::read(&["1m30s"]), Ok(Time(Duration::from_secs(90))));
    for bad in ["", "10", "1ms", "25h", "-1s", "soon"] {
        assert!(Timeout::read(&[bad]).is_err(), "{bad}");
    }
}

#[test]
fn amounts_of_bytes_may_have_units() {
    type Any = Bytes<16, { 1 << 40 }>;
    let read = |text| Any::read(&[text]).map(|bytes| bytes.0).ok();
    assert_eq!(read("4096"), Some(4096));
    assert_eq!(read("64MiB"), Some(64 << 20));
    assert_eq!(read("1 TiB"), Some(1 << 40));
    for bad in ["", "15", "MiB", "1.5GiB", "2TiB", "-1", "64MB", "99999999999999999999TiB"] {
        assert_eq!(read(bad), None, "{bad}");
    }
}

/// What is written is read as the same.
fn round<T: Value>(value: &T) {
    let written = value.write().map(|value| match value {
        toml::Value::String(text) => vec![text],
        toml::Value::Array(values) => {
            values.iter().map(|value| value.as_str().unwrap().to_owned()).collect()
        }
        other => vec![other.to_string()],
    });
    let texts = written.unwrap_or_default();
    let texts: Vec<_> = texts.iter().map(String::as_str).collect();
    assert_eq!(T::read(&texts).as_ref(), Ok(value), "{texts:?}");
}

#[test]
fn what_is_written_is_read_as_the_same() {
    round(&true);
    round(&Number::<0, 9>(7));
    for bytes in [0, 1023, 1024, 1 << 20, (1 << 20) + 1] {
        round(&Bytes::<0, { 1 << 40 }>(bytes));
    }
    for millis in [100, 1500, 90_000, 86_400_000] {
        round::<Timeout>(&Time(Duration::from_millis(millis)));
    }
    round(&Some(NumberList(vec![2, 0, 1])));
    round(&None::<String>);
    round(&PathBuf::from("/a b/\"c\""));
    round(&vec![parse_prefix("fd77::1/64").unwrap(), parse_prefix("10.0.0.1/8").unwrap()]);
    round(&Vec::<SocketAddr>::new());
}
