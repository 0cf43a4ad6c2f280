//! smoltcp's view of the link: the one packet under the hand, and scratch memory for what it emits.
//!
//! smoltcp emits at most one packet a call, and never payload, so the caller looks at what is in the scratch
//! memory after the call and builds frames from it. Checksums are the business of `packet` and `emit`.

use smoltcp::{
    phy::{self, ChecksumCapabilities, DeviceCapabilities, Medium},
    time::Instant,
};

/// Largest packet that goes in or out.
const SCRATCH: usize = 4_096;

/// Where smoltcp writes packets, and reads those that are changed for it.
pub struct Scratch {
    emitted: Box<[u8; SCRATCH]>,
    len: usize,
    changed: Box<[u8; SCRATCH]>,
    capabilities: DeviceCapabilities,
}

impl Scratch {
    /// For a link with this MTU.
    pub fn new(mtu: usize) -> Self {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = mtu.min(SCRATCH);
        capabilities.checksum = ChecksumCapabilities::ignored();
        let memory = || Box::new([0; SCRATCH]);
        Self { emitted: memory(), len: 0, changed: memory(), capabilities }
    }

    /// A device that has `packet` to receive, or nothing if it is empty.
    pub fn device<'a>(&'a mut self, packet: &'a [u8]) -> Device<'a> {
        self.len = 0;
        let Self { emitted, len, capabilities, .. } = self;
        Device { packet, emitted, len, capabilities }
    }

    /// A device that has `packet` to receive, with another sequence and acknowledgement number in the TCP
    /// header that begins at `tcp`. A packet too large for any link becomes none.
    pub fn device_with(
        &mut self,
        packet: &[u8],
        tcp: usize,
        (sequence, acknowledgement): (u32, u32),
    ) -> Device<'_> {
        self.len = 0;
        let Self { emitted, len, capabilities, changed } = self;
        let packet_len = if packet.len() <= SCRATCH { packet.len() } else { 0 };
        let copy = &mut changed[..packet_len];
        copy.copy_from_slice(&packet[..packet_len]);
        if let Some(fields) = copy.get_mut(tcp + 4..tcp + 12) {
            fields[..4].copy_from_slice(&sequence.to_be_bytes());
            fields[4..].copy_from_slice(&acknowledgement.to_be_bytes());
        }
        Device { packet: copy, emitted, len, capabilities }
    }

    /// The packet emitted since the last device was made, if any, to be changed.
    pub fn emitted_mut(&mut self) -> Option<&mut [u8]> {
        (self.len > 0).then(|| &mut self.emitted[..self.len])
    }

    /// The packet emitted since the last device was made, if any.
    pub fn emitted(&self) -> Option<&[u8]> {
        (self.len > 0).then(|| &self.emitted[..self.len])
    }
}

/// See [`Scratch::device`].
pub struct Device<'a> {
    packet: &'a [u8],
    emitted: &'a mut [u8; SCRATCH],
    len: &'a mut usize,
    capabilities: &'a DeviceCapabilities,
}

impl phy::Device for Device<'_> {
    type RxToken<'b>
        = Packet<'b>
    where
        Self: 'b;
    type TxToken<'b>
        = Emit<'b>
    where
        Self: 'b;

    fn receive(&mut self, _now: Instant) -> Option<(Packet<'_>, Emit<'_>)> {
        if self.packet.is_empty() {
            return None;
        }
        let packet = Packet(std::mem::take(&mut self.packet));
        Some((packet, Emit { emitted: self.emitted, len: self.len }))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Emit<'_>> {
        Some(Emit { emitted: self.emitted, len: self.len })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.capabilities.clone()
    }
}

/// The packet under the hand.
pub struct Packet<'a>(&'a [u8]);

impl phy::RxToken for Packet<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

/// The right to emit one packet into the scratch memory.
pub struct Emit<'a> {
    emitted: &'a mut [u8; SCRATCH],
    len: &'a mut usize,
}

impl phy::TxToken for Emit<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        *self.len = len;
        f(&mut self.emitted[..len])
    }
}
