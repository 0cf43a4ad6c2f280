//! The files that the demonstration serves, and what they should hash to.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use sha2::{Digest, Sha256};

/// What a path keeps as it is (RFC 3986 section 2.3), and the slash.
const ENCODED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// A SHA-256.
pub(super) type Hash = [u8; 32];

/// A file as it is on the disk.
#[derive(Debug)]
pub(super) struct Original {
    /// Its path in a URL, from the slash on.
    pub(super) url_path: String,
    /// Bytes.
    pub(super) len: u64,
    /// What it hashes to.
    pub(super) hash: Hash,
}

/// All regular files below `root`, in the order of their names, or about `limit` of them, evenly
/// spread; fewer if `stop` is set meanwhile. Links are left out. `progress` is called once a file.
pub(super) fn read(
    root: &Path,
    limit: Option<usize>,
    stop: &AtomicBool,
    progress: impl Fn() + Sync,
) -> io::Result<Vec<Original>> {
    let mut paths = Vec::new();
    collect(root, &mut paths)?;
    paths.sort();
    let every = limit.map_or(1, |limit| paths.len().div_ceil(limit.max(1))).max(1);
    let paths: Vec<_> = paths.into_iter().step_by(every).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while !stop.load(Ordering::Relaxed)
            && let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed))
        {
            done.push(original(root, path)?);
            progress();
        }
        io::Result::Ok(done)
    };
    let mut originals = Vec::with_capacity(paths.len());
    thread::scope(|scope| {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            originals.extend(worker.join().expect("hashing does not panic")?);
        }
        io::Result::Ok(())
    })?;
    originals.sort_by(|one, other| one.url_path.cmp(&other.url_path));
    Ok(originals)
}

fn collect(directory: &Path, paths: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            collect(&entry.path(), paths)?;
        } else if kind.is_file() {
            paths.push(entry.path());
        }
    }
    Ok(())
}

fn original(root: &Path, path: &Path) -> io::Result<Original> {
    let relative = path.strip_prefix(root).unwrap_or(path).as_os_str().as_encoded_bytes();
    let (len, hash) = hash_file(path)?;
    Ok(Original { url_path: format!("/{}", percent_encode(relative, ENCODED)), len, hash })
}

/// Length and hash of a file.
pub(super) fn hash_file(path: &Path) -> io::Result<(u64, Hash)> {
    let mut file = fs::File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut len = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((len, hasher.finalize().into())),
            count => {
                hasher.update(&buffer[..count]);
                len += count as u64;
            }
        }
    }
}

/// How many folders make a demonstration: 2,000 files.
pub(super) const FOLDERS: u64 = 40;

/// Fills `root` with folders of 50 files, of sizes from nothing to some megabytes, some with unusual
/// names. Always the same.
pub(super) fn generate(root: &Path, folders: u64) -> io::Result<()> {
    const FILES: u64 = 50;
    const NAMES: [&str; 4] = ["page", "two words", "größe", "100%+#1!"];
    let mut random = 0x0070_6167_6577_6972_u64;
    for folder in 0..folders {
        let directory = root.join(format!("folder {folder}"));
        fs::create_dir_all(&directory)?;
        for file in 0..FILES {
            let name = NAMES[(file % NAMES.len() as u64) as usize];
            // Small ones are common, as on the web.
            let limit = 1 << (8 + (next(&mut random) % 12));
            let len = match file {
                0 => folder,
                1 => 100_000 * folder,
                _ => next(&mut random) % limit,
            };
            let words = (0..len.div_ceil(8)).flat_map(|_| next(&mut random).to_ne_bytes());
            let bytes: Vec<u8> = words.take(len as usize).collect();
            fs::write(directory.join(format!("{name}-{file}.html")), bytes)?;
        }
    }
    Ok(())
}

/// `splitmix64`.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_encoded_and_links_left_out() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("a b")).unwrap();
        fs::write(root.path().join("a b/100%!ü.html"), "x").unwrap();
        std::os::unix::fs::symlink("a b", root.path().join("link")).unwrap();
        let files = read(root.path(), None, &AtomicBool::new(false), || {}).unwrap();
        assert_eq!(files.len(), 1);
        assert_eq!(files[0].url_path, "/a%20b/100%25%21%C3%BC.html");
        assert_eq!(files[0].len, 1);
        assert_eq!(files[0].hash, <[u8; 32]>::from(Sha256::digest("x")));
    }

    #[test]
    fn the_generated_tree_is_always_the_same() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        generate(one.path(), 2).unwrap();
        generate(two.path(), 2).unwrap();
        let hashes = |root: &Path| -> Vec<Hash> {
            read(root, None, &AtomicBool::new(false), || {})
                .unwrap()
                .iter()
                .map(|file| file.hash)
                .collect()
        };
        let hashes_of_one = hashes(one.path());
        assert_eq!(hashes_of_one.len(), 100);
        assert_eq!(hashes_of_one, hashes(two.path()));
    }
}
