//! What all connections of one core share: buffers, the disk, counters, the linger queue.

use std::{collections::VecDeque, time::Duration};

use pagewire_driver::Instant;

use super::{KernelConfig, KernelCounters};
use crate::{ConnectionId, disk::Residency};

/// Most buffers kept for parts.
const PART_BUFFERS_MAX: usize = 1_024;

/// Largest buffer kept for parts.
const PART_BUFFER_BYTES_MAX: usize = 64 << 10;

/// Most buffers kept for received bytes.
const RECEIVE_BUFFERS_MAX: usize = 1_024;

#[derive(Debug)]
pub(super) struct Core {
    pub(super) residency: Residency,
    pub(super) counters: KernelCounters,
    /// Connections that wait for the peer's end, by deadline.
    pub(super) lingering: VecDeque<(Instant, ConnectionId)>,
    pub(super) linger: Duration,
    head_limit_bytes: usize,
    receive_buffers: Vec<Box<[u8]>>,
    part_buffers: Vec<Vec<u8>>,
}

impl Core {
    pub(super) fn new(config: &KernelConfig, residency: Residency) -> Self {
        Self {
            residency,
            counters: KernelCounters::default(),
            lingering: VecDeque::new(),
            linger: config.linger,
            head_limit_bytes: config.head_limit_bytes.max(1),
            receive_buffers: Vec::new(),
            part_buffers: Vec::new(),
        }
    }

    /// A buffer as long as the head limit. Its bytes are anything.
    pub(super) fn receive_buffer(&mut self) -> Box<[u8]> {
        let fresh = || vec![0; self.head_limit_bytes].into();
        self.receive_buffers.pop().unwrap_or_else(fresh)
    }

    pub(super) fn return_receive_buffer(&mut self, buffer: Box<[u8]>) {
        if self.receive_buffers.len() < RECEIVE_BUFFERS_MAX && !buffer.is_empty() {
            self.receive_buffers.push(buffer);
        }
    }

    /// An empty buffer for a part.
    pub(super) fn part_buffer(&mut self) -> Vec<u8> {
        self.part_buffers.pop().unwrap_or_default()
    }

    /// Keeps the buffer of a part that is sent.
    pub(super) fn recycle(&mut self, mut bytes: Vec<u8>) {
        let worth = 1..=PART_BUFFER_BYTES_MAX;
        if self.part_buffers.len() < PART_BUFFERS_MAX && worth.contains(&bytes.capacity()) {
            bytes.clear();
            self.part_buffers.push(bytes);
        }
    }
}
