//! Which stage of a request a sample belongs to.

use super::{
    samples::Sample,
    sources::{Frame, Sources},
};

/// The kernel thread that receives: with the user stack the XDP program and the copy to the queue, in
/// kernel mode IP and TCP, and what acknowledgements let go.
const RECEIVE_KERNEL: &str = "receive: kernel thread";
const RECEIVE: &str = "receive: rings";
const TRANSMIT: &str = "transmit: rings";
const OTHER_KERNEL: &str = "other kernel work";
const OTHER: &str = "other";

/// Parts of the names of system calls, and the stages that they are.
const CALLS: [(&str, &str); 17] = [
    // The kick of AF_XDP, and what kernel mode sends of heads and small bodies.
    ("xsk_sendmsg", "transmit: kick"),
    ("sys_sendfile", "send: sendfile"),
    ("sys_send", "send: send"),
    ("sys_write", "send: send"),
    ("sys_recv", "receive: recv"),
    ("sys_read", "receive: recv"),
    ("sys_epoll_ctl", "epoll: register"),
    ("sys_epoll", "epoll: wait"),
    ("sys_poll", "sleep and wake"),
    ("sys_ppoll", "sleep and wake"),
    ("sys_accept", "accept"),
    ("sys_close", "close"),
    ("sys_shutdown", "close"),
    // Whether pages of a file are in memory; and those that were not mapped yet.
    ("sys_preadv", "disk: is it in memory"),
    ("exc_page_fault", "disk: pages mapped"),
    ("sysvec_", "interrupts"),
    ("common_interrupt", "interrupts"),
];

/// Parts of the paths of source files, and the stages that they are. The first that fits decides.
const FILES: [(&str, &str); 22] = [
    ("/smoltcp-", "smoltcp"),
    ("/managed-", "smoltcp"),
    ("/httparse-", "HTTP"),
    ("/stack/src/user/packet", "parse"),
    ("/stack/src/user/flow_table", "lookup"),
    ("/driver/src/prefetch", "lookup"),
    ("/stack/src/user/recovery", "recovery and guard"),
    ("/stack/src/user/guard", "recovery and guard"),
    ("/stack/src/user/gather", "gather"),
    ("/stack/src/user/copy_sum", "gather"),
    ("/stack/src/user/tx_map", "gather"),
    ("/stack/src/user/emit", "gather"),
    ("/stack/src/mapping", "gather"),
    ("/stack/src/file", "gather"),
    ("/stack/src/disk", "gather"),
    // Sums belong to whoever wants them; this is for those that were not inlined.
    ("/stack/src/user/checksum", ""),
    ("/stack/src/user/", "turns, timers, settling"),
    ("/stack/src/kernel/", "kernel transport's own code"),
    ("/server/src/http", "HTTP"),
    ("/server/src/", "HTTP"),
    ("/driver/src/", ""),
    // The raw exchange fills frames, and does nothing else.
    ("/bench/src/", "gather"),
];

/// The stage of a sample. `receives` says that its thread is the kernel's that receives.
pub fn place(sample: &Sample, receives: bool, sources: &Sources) -> &'static str {
    if receives {
        return RECEIVE_KERNEL;
    }
    if !sample.kernel.is_empty() {
        let under = |needle: &str| sample.kernel.iter().any(|function| function.contains(needle));
        let call = CALLS.iter().find(|(needle, _)| under(needle));
        return call.map_or(OTHER_KERNEL, |(_, stage)| stage);
    }
    match (sample.own_address, &sample.library) {
        (Some(offset), _) => place_frames(sources.at(offset)),
        (None, Some(_)) => "libc: copies, calls, clock",
        (None, None) => OTHER,
    }
}

fn place_frames(frames: &[Frame]) -> &'static str {
    for frame in frames {
        let Some((_, stage)) = FILES.iter().find(|(part, _)| frame.file.contains(part)) else {
            continue;
        };
        if !stage.is_empty() {
            return stage;
        }
        if frame.file.contains("/driver/src/") {
            return place_driver(frames);
        }
    }
    let sums = frames.iter().any(|frame| frame.file.contains("/checksum"));
    if sums { "sums: parse and gather" } else { OTHER }
}

/// The driver's own work serves both directions; the functions tell.
fn place_driver(frames: &[Frame]) -> &'static str {
    let names = ["receive", "refill", "reap_received", "wait"];
    let receives = |frame: &Frame| names.iter().any(|name| frame.function.contains(name));
    if frames.iter().any(receives) { RECEIVE } else { TRANSMIT }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(function: &str, file: &str) -> Frame {
        Frame { function: function.to_owned(), file: file.to_owned() }
    }

    #[test]
    fn work_in_the_kernel_belongs_to_the_call_that_asked_for_it() {
        let sources = Sources::default();
        let kernel = |functions: &[&str]| Sample {
            kernel: functions.iter().map(|&function| function.to_owned()).collect(),
            ..Sample::default()
        };
        let at = |functions: &[&str]| place(&kernel(functions), false, &sources);
        assert_eq!(at(&["veth_xmit", "xsk_sendmsg", "__x64_sys_sendto"]), "transmit: kick");
        assert_eq!(at(&["tcp_sendmsg", "__x64_sys_sendto"]), "send: send");
        assert_eq!(at(&["tcp_recvmsg", "__x64_sys_recvfrom"]), "receive: recv");
        assert_eq!(at(&["do_fault", "asm_exc_page_fault"]), "disk: pages mapped");
        assert_eq!(at(&["entry_SYSCALL_64"]), OTHER_KERNEL);
        assert_eq!(place(&kernel(&["anything"]), true, &sources), RECEIVE_KERNEL);
    }

    #[test]
    fn the_innermost_telling_frame_decides() {
        let library = frame("fold", "/rustc/x/library/core/src/iter.rs");
        let sum = frame("sum", "/w/stack/src/user/checksum.rs");
        let parse = frame("parse", "/w/stack/src/user/packet.rs");
        let turn = frame("poll", "/w/stack/src/user/transport.rs");
        assert_eq!(place_frames(&[library.clone(), sum.clone(), parse, turn.clone()]), "parse");
        assert_eq!(place_frames(&[library, turn]), "turns, timers, settling");
        assert_eq!(place_frames(&[sum]), "sums: parse and gather");
        assert_eq!(place_frames(&[]), OTHER);
        let rings =
            frame("pagewire_driver::xdp::rings::Rings::receive", "/w/driver/src/xdp/rings.rs");
        assert_eq!(place_frames(&[rings]), RECEIVE);
        let staging =
            frame("pagewire_driver::xdp::rings::Rings::stage", "/w/driver/src/xdp/rings.rs");
        assert_eq!(place_frames(&[staging]), TRANSMIT);
    }
}
