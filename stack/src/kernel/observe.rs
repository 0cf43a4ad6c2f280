//! What the kernel's TCP tells about itself.

use pagewire_driver::Instant;
use rustix::net;

use super::{ClosedCounters, KernelCounters, KernelStack, socket, tcp_info::tcp_info};
use crate::{ConnectionId, ConnectionView, Figure, Observe, Transport, observe::tell_residency};

impl Observe for KernelStack {
    fn figures(&self, tell: &mut dyn FnMut(Figure, u64)) {
        let open = Figure::gauge("connections", "Connections, those opening or closing included.");
        tell(open, self.connections() as u64);
        let KernelCounters {
            accepted,
            connected,
            // The server counts the same by reason.
            closed: ClosedCounters { .. },
            copied_bytes,
            sendfile_bytes,
            received_bytes,
            socket_full,
            disk_waits,
            accept_no_descriptors,
            accept_no_slots,
            accept_failed,
            linger_expired,
            residency,
        } = self.counters();
        let counted = [
            ("connections_accepted", "Connections accepted.", accepted),
            ("connections_connected", "Connections opened by this side.", connected),
            ("connections_closed", "Connections gone, for whatever reason.", self.closed()),
            ("kernel_copied_bytes", "Bytes that the kernel took from memory.", copied_bytes),
            ("kernel_sendfile_bytes", "Bytes that the kernel took by sendfile.", sendfile_bytes),
            ("kernel_received_bytes", "Bytes received.", received_bytes),
            ("kernel_socket_full", "Times that a full socket stopped sending.", socket_full),
            ("kernel_disk_waits", "Times that a cold file stopped sending.", disk_waits),
            ("accept_failures", "Connections that failed while accepted.", accept_failed),
            ("linger_expired", "Peers that did not close in time.", linger_expired),
        ];
        for (name, help, count) in counted {
            tell(Figure::counter(name, help), count);
        }
        let paused = Figure::counter("accept_pauses", "Pauses of accepting, by what was wanting.");
        tell(paused.caused_by("descriptors"), accept_no_descriptors);
        tell(paused.caused_by("slots"), accept_no_slots);
        tell_residency(&residency, tell);
    }

    fn slots(&self) -> u32 {
        self.slots.seen()
    }

    fn view(&mut self, _now: Instant, slot: u32) -> Option<ConnectionView> {
        let (generation, connection) = self.slots.at(slot)?;
        let info = tcp_info(connection.socket())?;
        Some(ConnectionView {
            id: ConnectionId { slot, generation },
            peer: net::getpeername(connection.socket()).ok()??.try_into().ok()?,
            local: socket::local_address(connection.socket())?,
            state: info.state,
            pending_bytes: connection.outgoing.pending(),
            received_bytes: connection.incoming.bytes().len() as u64,
            in_flight_bytes: Some(info.in_flight_bytes),
            cwnd_bytes: Some(info.cwnd_bytes),
            rtt: Some(info.rtt),
            retransmits: Some(info.retransmits),
            silent: Some(info.silent),
        })
    }
}

impl KernelStack {
    /// Connections ended, for whatever reason.
    fn closed(&self) -> u64 {
        self.core.counters.closed.total()
    }
}
