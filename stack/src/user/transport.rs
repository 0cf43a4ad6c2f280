//! The stream seam over a user-level stack.

use std::net::{IpAddr, SocketAddr};

use pagewire_driver::{BURST, Instant, Port, Waker};

use super::{
    Phase, UserStack,
    flow_table::{Flow, PackedFlow},
    isn::IsnGenerator,
    mesh::Mesh,
    settle::Progress,
};
use crate::{Close, CloseReason, ConnectionId, EventBatch, Parts, Refused, Transport};

/// Ports for connections that we open (RFC 6335 section 6).
const FIRST_EPHEMERAL: u16 = 49_152;
/// How many ports are tried before giving up.
const PORT_TRIES: u16 = 4_096;

impl<P: Port> Transport for UserStack<P> {
    fn poll(&mut self, now: Instant, events: &mut EventBatch) {
        self.now = now;
        self.set_timestamp(now);
        self.receive_completions(now);
        self.send_ready(now);
        self.arm_unanswered(now);
        self.update_network(now);
        self.receive_messages(now);
        if self.port.credits() < BURST {
            // What arrives is answered while it is looked at, or not at all.
            self.flush(now);
        }
        self.receive_burst(now);
        let tick = self.wheel.tick();
        self.expire_timers(now);
        self.send_ready(now);
        self.ask_neighbors(now);
        self.flush(now);
        if self.wheel.tick() > tick {
            self.look_ahead();
        }
        self.give_back();
        if events.is_empty() {
            std::mem::swap(events, &mut self.events);
        } else {
            events.append(&mut self.events);
        }
    }

    fn received(&mut self, id: ConnectionId) -> &[u8] {
        match self.slot_of(id) {
            Some(slot) => self.connections[slot as usize].unconsumed(),
            None => &[],
        }
    }

    fn consume(&mut self, id: ConnectionId, len: usize) {
        let Some(slot) = self.slot_of(id) else { return };
        let connection = &mut self.connections[slot as usize];
        if let Some(head) = &mut connection.head {
            head.consume(len, self.limits.head);
            if head.unconsumed().is_empty() {
                self.heads.give(connection.head.take());
            }
        }
        if connection.holds_back {
            // There is room now; the window opens with what the next turn sends.
            let now = self.now;
            self.settle(now, slot, Progress::default());
            if self.slot_of(id).is_some() {
                self.connections[slot as usize].speaks = true;
                self.mark_ready(slot);
            }
        }
    }

    fn buffer(&mut self) -> Vec<u8> {
        self.part_pool.buffer()
    }

    fn submit(&mut self, id: ConnectionId, parts: &mut Parts) -> Result<(), Refused> {
        let slot = self.slot_of(id).ok_or(Refused::Gone)?;
        let connection = &mut self.connections[slot as usize];
        if connection.discards() {
            return Err(Refused::Gone);
        }
        if !connection.tx.submit(parts, &mut self.part_pool) {
            return Err(Refused::Busy);
        }
        connection.asked = false;
        if connection.phase == Phase::Open {
            self.mark_ready(slot);
        }
        let now = self.now;
        self.note_idle(now, slot);
        Ok(())
    }

    fn pending(&self, id: ConnectionId) -> u64 {
        self.slot_of(id).map_or(0, |slot| self.connections[slot as usize].tx.pending())
    }

    fn connect(&mut self, now: Instant, to: SocketAddr) -> Result<ConnectionId, Refused> {
        // Without the scope and flow label that an IPv6 address may have: packets do not tell them.
        let to = SocketAddr::new(to.ip(), to.port());
        self.next_hop(to.ip()).ok_or(Refused::NoRoute)?;
        let flow = self.unused_flow(now, to)?;
        let slot = self.take_slot().ok_or(Refused::Exhausted)?;
        let hash = self.flow_key.hash(&flow);
        if !self.flows.insert(hash, slot) {
            self.vacant.push(slot);
            return Err(Refused::Exhausted);
        }
        let connection = &mut self.connections[slot as usize];
        connection.occupy(now, &flow, hash, Phase::Connecting);
        let id = connection.id(slot);
        self.open_socket(slot);
        let isn = self.isn.isn(now, &flow);
        let mut interface = IsnGenerator::interface(isn, &self.cidrs, &mut self.scratch);
        let connected = self.arena.with(slot, |socket| {
            socket.connect(interface.context(), flow.peer, flow.local).is_ok()
        });
        if !connected {
            // An address that nobody can connect to: unspecified, or port zero.
            self.connections[slot as usize].phase = Phase::Embryonic;
            self.release(slot, CloseReason::Unreachable);
            return Err(Refused::NoRoute);
        }
        self.mark_ready(slot);
        Ok(id)
    }

    fn close(&mut self, id: ConnectionId, how: Close) {
        let Some(slot) = self.slot_of(id) else { return };
        let connection = &mut self.connections[slot as usize];
        match (how, connection.phase) {
            (Close::AfterSent | Close::Concluded, Phase::Open) => {
                connection.phase = Phase::Closing;
                self.heads.give(connection.head.take());
                if self.connections[slot as usize].holds_back {
                    let now = self.now;
                    self.settle(now, slot, Progress::default());
                }
                if self.slot_of(id).is_some() {
                    self.mark_ready(slot);
                }
            }
            (Close::AfterSent | Close::Concluded, Phase::Closing) | (_, Phase::Aborting(_)) => {}
            _ => self.abort(slot, CloseReason::Aborted),
        }
    }

    fn stop_listening(&mut self) {
        self.listen = None;
    }

    fn connections(&self) -> usize {
        self.flows.len()
    }

    fn wait(&mut self, now: Instant, deadline: Option<Instant>) {
        let has_work =
            !self.ready.is_empty() || !self.unanswered.is_empty() || !self.events.is_empty();
        if has_work || self.back_pressure || self.is_giving_back() {
            return;
        }
        let disk = self.residency.deadline(now);
        let timers = [self.wheel.next(), self.neighbors.next_check(), disk, deadline];
        self.port.wait(now, timers.into_iter().flatten().min());
    }

    fn waker(&self) -> Waker {
        self.port.waker()
    }
}

impl<P: Port> UserStack<P> {
    /// A 4-tuple to `to` that is not in use. Our addresses of its family take turns, so that each gives
    /// all of its ports.
    fn unused_flow(&mut self, now: Instant, to: SocketAddr) -> Result<Flow, Refused> {
        let of_family = |address: &IpAddr| address.is_ipv4() == to.is_ipv4();
        for _ in 0..PORT_TRIES {
            let mut ours =
                self.addresses.iter().map(super::ServedAddress::address).filter(of_family);
            let first = ours.clone().next().ok_or(Refused::NoRoute)?;
            let local = ours.nth(self.next_address).unwrap_or_else(|| {
                self.next_address = 0;
                self.next_port = port_after(self.next_port, &self.mesh);
                first
            });
            self.next_address += 1;
            let flow = Flow { peer: to, local: SocketAddr::new(local, self.next_port) };
            let connections = &self.connections;
            let hash = self.flow_key.hash(&flow);
            let packed = PackedFlow::new(&flow);
            let used = self.flows.find(hash, |slot| connections[slot as usize].flow == packed);
            if used.is_none() && !self.time_wait.contains(now, &flow, hash) {
                return Ok(flow);
            }
        }
        Err(Refused::Exhausted)
    }
}

/// The next port of this core. Each core has ports of its own, so that no two open the same 4-tuple.
fn port_after(port: u16, mesh: &Mesh) -> u16 {
    let (shards, shard) = (mesh.shards() as u16, u16::from(mesh.shard()));
    let mut next = port;
    loop {
        next = next.wrapping_add(1).max(FIRST_EPHEMERAL);
        if next % shards == shard {
            return next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_cores_have_a_port_in_common_and_none_is_left_out() {
        let mut owners = vec![0; 1 << 16];
        for mesh in Mesh::new(6) {
            let first = port_after(0, &mesh);
            let mut port = first;
            loop {
                owners[usize::from(port)] += 1;
                port = port_after(port, &mesh);
                if port == first {
                    break;
                }
            }
        }
        let (reserved, ephemeral) = owners.split_at(usize::from(FIRST_EPHEMERAL));
        assert!(reserved.iter().all(|&owners| owners == 0));
        assert!(ephemeral.iter().all(|&owners| owners == 1));
    }
}
