//! The seam: what the server asks of the stack.

use std::{mem, net::SocketAddr, time::Duration};

use pagewire_driver::{Instant, Waker};

use super::{KernelStack, connection::Connection, socket};
use crate::{Close, CloseReason, ConnectionId, EventBatch, Parts, Refused, Transport};

impl Transport for KernelStack {
    fn poll(&mut self, now: Instant, events: &mut EventBatch) {
        self.now = now;
        if !mem::take(&mut self.is_fresh) {
            self.fetch(Some(Duration::ZERO));
        }
        self.note_fetched();
        self.take_disk_answers(now);
        self.accept(now, events);
        self.expire_lingering(now);
        for _ in 0..self.ready.len() {
            if let Some(id) = self.ready.pop_front() {
                self.turn(id, now, events);
            }
        }
        self.report_ended(events);
    }

    fn received(&mut self, id: ConnectionId) -> &[u8] {
        self.slots.get(id).map_or(&[], |connection| connection.incoming.bytes())
    }

    fn consume(&mut self, id: ConnectionId, len: usize) {
        let Some(connection) = self.slots.get_mut(id) else { return };
        connection.incoming.consume(len, &mut self.core);
        if connection.has_unread() {
            self.list(id);
        }
    }

    fn buffer(&mut self) -> Vec<u8> {
        self.core.part_buffer()
    }

    fn submit(&mut self, id: ConnectionId, parts: &mut Parts) -> Result<(), Refused> {
        let connection = self.slots.get_mut(id).filter(|connection| !connection.is_closing());
        connection.ok_or(Refused::Gone)?.outgoing.push(parts)?;
        self.list(id);
        Ok(())
    }

    fn pending(&self, id: ConnectionId) -> u64 {
        self.slots.get(id).map_or(0, |connection| connection.outgoing.pending())
    }

    fn connect(&mut self, _now: Instant, to: SocketAddr) -> Result<ConnectionId, Refused> {
        if self.slots.is_full() {
            return Err(Refused::Exhausted);
        }
        let from = self.local_address(to);
        match socket::dial(to, from, self.config.congestion_control.as_deref())? {
            socket::Dialled::Connecting(socket) => {
                let connection = Connection::dialled(socket, to);
                let id = self.slots.insert(connection).ok_or(Refused::Exhausted)?;
                if !self.watch(id) {
                    self.slots.take(id);
                    self.slots.free(id);
                    return Err(Refused::Exhausted);
                }
                Ok(id)
            }
            socket::Dialled::Failed(socket, reason) => {
                let connection = Connection::dialled(socket, to);
                let id = self.slots.insert(connection).ok_or(Refused::Exhausted)?;
                self.end(id, reason);
                Ok(id)
            }
        }
    }

    fn close(&mut self, id: ConnectionId, how: Close) {
        match (how, self.slots.get_mut(id)) {
            (_, None) => {}
            (Close::Now, Some(_)) => self.end(id, CloseReason::Aborted),
            (Close::AfterSent | Close::Concluded, Some(connection)) => {
                connection.close_after_sent(how, &mut self.core);
                // Most fit the socket and are over with that, before epoll hears of them.
                match connection.send(id, self.now, &mut self.core) {
                    Ok(_) => self.list(id),
                    Err(reason) => self.end(id, reason),
                }
            }
        }
    }

    fn stop_listening(&mut self) {
        self.listeners.close();
    }

    fn connections(&self) -> usize {
        self.slots.used()
    }

    fn wait(&mut self, now: Instant, deadline: Option<Instant>) {
        let has_work = !self.ready.is_empty() || !self.ended.is_empty() || self.is_fresh;
        if has_work || mem::take(&mut self.is_woken) {
            return;
        }
        let due = [deadline, self.deadline(now)].into_iter().flatten().min();
        if due.is_some_and(|due| due <= now) {
            return;
        }
        self.fetch(due.map(|due| due - now));
        self.is_fresh = true;
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }
}
