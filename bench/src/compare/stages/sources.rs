//! From addresses in the server's program to the source files of the functions inlined there.

use std::{
    collections::{BTreeSet, HashMap},
    fs::File,
    io::{self, Read, Write},
    path::Path,
    process::{Command, Stdio},
    thread,
};

/// A function that was inlined, or the one that it was inlined into.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Frame {
    /// Its name.
    pub function: String,
    /// Its source file.
    pub file: String,
}

/// What lies at which address.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    frames: HashMap<u64, Vec<Frame>>,
}

impl Sources {
    /// Asks `addr2line` about offsets into the file `program`.
    pub fn find(program: &Path, offsets: impl Iterator<Item = u64>) -> io::Result<Self> {
        let shift = executable_shift(program)?;
        let addresses: BTreeSet<u64> = offsets.map(|offset| offset.wrapping_add(shift)).collect();
        let mut command = Command::new("addr2line");
        command.args(["-a", "-i", "-f", "-C", "-e"]).arg(program);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let mut input = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        // From a thread of its own: it answers while it is still being asked.
        let asking = thread::spawn(move || {
            addresses.iter().try_for_each(|address| writeln!(input, "{address:x}"))
        });
        let output = child.wait_with_output()?;
        asking.join().map_err(|_| io::ErrorKind::BrokenPipe)??;
        let frames = parse(&String::from_utf8_lossy(&output.stdout));
        let by_offset = |(address, frames): (u64, _)| (address.wrapping_sub(shift), frames);
        Ok(Self { frames: frames.into_iter().map(by_offset).collect() })
    }

    /// The functions at an offset, the innermost first.
    pub fn at(&self, offset: u64) -> &[Frame] {
        self.frames.get(&offset).map_or(&[], Vec::as_slice)
    }
}

/// For each address a line with it, then for each function two: its name, and its file and line.
fn parse(text: &str) -> HashMap<u64, Vec<Frame>> {
    let mut all = HashMap::new();
    let mut lines = text.lines();
    let mut current: &mut Vec<Frame> = &mut Vec::new();
    while let Some(line) = lines.next() {
        let address = line.strip_prefix("0x").and_then(|hex| u64::from_str_radix(hex, 16).ok());
        if let Some(address) = address {
            current = all.entry(address).or_default();
            continue;
        }
        let file = lines.next().unwrap_or_default();
        let file = file.split_once(':').map_or(file, |(file, _)| file);
        current.push(Frame { function: line.to_owned(), file: file.to_owned() });
    }
    all
}

/// What has to be added to an offset into the executable part of an ELF file to get its address there.
fn executable_shift(program: &Path) -> io::Result<u64> {
    const HEADERS: u64 = 16 << 10;
    const LOAD: u32 = 1;
    const EXECUTABLE: u32 = 1;
    let mut bytes = Vec::new();
    File::open(program)?.take(HEADERS).read_to_end(&mut bytes)?;
    let word = |at: usize, len: usize| -> Option<u64> {
        let part = bytes.get(at..at + len)?;
        Some(part.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte)))
    };
    // elf(5): e_phoff, e_phentsize, e_phnum; then p_type, p_flags, p_offset, p_vaddr of each.
    let find = || {
        let (table, size, count) = (word(32, 8)?, word(54, 2)?, word(56, 2)?);
        for index in 0..count {
            let at = usize::try_from(table + index * size).ok()?;
            let (kind, flags) = (word(at, 4)? as u32, word(at + 4, 4)? as u32);
            if kind == LOAD && flags & EXECUTABLE != 0 {
                return Some(word(at + 16, 8)?.wrapping_sub(word(at + 8, 8)?));
            }
        }
        None
    };
    find().ok_or_else(|| io::Error::other("the server's program is no ELF file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inlined_functions_come_with_those_around_them() {
        let text = "0x0000000000001000\nsum\n/x/checksum.rs:12\nparse\n/x/packet.rs:40 (discriminator 2)\n\
                    0x0000000000002000\n??\n??:0\n";
        let frames = parse(text);
        let files: Vec<_> = frames[&0x1000].iter().map(|frame| frame.file.as_str()).collect();
        assert_eq!(files, ["/x/checksum.rs", "/x/packet.rs"]);
        assert_eq!(frames[&0x2000], [Frame { function: "??".to_owned(), file: "??".to_owned() }]);
    }

    #[test]
    fn a_function_of_this_program_is_found_in_its_file() {
        let program = std::env::current_exe().unwrap();
        executable_shift(&program).unwrap();
        assert!(executable_shift(Path::new("/proc/self/status")).is_err());
    }
}
