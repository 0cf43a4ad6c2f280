//! smoltcp's view of the link: the one packet under the hand, and scratch memory for what it emits.
//!
//! smoltcp emits at most one packet a call, so the caller looks at what is in the scratch memory after
//! the call and builds frames from it. Checksums are the business of `packet` and `gather`.

use smoltcp::{
    phy::{self, ChecksumCapabilities, DeviceCapabilities, Medium},
    time::Instant,
};

/// Largest packet that smoltcp is let emit.
const SCRATCH: usize = 4_096;

/// Where smoltcp writes packets.
pub struct Scratch {
    bytes: Box<[u8; SCRATCH]>,
    len: usize,
    capabilities: DeviceCapabilities,
}

impl Scratch {
    /// For a link with this MTU.
    pub fn new(mtu: usize) -> Self {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = mtu.min(SCRATCH);
        capabilities.checksum = ChecksumCapabilities::ignored();
        Self { bytes: Box::new([0; SCRATCH]), len: 0, capabilities }
    }

    /// A device that has `packet` to receive, or nothing if it is empty.
    pub fn device<'a>(&'a mut self, packet: &'a [u8]) -> Device<'a> {
        self.len = 0;
        Device { packet, scratch: self }
    }

    /// The packet emitted since the last call of [`device`](Self::device), if any.
    pub fn emitted(&self) -> Option<&[u8]> {
        (self.len > 0).then(|| &self.bytes[..self.len])
    }
}

/// See [`Scratch::device`].
pub struct Device<'a> {
    packet: &'a [u8],
    scratch: &'a mut Scratch,
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
        Some((Packet(std::mem::take(&mut self.packet)), Emit(self.scratch)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Emit<'_>> {
        Some(Emit(self.scratch))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.scratch.capabilities.clone()
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
pub struct Emit<'a>(&'a mut Scratch);

impl phy::TxToken for Emit<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        self.0.len = len;
        f(&mut self.0.bytes[..len])
    }
}
