//! What `ethtool` says, read from its text: not all of its answers come as JSON.

use super::super::facts::{Feature, Hash, Link, Queues, Rss};
use crate::system::{self, CommandError};

/// Fills in what the driver says about itself.
pub(super) fn look(interface: &str, link: &mut Link) -> Result<(), CommandError> {
    let ask = |question: &str| match system::run(&["ethtool", question, interface]) {
        // Most drivers do not answer all questions.
        Err(CommandError::Failed { .. }) => Ok(String::new()),
        answer => answer,
    };
    let driver = ask("-i")?;
    value(&driver, "driver").unwrap_or("unknown").clone_into(&mut link.driver);
    link.queues = queues(&ask("-l")?);
    link.ring = ring(&ask("-g")?);
    link.rss = rss(&ask("-x")?);
    link.features = features(&ask("-k")?);
    link.adaptive_coalescing = adaptive(&ask("-c")?);
    Ok(())
}

/// What stands behind `name:` in the first line that begins with it.
fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| Some(line.trim().strip_prefix(name)?.strip_prefix(':')?.trim()))
}

/// The halves of an answer that tells first what there could be, then what there is.
fn halves(text: &str) -> (&str, &str) {
    text.split_once("Current hardware settings").unwrap_or((text, ""))
}

fn queues(text: &str) -> Queues {
    let (most, current) = halves(text);
    let number = |text: &str, name: &str| -> u32 {
        value(text, name).and_then(|value| value.parse().ok()).unwrap_or(0)
    };
    let combined = |text: &str| number(text, "Combined");
    let both_ways = |text: &str| number(text, "RX").min(number(text, "TX")) + combined(text);
    if both_ways(current) == 0 {
        // It has one, and nothing to say about it.
        return Queues { receive: 1, transmit: 1, most: 1, combined: false };
    }
    Queues {
        receive: number(current, "RX") + combined(current),
        transmit: number(current, "TX") + combined(current),
        most: both_ways(most),
        combined: combined(most) > 0,
    }
}

fn ring(text: &str) -> Option<(u32, u32)> {
    let (most, current) = halves(text);
    Some((value(current, "RX")?.parse().ok()?, value(most, "RX")?.parse().ok()?))
}

/// The lines below the one that begins with `title`, up to the next title.
fn below<'a>(text: &'a str, title: &'a str) -> impl Iterator<Item = &'a str> {
    let lines = text.lines().skip_while(move |line| !line.starts_with(title)).skip(1);
    lines.take_while(|line| !line.starts_with("RSS"))
}

/// What comes in lines below titles:
///
/// ```text
/// RX flow hash indirection table for eth0 with 4 RX ring(s):
///     0:      0     1     2     3
/// RSS hash key:
/// 6d:5a:56:da
/// RSS hash function:
///     toeplitz: on
/// ```
fn rss(text: &str) -> Option<Rss> {
    if !text.contains("RSS") && !text.contains("indirection table") {
        return None;
    }
    let row = |line: &str| {
        let (index, row) = line.split_once(':')?;
        index.trim().parse::<u32>().ok()?;
        Some(row.split_whitespace().filter_map(|queue| queue.parse().ok()).collect::<Vec<u32>>())
    };
    let table = below(text, "RX flow hash indirection table").filter_map(row).flatten().collect();
    // Where there is none, the line says "Operation not supported".
    let key = |line: &str| {
        let bytes = line.trim().split(':').map(|byte| u8::from_str_radix(byte, 16));
        bytes.collect::<Result<Vec<_>, _>>().ok()
    };
    let key = below(text, "RSS hash key").next().and_then(key).unwrap_or_default();
    let is = |title, name, state| below(text, title).any(|line| value(line, name) == Some(state));
    let transformation = "RSS input transformation";
    let is_other =
        is("RSS hash function", "toeplitz", "off") || is(transformation, "symmetric-or-xor", "on");
    let symmetric = is(transformation, "symmetric-xor", "on");
    let hash = if is_other { Hash::Other } else { Hash::Toeplitz { symmetric } };
    Some(Rss { table, key, hash })
}

fn features(text: &str) -> Vec<Feature> {
    let feature = |line: &str| {
        let (name, state) = line.trim().split_once(": ")?;
        let mut words = state.split_whitespace();
        let is_on = match words.next()? {
            "on" => true,
            "off" => false,
            _ => return None,
        };
        let is_fixed = words.any(|word| word == "[fixed]");
        Some(Feature { name: name.to_owned(), is_on, is_fixed })
    };
    text.lines().filter_map(feature).collect()
}

fn adaptive(text: &str) -> Option<bool> {
    match value(text, "Adaptive RX")?.split_whitespace().next()? {
        "on" => Some(true),
        "off" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_for_both_directions_and_for_one_are_counted() {
        let text = "Channel parameters for eth0:\nPre-set maximums:\nRX:\t\tn/a\nTX:\t\tn/a\n\
                    Other:\t\t1\nCombined:\t63\nCurrent hardware settings:\nRX:\t\tn/a\nTX:\t\tn/a\n\
                    Other:\t\t1\nCombined:\t8\n";
        let expected = Queues { receive: 8, transmit: 8, most: 63, combined: true };
        assert_eq!(queues(text), expected);
        let text = "Pre-set maximums:\nRX:\t\t2\nTX:\t\t4\nCombined:\tn/a\n\
                    Current hardware settings:\nRX:\t\t1\nTX:\t\t2\nCombined:\tn/a\n";
        let expected = Queues { receive: 1, transmit: 2, most: 2, combined: false };
        assert_eq!(queues(text), expected);
        assert_eq!(queues("").receive, 1);
    }

    #[test]
    fn rings_are_read_with_what_they_could_be() {
        let text = "Ring parameters for eth0:\nPre-set maximums:\nRX:\t\t4096\nRX Mini:\tn/a\n\
                    TX:\t\t4096\nCurrent hardware settings:\nRX:\t\t512\nTX:\t\t512\n";
        assert_eq!(ring(text), Some((512, 4096)));
        assert_eq!(ring(""), None);
    }

    #[test]
    fn table_key_and_hash_are_read_as_far_as_the_driver_tells() {
        let table = "RX flow hash indirection table for eth0 with 4 RX ring(s):\n\
                     \x20   0:      0     1     2     3     0     1     2     3\n\
                     \x20   8:      0     1     2     3\n";
        let function = "RSS hash function:\n    toeplitz: on\n    xor: off\n    crc32: off\n";
        let key = "RSS hash key:\n6d:5a:56:DA\n";
        let all = rss(&[table, key, function].concat()).unwrap();
        assert_eq!((all.table.len(), all.queues()), (12, vec![0, 1, 2, 3]));
        assert_eq!(all.key, [0x6d, 0x5a, 0x56, 0xda]);
        assert_eq!(all.hash, Hash::Toeplitz { symmetric: false });
        let transformation = "RSS input transformation:\n    symmetric-xor: on\n";
        let symmetric = rss(&[table, key, function, transformation].concat()).unwrap();
        assert_eq!(symmetric.hash, Hash::Toeplitz { symmetric: true });
        assert_eq!((symmetric.table, symmetric.key), (all.table, all.key));
        for other in [
            function.replace("toeplitz: on", "toeplitz: off"),
            transformation.replace("symmetric-xor", "symmetric-or-xor"),
        ] {
            assert_eq!(rss(&[table, key, &other].concat()).unwrap().hash, Hash::Other);
        }
        let keyless = rss(&format!("{table}RSS hash key:\nOperation not supported\n{function}"));
        assert!(keyless.unwrap().key.is_empty());
        assert_eq!(rss(table).unwrap().hash, Hash::default());
        assert_eq!(rss(""), None);
    }

    #[test]
    fn features_are_on_or_off_and_some_are_fixed() {
        let text = "Features for eth0:\nlarge-receive-offload: on\n\
                    \ttx-tcp-segmentation: off [fixed]\nrx-gro-hw: on [requested off]\n";
        let features = features(text);
        let told = |index: usize| (features[index].is_on, features[index].is_fixed);
        assert_eq!([told(0), told(1), told(2)], [(true, false), (false, true), (true, false)]);
        assert_eq!(features.len(), 3);
    }

    #[test]
    fn adaptive_coalescing_is_read() {
        assert_eq!(adaptive("Coalesce parameters:\nAdaptive RX: on  TX: off\n"), Some(true));
        assert_eq!(adaptive("Adaptive RX: n/a  TX: n/a\n"), None);
    }
}
