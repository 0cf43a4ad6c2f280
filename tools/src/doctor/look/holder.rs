//! Which process holds an XDP program on its interface, by the `bpf_link` among its descriptors.

use std::fs;

use super::super::facts::Holder;

/// Who holds the program with this number. Nobody if it hangs there without a link, or if the link's process
/// is not ours to look at.
pub(super) fn holder(program: u64) -> Option<Holder> {
    let processes = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find_map(|process| {
        let descriptors = fs::read_dir(format!("/proc/{process}/fdinfo")).ok()?;
        let texts = descriptors.filter_map(|it| fs::read_to_string(it.ok()?.path()).ok());
        let link = texts.into_iter().find_map(|text| link_to(&text, program))?;
        let name = super::read(&format!("/proc/{process}/comm"))?;
        Some(Holder { link, process, name })
    })
}

/// The number of the link that a descriptor is, if it is one of XDP to `program`
/// (`bpf_link_show_fdinfo` in kernel/bpf/syscall.c).
fn link_to(text: &str, program: u64) -> Option<u32> {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(str::trim)
    };
    let is_it = field("link_type")? == "xdp" && field("prog_id")?.parse() == Ok(program);
    is_it.then(|| field("link_id")?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_known_by_its_descriptor() {
        let text = "pos:\t0\nflags:\t02000002\nmnt_id:\t16\nino:\t1\nlink_type:\txdp\nlink_id:\t17\n\
                    prog_tag:\tda4fc6a3f41761a2\nprog_id:\t42\nifindex:\t2\n";
        assert_eq!(link_to(text, 42), Some(17));
        assert_eq!(link_to(text, 43), None);
        assert_eq!(link_to(&text.replace("xdp", "tracing"), 42), None);
        assert_eq!(link_to("pos:\t0\nflags:\t02\n", 42), None);
    }
}
