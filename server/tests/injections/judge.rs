//! What a response may hold.

use std::sync::OnceLock;

use pagewire_driver::Random;

/// Whose TCP carries the response.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transport {
    Kernel,
    User,
}

/// What the kernel may have taken by reference and not yet delivered: a full send buffer
/// (`net.ipv4.tcp_wmem`, 4 MiB) and a receive buffer. Changes in place up to that far behind the point
/// of delivery may reach the client.
pub const KERNEL_IN_FLIGHT: usize = 8 << 20;

/// One version of a file.
#[derive(Clone, Debug)]
pub struct Version {
    bytes: Vec<u8>,
}

impl Version {
    /// Bytes that no version of another number has at the same place, but for one in 256.
    pub fn new(number: u64, len: usize) -> Self {
        static POOL: OnceLock<Vec<u8>> = OnceLock::new();
        const SPARE: usize = 1 << 20;
        let pool = POOL.get_or_init(|| {
            let mut random = Random::new(77);
            (0..(32 << 20) / 8).flat_map(|_| random.bits().to_le_bytes()).collect()
        });
        let skip = Random::new(number).below(SPARE as u64) as usize;
        Self { bytes: pool[skip..skip + len].to_vec() }
    }

    pub fn of(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// A complete body, and what was known when it came.
pub struct Case<'a> {
    pub body: &'a [u8],
    /// All that the file has been.
    pub versions: &'a [Version],
    /// Bytes had come when the file was changed in place, if it was.
    pub changed_in_place_at: Option<usize>,
    pub transport: Transport,
}

/// Whether a response may have been completed with these bytes.
///
/// It may with those of one version. Where the kernel sends the file's pages themselves, what it had
/// taken when they changed may also be of the version after, or zeros where the file was cut.
pub fn may_complete(case: &Case<'_>) -> Result<(), String> {
    let Case { body, versions, .. } = case;
    if versions.iter().any(|version| version.bytes() == *body) {
        return Ok(());
    }
    let is_known = |(at, byte): (usize, &u8)| {
        *byte == 0 || versions.iter().any(|version| version.bytes().get(at) == Some(byte))
    };
    let beyond_recall = |received| body.len() <= received + KERNEL_IN_FLIGHT;
    match case.changed_in_place_at {
        Some(received) if case.transport == Transport::Kernel && beyond_recall(received) => body
            .iter()
            .enumerate()
            .find(|&(at, byte)| !is_known((at, byte)))
            .map_or(Ok(()), |(at, _)| Err(format!("byte {at} is of no version"))),
        _ => {
            let first = &versions[0];
            let same = body.iter().zip(first.bytes()).take_while(|(one, other)| one == other);
            let len = body.len();
            Err(format!("{len} bytes of no version, the first {} being old", same.count()))
        }
    }
}

/// The bytes before a cut must be of some version all the same: nothing is made up.
pub fn may_begin(body: &[u8], versions: &[Version], transport: Transport) -> Result<(), String> {
    let is_known = |at: usize, byte: u8| {
        // A page that is cut in the middle shows zeros until that is noticed.
        byte == 0 || versions.iter().any(|version| version.bytes().get(at) == Some(&byte))
    };
    match body.iter().enumerate().find(|&(at, &byte)| !is_known(at, byte)) {
        Some((at, _)) => Err(format!("{transport:?}: byte {at} before the cut is of no version")),
        None => Ok(()),
    }
}

pub fn self_test() {
    let (old, new) = (Version::new(1, 100_000), Version::new(2, 100_000));
    let mixture: Vec<u8> = [&old.bytes()[..50_000], &new.bytes()[50_000..]].concat();
    let foreign = Version::new(3, 100_000);
    let versions = [old.clone(), new.clone()];
    let judged = |body, changed_in_place_at, transport| {
        may_complete(&Case { body, versions: &versions, changed_in_place_at, transport }).is_ok()
    };
    for transport in [Transport::Kernel, Transport::User] {
        assert!(judged(old.bytes(), None, transport) && judged(new.bytes(), Some(1), transport));
        assert!(!judged(&mixture, None, transport));
        assert!(!judged(foreign.bytes(), Some(1), transport));
        assert!(may_begin(&mixture[..70_000], &versions, transport).is_ok());
        assert!(may_begin(&foreign.bytes()[..70_000], &versions, transport).is_err());
    }
    assert!(judged(&mixture, Some(1), Transport::Kernel));
    assert!(!judged(&mixture, Some(1), Transport::User));
    let long = Version::new(4, KERNEL_IN_FLIGHT + 2);
    let cut = [&long.bytes()[..70_000], &vec![0; KERNEL_IN_FLIGHT - 69_998]].concat();
    let case = |changed_in_place_at| Case {
        body: &cut,
        versions: std::slice::from_ref(&long),
        changed_in_place_at,
        transport: Transport::Kernel,
    };
    assert!(may_complete(&case(Some(2))).is_ok() && may_complete(&case(Some(1))).is_err());
}
