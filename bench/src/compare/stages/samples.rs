//! Reads what `perf script` prints.

use std::path::Path;

/// One look at the core.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Sample {
    /// The thread that ran.
    pub thread: i32,
    /// Functions of the kernel, the innermost first; none if it was not in the kernel.
    pub kernel: Vec<String>,
    /// Where in the server's program it was, as an offset into the file, if that is where it was.
    pub own_address: Option<u64>,
    /// In which library it was, if it was in one.
    pub library: Option<String>,
}

/// All samples in `text`: a line with the thread, then lines with an address, a function and a file in
/// parentheses, the innermost first, then an empty one.
pub fn parse(text: &str, program: &Path) -> Vec<Sample> {
    let program = program.to_string_lossy();
    let blocks = text.split("\n\n");
    blocks.filter_map(|block| parse_block(block, &program)).collect()
}

fn parse_block(block: &str, program: &str) -> Option<Sample> {
    let mut lines = block.lines().filter(|line| !line.trim().is_empty());
    let thread = lines.next()?.trim().parse().ok()?;
    let mut sample = Sample { thread, ..Sample::default() };
    for line in lines {
        let (rest, file) = line.trim().strip_suffix(')')?.rsplit_once(" (")?;
        let (address, function) = rest.split_once(' ').unwrap_or((rest, ""));
        if file.starts_with('[') {
            sample.kernel.push(function.to_owned());
            continue;
        }
        // Beyond the innermost function of the program, the chain is not to be trusted.
        if sample.kernel.is_empty() {
            if file == program {
                sample.own_address = u64::from_str_radix(address, 16).ok();
            } else {
                sample.library = Some(file.to_owned());
            }
        }
        break;
    }
    Some(sample)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_of_the_kernel_the_program_or_a_library() {
        let text = "   12 \n\tffffffff81 xsk_sendmsg ([kernel.kallsyms])\n\t\
                    ffffffff82 __x64_sys_sendto ([kernel.kallsyms])\n\t\
                    4fe0 kick (/bin/pagewire)\n\n   \
                    12 \n\t  4ff0 parse::x (inlined) (/bin/pagewire)\n\n   \
                    13 \n\t  16e0 memcpy (/lib/libc.so.6)\n\t 4ff0 x (/bin/pagewire)\n\n";
        let samples = parse(text, Path::new("/bin/pagewire"));
        assert_eq!(samples.len(), 3);
        assert_eq!(samples[0].kernel, ["xsk_sendmsg", "__x64_sys_sendto"]);
        assert_eq!((samples[0].thread, samples[0].own_address), (12, None));
        assert_eq!((samples[1].own_address, samples[1].kernel.len()), (Some(0x4ff0), 0));
        assert_eq!(samples[2].library.as_deref(), Some("/lib/libc.so.6"));
    }
}
