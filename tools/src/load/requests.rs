//! What is asked for: the requests of a run, ready to be sent, and the order they come in.

use std::collections::HashMap;

use pagewire_driver::Random;

use super::{
    LoadError,
    access_log::{self, Line},
};

/// A path and how often it is asked for, against the others.
#[derive(Clone, Debug, PartialEq)]
pub struct Weighted {
    /// Path with query, as it stands in a request line.
    pub path: String,
    /// Its weight.
    pub weight: f64,
}

/// The order in which paths are asked for.
#[derive(Clone, Debug)]
enum Order {
    /// At random, each as often as its weight says: the sums of the weights so far, up to 1.
    Random(Vec<f64>),
    /// As in a log, over and over.
    Log(Vec<u32>),
}

/// The paths of a run, and their order.
#[derive(Clone, Debug)]
pub struct Workload {
    paths: Vec<String>,
    order: Order,
}

impl Workload {
    /// Random requests by weight.
    ///
    /// # Errors
    ///
    /// [`LoadError::Usage`] without paths, or with weights that are no positive numbers.
    pub fn weighted(list: Vec<Weighted>) -> Result<Self, LoadError> {
        let total: f64 = list.iter().map(|it| it.weight).sum();
        let sound = list.iter().all(|it| it.weight > 0.0) && total.is_finite() && total > 0.0;
        if !sound || u32::try_from(list.len()).is_err() {
            let text = "there must be URLs, and their weights positive numbers".to_owned();
            return Err(LoadError::Usage(text));
        }
        let mut sum = 0.0;
        let sums = list.iter().map(|it| {
            sum += it.weight / total;
            sum
        });
        let order = Order::Random(sums.collect());
        Ok(Self { paths: list.into_iter().map(|it| it.path).collect(), order })
    }

    /// Random requests by Zipf's law, the first path the most popular: the k-th is asked for in
    /// proportion to 1 / k^`exponent`.
    ///
    /// # Errors
    ///
    /// [`LoadError::Usage`] without paths, or for an exponent that is no number.
    pub fn zipf(paths: Vec<String>, exponent: f64) -> Result<Self, LoadError> {
        let weight = |rank: usize| (rank as f64).powf(-exponent);
        let ranked = paths.into_iter().enumerate();
        Self::weighted(ranked.map(|(at, path)| Weighted { path, weight: weight(at + 1) }).collect())
    }

    /// The requests of an access log, in its order, over and over; and how many lines were left out.
    ///
    /// # Errors
    ///
    /// [`LoadError::Usage`] if it has none, or is no access log.
    pub fn access_log(text: &str) -> Result<(Self, usize), LoadError> {
        let (mut paths, mut order, mut left_out, mut malformed) = (Vec::new(), Vec::new(), 0, 0);
        let mut known = HashMap::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            match access_log::parse(line) {
                Line::Path(path) => order.push(*known.entry(path).or_insert_with(|| {
                    paths.push(path.to_owned());
                    paths.len() as u32 - 1
                })),
                Line::Other => left_out += 1,
                Line::Malformed => malformed += 1,
            }
        }
        if order.is_empty() {
            return Err(LoadError::Usage(format!(
                "the access log has no GET that was answered with 200, 206 or 304, but {left_out} other \
                 and {malformed} malformed lines; it must be in the common or combined format"
            )));
        }
        Ok((Self { paths, order: Order::Log(order) }, left_out + malformed))
    }

    /// The paths, by their numbers.
    pub fn paths(&self) -> &[String] {
        &self.paths
    }

    /// Its order for core `index` of `cores`.
    pub(super) fn picker(&self, seed: u64, index: usize, cores: usize) -> Picker {
        let position = match &self.order {
            Order::Random(_) => 0,
            Order::Log(order) => order.len() * index / cores.max(1),
        };
        Picker { random: Random::new(seed.wrapping_add(index as u64)), position }
    }
}

/// Reads a list of `URL-or-path [WEIGHT]` lines; empty ones and those behind `#` mean nothing.
///
/// # Errors
///
/// [`LoadError::Usage`] with the number of the line that is neither.
pub(super) fn parse_list(text: &str) -> Result<Vec<Weighted>, LoadError> {
    let mut list = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let mut words = line.split_ascii_whitespace();
        let Some(path) = words.next().filter(|word| !word.starts_with('#')) else { continue };
        let weight = words.next().map_or(Some(1.0), |word| word.parse().ok());
        let (Some(weight), None, true) = (weight, words.next(), path.is_ascii()) else {
            return Err(LoadError::Usage(format!(
                "line {number} of the list is not `PATH` or `PATH WEIGHT`: {line}"
            )));
        };
        list.push(Weighted { path: path.to_owned(), weight });
    }
    Ok(list)
}

/// Where one core is in the order.
#[derive(Clone, Debug)]
pub(super) struct Picker {
    random: Random,
    position: usize,
}

impl Picker {
    /// The number of the next path.
    pub(super) fn next(&mut self, workload: &Workload) -> u32 {
        match &workload.order {
            Order::Random(sums) if sums.len() == 1 => 0,
            Order::Random(sums) => {
                let point = (self.random.bits() >> 11) as f64 / (1u64 << 53) as f64;
                sums.partition_point(|&sum| sum <= point).min(sums.len() - 1) as u32
            }
            Order::Log(order) => {
                let number = order[self.position];
                self.position = (self.position + 1) % order.len();
                number
            }
        }
    }
}

/// The requests themselves, by the number of their path.
#[derive(Debug)]
pub(super) struct Texts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Texts {
    /// GET requests with these further header lines.
    pub(super) fn new(paths: &[String], authority: &str, headers: &[String], close: bool) -> Self {
        let mut fields = format!(" HTTP/1.1\r\nHost: {authority}\r\n");
        for header in headers {
            fields.push_str(header);
            fields.push_str("\r\n");
        }
        fields.push_str(if close { "Connection: close\r\n\r\n" } else { "\r\n" });
        let (mut bytes, mut ends) = (Vec::new(), Vec::with_capacity(paths.len()));
        for path in paths {
            bytes.extend_from_slice(b"GET ");
            bytes.extend_from_slice(path.as_bytes());
            bytes.extend_from_slice(fields.as_bytes());
            ends.push(bytes.len());
        }
        Self { bytes, ends }
    }

    /// The request of path `number`.
    pub(super) fn get(&self, number: u32) -> &[u8] {
        let number = number as usize;
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[number]]
    }
}

/// Whether a header line is one that may be added.
pub(super) fn is_header(line: &str) -> bool {
    let Some((name, value)) = line.split_once(':') else { return false };
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let ours = ["host", "connection", "content-length", "transfer-encoding"];
    !name.is_empty()
        && name.bytes().all(is_token)
        && !ours.contains(&name.to_ascii_lowercase().as_str())
        && value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(workload: &Workload, count: usize) -> Vec<f64> {
        let mut picker = workload.picker(1, 0, 1);
        let mut counts = vec![0.0; workload.paths().len()];
        for _ in 0..count {
            counts[picker.next(workload) as usize] += 1.0 / count as f64;
        }
        counts
    }

    fn assert_near(found: &[f64], expected: &[f64]) {
        let near = found.iter().zip(expected).all(|(found, wanted)| (found - wanted).abs() < 0.02);
        assert!(near && found.len() == expected.len(), "{found:?} for {expected:?}");
    }

    #[test]
    fn paths_come_as_often_as_their_weights_say() {
        let list = parse_list("/a 3\n# none\n\n/b\n/c 6\n").unwrap();
        let workload = Workload::weighted(list).unwrap();
        assert_near(&shares(&workload, 50_000), &[0.3, 0.1, 0.6]);
    }

    #[test]
    fn zipf_halves_thirds_and_quarters() {
        let paths = ["/a", "/b", "/c", "/d"].map(str::to_owned).to_vec();
        let sum = 25.0 / 12.0;
        let expected = [1.0, 0.5, 1.0 / 3.0, 0.25].map(|weight| weight / sum);
        assert_near(&shares(&Workload::zipf(paths.clone(), 1.0).unwrap(), 50_000), &expected);
        assert_near(&shares(&Workload::zipf(paths, 0.0).unwrap(), 50_000), &[0.25; 4]);
    }

    #[test]
    fn lists_and_weights_that_mean_nothing_are_refused() {
        for text in ["/a b", "/a 1 2", "/\u{e4}"] {
            assert!(parse_list(text).is_err(), "{text}");
        }
        for weight in ["0", "-1", "nan", "inf"] {
            let list = parse_list(&format!("/a {weight}")).unwrap();
            assert!(Workload::weighted(list).is_err(), "{weight}");
        }
        assert!(Workload::weighted(Vec::new()).is_err());
        assert!(Workload::zipf(vec!["/".to_owned(); 2], f64::NAN).is_err());
    }

    #[test]
    fn a_log_is_replayed_in_order_over_and_over_from_each_cores_own_place() {
        let line = |path: &str| format!("h - - [t] \"GET {path} HTTP/1.1\" 200 1\n");
        let text = ["/a", "/b", "/a", "/c"].map(line).concat() + "nonsense\n";
        let (workload, left_out) = Workload::access_log(&text).unwrap();
        assert_eq!((workload.paths().len(), left_out), (3, 1));
        let replay = |index| {
            let mut picker = workload.picker(0, index, 2);
            (0..6).map(|_| picker.next(&workload)).collect::<Vec<_>>()
        };
        assert_eq!(replay(0), [0, 1, 0, 2, 0, 1]);
        assert_eq!(replay(1), [0, 2, 0, 1, 0, 2]);
        assert!(Workload::access_log("nonsense").is_err());
    }

    #[test]
    fn requests_are_complete_and_apart() {
        let paths = ["/a".to_owned(), "/bc".to_owned()];
        let texts = Texts::new(&paths, "h:81", &["Accept: x".to_owned()], false);
        assert_eq!(texts.get(0), b"GET /a HTTP/1.1\r\nHost: h:81\r\nAccept: x\r\n\r\n");
        let texts = Texts::new(&paths, "h", &[], true);
        assert_eq!(texts.get(1), b"GET /bc HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    }

    #[test]
    fn only_header_lines_that_do_no_harm_may_be_added() {
        assert!(is_header("Accept-Encoding: gzip"));
        for bad in ["", "x", ": y", "a b: c", "Host: x", "connection: close", "A: b\r\nC: d"] {
            assert!(!is_header(bad), "{bad}");
        }
    }
}
