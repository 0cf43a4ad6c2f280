//! What the user-level stack tells about itself.

use pagewire_driver::{Instant, Port, PortCounters};
use smoltcp::socket::tcp::State;

use super::{DropCause, Phase, UserCounters, UserStack};
use crate::{ConnectionState, ConnectionView, Figure, Observe, Transport, observe::tell_residency};

impl<P: Port> Observe for UserStack<P> {
    fn figures(&self, tell: &mut dyn FnMut(Figure, u64)) {
        let open = Figure::gauge("connections", "Connections, those opening or closing included.");
        tell(open, self.connections() as u64);
        tell_stack(&self.counters, tell);
        tell_port(&self.port.counters(), tell);
        let rings = self.port.occupancy();
        let frames =
            Figure::gauge("port_frames", "Frames of the queue's memory, by where they are.");
        tell(frames.caused_by("free"), rings.free as u64);
        tell(frames.caused_by("filled"), rings.filled as u64);
        tell(frames.caused_by("in flight"), rings.in_flight as u64);
        tell(frames.caused_by("in use"), rings.in_use as u64);
        tell_residency(&self.residency.counters(), tell);
    }

    fn slots(&self) -> u32 {
        self.connections.len() as u32
    }

    fn view(&mut self, now: Instant, slot: u32) -> Option<ConnectionView> {
        let connection = self.connections.get(slot as usize)?;
        if connection.phase == Phase::Vacant {
            return None;
        }
        let state = self.arena.with(slot, |socket| socket.state());
        let (sender, flow) = (connection.sender.snapshot(), connection.flow.flow());
        Some(ConnectionView {
            id: connection.id(slot),
            peer: flow.peer,
            local: flow.local,
            state: state_of(state),
            pending_bytes: connection.tx.pending(),
            received_bytes: connection.unconsumed().len() as u64,
            in_flight_bytes: Some(sender.next - sender.una),
            cwnd_bytes: Some(sender.cwnd),
            rtt: sender.srtt,
            retransmits: Some(sender.retransmits.into()),
            silent: Some(now - connection.heard),
        })
    }
}

fn tell_stack(counters: &UserCounters, tell: &mut dyn FnMut(Figure, u64)) {
    let UserCounters {
        accepted,
        connected,
        closed,
        embryonic_expired,
        cookies_sent,
        cookies_accepted,
        cookies_failed,
        idle_evicted,
        idle_over_share,
        path_limits,
        soft_errors,
        challenges_sent,
        challenges_withheld,
        segments_received,
        segments_sent,
        bytes_sent,
        bytes_retransmitted,
        again_overtaken,
        again_timeout,
        again_probe,
        timeouts,
        tail_probes,
        window_probes,
        recoveries,
        recoveries_undone,
        timers,
        resets_sent,
        link_replies,
        hopped_out,
        hopped_in,
        questions,
        back_pressure,
        drops: _,
    } = *counters;
    let counted = [
        ("connections_accepted", "Connections accepted.", accepted),
        ("connections_connected", "Connections opened by this side.", connected),
        ("connections_closed", "Connections gone, for whatever reason.", closed),
        ("handshakes_expired", "Handshakes that were given up.", embryonic_expired),
        ("cookies_sent", "SYNs answered with a cookie.", cookies_sent),
        ("cookies_accepted", "Connections opened by a cookie.", cookies_accepted),
        ("cookies_failed", "ACKs that brought no cookie of ours back.", cookies_failed),
        ("idle_evicted", "Idle connections closed to make room.", idle_evicted),
        ("idle_over_share", "Idle connections closed, their source having many.", idle_over_share),
        ("path_limits", "Believed ICMP errors about too large packets.", path_limits),
        ("icmp_soft_errors", "Other ICMP errors that were believed.", soft_errors),
        ("challenges_sent", "Challenge ACKs sent.", challenges_sent),
        ("challenges_withheld", "Challenge ACKs not sent, being too many.", challenges_withheld),
        ("segments_received", "TCP segments received.", segments_received),
        ("segments_sent", "TCP segments sent, repeated ones included.", segments_sent),
        ("payload_sent_bytes", "Payload sent for the first time.", bytes_sent),
        ("payload_retransmitted_bytes", "Payload sent again.", bytes_retransmitted),
        ("timeouts", "Retransmission timers that have run out.", timeouts),
        ("tail_probes", "Tail loss probes.", tail_probes),
        ("window_probes", "Probes of closed windows.", window_probes),
        ("recoveries", "Congestion windows reduced.", recoveries),
        ("recoveries_undone", "Reductions that were not needed, taken back.", recoveries_undone),
        ("timers_expired", "Timers of connections that have run out.", timers),
        ("resets_sent", "Resets sent for segments of no connection.", resets_sent),
        ("link_replies", "ARP, NDP and ICMP echo replies sent.", link_replies),
        ("packets_hopped_out", "Packets handed to the core of their flow.", hopped_out),
        ("packets_hopped_in", "Packets taken over from other cores.", hopped_in),
        ("hop_questions", "Questions to all cores about whose a flow is.", questions),
        ("back_pressure_turns", "Turns that ended with frames left untaken.", back_pressure),
    ];
    for (name, help, count) in counted {
        tell(Figure::counter(name, help), count);
    }
    let again = Figure::counter("segments_sent_again", "Segments sent again, by cause.");
    tell(again.caused_by("overtaken"), again_overtaken);
    tell(again.caused_by("timeout"), again_timeout);
    tell(again.caused_by("probe"), again_probe);
    let dropped = Figure::counter("packets_dropped", "Packets dropped by the stack, by cause.");
    for &cause in DropCause::ALL {
        tell(dropped.caused_by(cause.text()), counters.dropped(cause));
    }
}

fn tell_port(counters: &PortCounters, tell: &mut dyn FnMut(Figure, u64)) {
    let PortCounters {
        received,
        received_bytes,
        sent,
        sent_bytes,
        kicks,
        back_pressure,
        kick_lost,
        link_down,
        no_memory,
        fill_empty,
        ring_full,
    } = *counters;
    let counted = [
        ("port_frames_received", "Frames received from the queue.", received),
        ("port_received_bytes", "Bytes of the frames received.", received_bytes),
        ("port_frames_sent", "Frames given to the queue.", sent),
        ("port_sent_bytes", "Bytes of the frames given.", sent_bytes),
        ("port_kicks", "System calls that have the kernel take frames.", kicks),
        ("port_back_pressure", "Kicks that left frames untaken.", back_pressure),
        ("port_link_down", "Flushes that found the link down or gone.", link_down),
        ("port_fill_ring_empty", "Times that the kernel found no memory waiting.", fill_empty),
    ];
    for (name, help, count) in counted {
        tell(Figure::counter(name, help), count);
    }
    let dropped = Figure::counter("port_frames_dropped", "Frames lost below the stack, by cause.");
    tell(dropped.caused_by("lost by a kick"), kick_lost);
    tell(dropped.caused_by("no memory waiting"), no_memory);
    tell(dropped.caused_by("receive ring full"), ring_full);
}

/// Our name for smoltcp's.
pub fn state_of(state: State) -> ConnectionState {
    match state {
        State::Closed | State::Listen => ConnectionState::Closed,
        State::SynSent => ConnectionState::SynSent,
        State::SynReceived => ConnectionState::SynReceived,
        State::Established => ConnectionState::Established,
        State::FinWait1 => ConnectionState::FinWait1,
        State::FinWait2 => ConnectionState::FinWait2,
        State::CloseWait => ConnectionState::CloseWait,
        State::Closing => ConnectionState::Closing,
        State::LastAck => ConnectionState::LastAck,
        State::TimeWait => ConnectionState::TimeWait,
    }
}
