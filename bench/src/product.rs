//! What servers that are measured have in common: the program, their address, and files to serve.

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Advice, fadvise},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};

use crate::error::BenchError;

/// Descriptors for everything but connections.
const RESERVED: u64 = 8_192;

/// Files repeat themselves after so much.
const BLOCK_BYTES: usize = 1 << 20;

/// The address that it serves, and its port.
pub const ADDRESS: &str = "10.77.0.1";
/// See [`ADDRESS`].
pub const PORT: u16 = 80;

/// The server's program, beside this one or in `target`'s folder above a test's.
pub fn program() -> Result<PathBuf, BenchError> {
    let here = std::env::current_exe().map_err(BenchError::system("find this program"))?;
    let beside = here.ancestors().skip(1).take(2).map(|folder| folder.join("pagewire"));
    beside.into_iter().find(|path| path.is_file()).ok_or_else(|| {
        BenchError::Nothing(format!(
            "there is no `pagewire` beside {}: ./dev build",
            here.display()
        ))
    })
}

/// For tests: builds it, if it is not there.
#[cfg(test)]
pub fn build() {
    if program().is_err() {
        let arguments = ["build", "--package", "pagewire"];
        let built = std::process::Command::new(env!("CARGO")).args(arguments).status();
        assert!(built.unwrap().success());
    }
}

/// Lets this process and those it starts have descriptors for so many connections, as far as that goes, and
/// says how many they may have.
pub fn allow_descriptors(connections: usize) -> u64 {
    let needed = connections as u64 * 2 + RESERVED;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < needed) {
        let maximum = limit.maximum.map(|maximum| maximum.max(needed));
        // Refused: then a cell that needs more says so.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum });
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Puts a file out of memory.
pub fn forget(file: &File) -> io::Result<()> {
    file.sync_all()?;
    fadvise(file, 0, None, Advice::DontNeed)?;
    Ok(())
}

/// Makes a file of bytes that do not compress.
pub fn fill(path: &Path, bytes: u64) -> io::Result<()> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    let block: Vec<u8> = words.take(BLOCK_BYTES / 8).flatten().collect();
    let mut file = File::create(path)?;
    let mut left = usize::try_from(bytes).unwrap_or(usize::MAX);
    while left > 0 {
        let len = left.min(block.len());
        file.write_all(&block[..len])?;
        left -= len;
    }
    Ok(())
}
