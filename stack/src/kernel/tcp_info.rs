//! What the kernel knows of a connection (`TCP_INFO`, tcp(7)).
//!
//! The one `unsafe` call here fills a structure of plain numbers, for which any bytes are valid.

#![allow(unsafe_code)]

use std::{
    mem,
    os::fd::{AsFd, AsRawFd},
    time::Duration,
};

use crate::ConnectionState;

/// The part of the answer that is used.
#[derive(Clone, Copy, Debug)]
pub(super) struct TcpInfo {
    pub(super) state: ConnectionState,
    pub(super) rtt: Duration,
    pub(super) cwnd_bytes: u64,
    pub(super) in_flight_bytes: u64,
    pub(super) retransmits: u64,
    /// Since the last segment from the peer.
    pub(super) silent: Duration,
}

/// Asks about a TCP socket. None if it is none.
pub(super) fn tcp_info(socket: &impl AsFd) -> Option<TcpInfo> {
    // SAFETY: plain numbers, for which zero is valid.
    let mut info: libc::tcp_info = unsafe { mem::zeroed() };
    let mut len = size_of::<libc::tcp_info>() as libc::socklen_t;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: `info` has `len` writable bytes, and the kernel writes no more than that.
    let failed = unsafe {
        let to = (&raw mut info).cast();
        libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, to, &raw mut len)
    };
    if failed != 0 {
        return None;
    }
    let mss = u64::from(info.tcpi_snd_mss);
    Some(TcpInfo {
        state: state_of(info.tcpi_state),
        rtt: Duration::from_micros(info.tcpi_rtt.into()),
        cwnd_bytes: u64::from(info.tcpi_snd_cwnd) * mss,
        in_flight_bytes: u64::from(info.tcpi_unacked) * mss,
        retransmits: info.tcpi_total_retrans.into(),
        silent: Duration::from_millis(info.tcpi_last_ack_recv.min(info.tcpi_last_data_recv).into()),
    })
}

/// The kernel's numbers (`include/net/tcp_states.h`).
fn state_of(number: u8) -> ConnectionState {
    match number {
        1 => ConnectionState::Established,
        2 => ConnectionState::SynSent,
        3 | 12 => ConnectionState::SynReceived,
        4 => ConnectionState::FinWait1,
        5 => ConnectionState::FinWait2,
        6 => ConnectionState::TimeWait,
        8 => ConnectionState::CloseWait,
        9 => ConnectionState::LastAck,
        11 => ConnectionState::Closing,
        _ => ConnectionState::Closed,
    }
}
