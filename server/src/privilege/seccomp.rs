//! The system calls of the data path: what a shard may ask of the kernel once it serves.
//!
//! It needs no paths, no new sockets and no programs, so what takes over a shard gets none of them. Calls that
//! are not listed fail with EPERM rather than end the process: a library that tries something better first may
//! go on with something worse. Filters without conditions are answered from a bitmap by the kernel (5.11 and
//! newer), before the program runs.

use seccompiler::{BackendError, BpfProgram, SeccompAction, SeccompFilter};

/// What shards call, by what for.
const ALLOWED: &[&[libc::c_long]] = &[
    // Sockets that are open, and those that a listener gives.
    &[
        libc::SYS_accept4,
        libc::SYS_sendto,
        libc::SYS_sendmsg,
        libc::SYS_sendmmsg,
        libc::SYS_recvfrom,
        libc::SYS_recvmsg,
        libc::SYS_shutdown,
        libc::SYS_getsockopt,
        libc::SYS_setsockopt,
        libc::SYS_getsockname,
        libc::SYS_getpeername,
        libc::SYS_ioctl,
        libc::SYS_fcntl,
    ],
    // Files that helpers have opened.
    &[
        libc::SYS_read,
        libc::SYS_readv,
        libc::SYS_pread64,
        libc::SYS_preadv,
        libc::SYS_preadv2,
        libc::SYS_write,
        libc::SYS_writev,
        libc::SYS_sendfile,
        libc::SYS_splice,
        libc::SYS_fstat,
        libc::SYS_newfstatat,
        libc::SYS_statx,
        libc::SYS_lseek,
        libc::SYS_fadvise64,
        libc::SYS_readahead,
        libc::SYS_close,
        libc::SYS_dup,
        libc::SYS_pipe2,
        libc::SYS_eventfd2,
    ],
    // Waiting.
    &[
        libc::SYS_ppoll,
        libc::SYS_epoll_pwait,
        libc::SYS_epoll_pwait2,
        libc::SYS_epoll_ctl,
        libc::SYS_futex,
        libc::SYS_clock_nanosleep,
        libc::SYS_nanosleep,
        libc::SYS_clock_gettime,
        libc::SYS_gettimeofday,
        libc::SYS_sched_yield,
        libc::SYS_restart_syscall,
    ],
    // Memory.
    &[
        libc::SYS_mmap,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_mprotect,
        libc::SYS_madvise,
        libc::SYS_brk,
        libc::SYS_mincore,
        libc::SYS_membarrier,
    ],
    // Threads, signals, and the end, in order or not.
    &[
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sigaltstack,
        libc::SYS_getpid,
        libc::SYS_gettid,
        libc::SYS_tgkill,
        libc::SYS_sched_getaffinity,
        libc::SYS_getcpu,
        libc::SYS_getrandom,
        libc::SYS_getrusage,
        libc::SYS_rseq,
        libc::SYS_set_robust_list,
        libc::SYS_exit,
        libc::SYS_exit_group,
    ],
];

/// The same of the calls that only older architectures have.
#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: &[libc::c_long] = &[libc::SYS_poll, libc::SYS_epoll_wait, libc::SYS_time];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[libc::c_long] = &[];

/// The filter for shards.
///
/// # Errors
///
/// On an architecture that it cannot be made for.
pub(super) fn filter() -> Result<BpfProgram, BackendError> {
    let calls = ALLOWED.iter().copied().flatten().chain(ALLOWED_HERE);
    let rules = calls.map(|&call| (call, Vec::new())).collect();
    let refusal = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let arch = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, refusal, SeccompAction::Allow, arch)?.try_into()
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::ErrorKind, net::UdpSocket, process::Command, thread};

    use super::*;

    #[test]
    fn a_confined_thread_opens_and_starts_nothing_and_does_its_work() {
        let filter = filter().unwrap();
        let confined = thread::spawn(move || {
            let file = File::open("/proc/self/stat").unwrap();
            seccompiler::apply_filter(&filter).unwrap();
            assert!(std::io::read_to_string(file).unwrap().len() > 10);
            drop(vec![7; 4 << 20]);
            [
                File::open("/proc/self/stat").unwrap_err(),
                UdpSocket::bind("127.0.0.1:0").unwrap_err(),
                Command::new("/bin/true").spawn().unwrap_err(),
                thread::Builder::new().spawn(|| ()).unwrap_err(),
            ]
        });
        for error in confined.join().unwrap() {
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
        }
        assert!(File::open("/proc/self/stat").is_ok(), "only that thread is confined");
    }
}
