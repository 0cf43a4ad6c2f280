//! What keeps an AF_XDP queue or the steering program from working, and what to do about it.

use std::io;

use crate::MAX_MTU;

/// Why an interface, a queue or the steering program could not be had.
#[derive(Debug, thiserror::Error)]
pub enum XdpError {
    /// No interface of that name.
    #[error(
        "there is no network interface {interface:?} in this network namespace; `ip link` lists \
         those that are"
    )]
    NoInterface {
        /// The name that was asked for.
        interface: String,
    },
    /// The interface is not up.
    #[error("{interface} is down; bring it up with `ip link set dev {interface} up`")]
    InterfaceDown {
        /// Its name.
        interface: String,
    },
    /// The MTU allows packets that do not fit one chunk.
    #[error(
        "the MTU of {interface} is {mtu}, but packets of at most {MAX_MTU} bytes fit a frame; lower \
         it with `ip link set dev {interface} mtu {MAX_MTU}`"
    )]
    Mtu {
        /// Its name.
        interface: String,
        /// Its MTU in bytes.
        mtu: usize,
    },
    /// The process may not do this.
    #[error(
        "no permission to {action}: AF_XDP needs the capabilities CAP_NET_RAW, CAP_NET_ADMIN, CAP_BPF and \
         CAP_PERFMON; run as root, or grant them \
         (`setcap cap_net_raw,cap_net_admin,cap_bpf,cap_perfmon,cap_ipc_lock+ep` on the binary)"
    )]
    Privilege {
        /// What was refused.
        action: String,
    },
    /// No such queue.
    #[error(
        "{interface} has no queue {queue}: it has {queues}, counted from 0; choose fewer, or add \
         some with `ethtool -L {interface}`"
    )]
    NoQueue {
        /// The interface's name.
        interface: String,
        /// The number asked for.
        queue: u32,
        /// How many queues there are.
        queues: u32,
    },
    /// Somebody else holds the queue.
    #[error(
        "queue {queue} of {interface} is in use by another AF_XDP socket; stop the process that \
         holds it, or choose another queue"
    )]
    QueueBusy {
        /// The interface's name.
        interface: String,
        /// The queue's number.
        queue: u32,
    },
    /// The limit on locked memory is too low.
    #[error(
        "the kernel does not let this process lock {mebibytes} MiB of memory for packets; raise \
         the limit (`ulimit -l unlimited`, LimitMEMLOCK=infinity) or grant CAP_IPC_LOCK"
    )]
    LockedMemory {
        /// How much was asked for.
        mebibytes: usize,
    },
    /// There is not that much memory.
    #[error("there are no {mebibytes} MiB of memory for packets; ask for fewer chunks")]
    Memory {
        /// How much was asked for.
        mebibytes: usize,
    },
    /// Zero-copy was required and is not there.
    #[error(
        "zero-copy was required, but the driver {driver} of {interface} refuses it on queue \
         {queue}; allow copy mode"
    )]
    NoZeroCopy {
        /// The interface's name.
        interface: String,
        /// The queue's number.
        queue: u32,
        /// The driver's name.
        driver: String,
    },
    /// Another XDP program sits on the interface.
    #[error(
        "another XDP program is attached to {interface}{programs}; detach it with `ip link set dev \
         {interface} xdp off`, or stop the process that holds it"
    )]
    OtherProgram {
        /// The interface's name.
        interface: String,
        /// The candidates: empty, or their names in brackets.
        programs: String,
    },
    /// Neither native nor generic XDP can be had.
    #[error("{interface} takes no XDP program: native: {native}; generic: {generic}")]
    NoXdp {
        /// The interface's name.
        interface: String,
        /// Why not native.
        native: String,
        /// Why not generic.
        generic: String,
    },
    /// The sizes asked for contradict each other.
    #[error("the AF_XDP sizes do not fit together: {0}")]
    Sizes(&'static str),
    /// The steering program or one of its maps was refused.
    #[error(
        "the kernel refuses to {action} the steering program: {reason}; Linux 5.9 or newer is needed"
    )]
    Steering {
        /// What was tried.
        action: &'static str,
        /// What the kernel or its verifier said.
        reason: String,
    },
    /// Anything else that the kernel said.
    #[error("cannot {action}: {source}")]
    System {
        /// What was tried.
        action: String,
        /// What the kernel said.
        source: io::Error,
    },
}
