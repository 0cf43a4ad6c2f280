//! Hand-made clients at the far end of a memory link: thousands of connections, a few numbers each.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use pagewire_driver::{BURST, Burst, Instant, MemoryPort, Port};

use super::{
    EngineError,
    app::App,
    segment::{self, ACK, CLIENT_MAC, End, FIN, Out, PSH, STACK_MAC, SYN},
};

/// Connections of one client address.
const PORTS: usize = 50_000;
const FIRST_PORT: usize = 10_000;
/// The window that clients offer, scaled by 2^7.
const WINDOW: u16 = 60_000;

#[derive(Clone, Copy, Debug, Default)]
struct Connection {
    sequence: u32,
    acknowledgement: u32,
    /// Acknowledged so far.
    told: u32,
}

/// The clients.
pub struct Clients {
    port: MemoryPort,
    is_ipv6: bool,
    connections: Vec<Connection>,
    burst: Burst,
}

impl Clients {
    /// Clients with `count` connections, none of them open.
    pub fn new(port: MemoryPort, count: usize, is_ipv6: bool) -> Self {
        let connections = vec![Connection::default(); count];
        Self { port, is_ipv6, connections, burst: Burst::new() }
    }

    /// How many connections there are.
    pub fn count(&self) -> usize {
        self.connections.len()
    }

    /// Opens all connections.
    pub fn open(&mut self, app: &mut impl App, now: &mut Instant) -> Result<(), EngineError> {
        let count = self.connections.len();
        // One of each address first: the stack asks for its neighbours.
        for first in (0..count).step_by(PORTS) {
            self.open_batch(&[first], app, now);
        }
        let others: Vec<usize> = (0..count).filter(|index| index % PORTS != 0).collect();
        for batch in others.chunks(BURST / 2) {
            self.open_batch(batch, app, now);
        }
        let opened = app.connections();
        if opened == count {
            return Ok(());
        }
        Err(EngineError::Broken(format!("{opened} of {count} connections are open")))
    }

    fn open_batch(&mut self, batch: &[usize], app: &mut impl App, now: &mut Instant) {
        for &index in batch {
            self.ask_to_open(index);
        }
        self.exchange(app, *now);
        for &index in batch {
            self.acknowledge(index);
        }
        self.exchange(app, *now);
        *now += Duration::from_micros(50);
    }

    /// Closes all connections, those of a batch together.
    pub fn close(&mut self, app: &mut impl App, now: &mut Instant) -> Result<(), EngineError> {
        let all: Vec<usize> = (0..self.connections.len()).collect();
        for batch in all.chunks(BURST / 2) {
            for &index in batch {
                self.finish(index);
            }
            self.exchange(app, *now);
            for &index in batch {
                self.acknowledge(index);
            }
            self.exchange(app, *now);
            *now += Duration::from_micros(50);
        }
        match app.connections() {
            0 => Ok(()),
            left => Err(EngineError::Broken(format!("{left} connections did not close"))),
        }
    }

    /// Turns of the stack and answers to its questions until both are quiet.
    fn exchange(&mut self, app: &mut impl App, now: Instant) {
        let _ = self.port.flush(now);
        for _ in 0..4 {
            app.turn(now);
            self.collect(now);
            let _ = self.port.flush(now);
        }
    }

    /// Sends a SYN at the next flush.
    pub fn ask_to_open(&mut self, index: usize) {
        self.send(index, SYN, &[]);
        let connection = &mut self.connections[index];
        connection.sequence = connection.sequence.wrapping_add(1);
    }

    /// Sends a FIN, and with it all acknowledgements, at the next flush.
    pub fn finish(&mut self, index: usize) {
        self.send(index, FIN | ACK, &[]);
        let connection = &mut self.connections[index];
        connection.sequence = connection.sequence.wrapping_add(1);
    }

    /// Sends a request on a connection at the next flush.
    pub fn request(&mut self, index: usize, bytes: &[u8]) {
        self.send(index, PSH | ACK, bytes);
        let connection = &mut self.connections[index];
        connection.sequence = connection.sequence.wrapping_add(bytes.len() as u32);
    }

    /// Acknowledges all that a connection has received, at the next flush.
    pub fn acknowledge(&mut self, index: usize) {
        self.send(index, ACK, &[]);
    }

    /// The same in steps of so many bytes, each with an acknowledgement of its own.
    pub fn acknowledge_in_steps(&mut self, index: usize, step: u32) {
        loop {
            let Connection { acknowledgement, told, .. } = self.connections[index];
            match acknowledgement.wrapping_sub(told) {
                0 => return,
                left => self.send_with(index, ACK, told.wrapping_add(left.min(step)), &[]),
            }
        }
    }

    /// Hands the link what was sent.
    pub fn flush(&mut self, now: Instant) {
        let _ = self.port.flush(now);
    }

    /// Takes what the stack has sent and returns how many payload bytes that were, and in how many
    /// segments.
    pub fn collect(&mut self, now: Instant) -> (usize, usize) {
        let (mut bytes, mut segments) = (0, 0);
        loop {
            let mut burst = std::mem::take(&mut self.burst);
            self.port.receive(now, &mut burst);
            let count = burst.len();
            for frame in burst.drain() {
                let Some(segment) = segment::read(frame.bytes()) else {
                    self.answer(frame.bytes());
                    continue;
                };
                let index = Self::index_of(segment.to);
                let Some(connection) = self.connections.get_mut(index) else { continue };
                let end = segment.sequence.wrapping_add(segment.sequence_len());
                let is_further = end.wrapping_sub(connection.acknowledgement).cast_signed() > 0;
                if is_further || segment.flags & SYN != 0 {
                    connection.acknowledgement = end;
                }
                bytes += segment.payload_len;
                segments += usize::from(segment.payload_len > 0);
            }
            self.burst = burst;
            if count == 0 {
                return (bytes, segments);
            }
        }
    }

    fn send(&mut self, index: usize, flags: u8, payload: &[u8]) {
        let acknowledgement = self.connections[index].acknowledgement;
        self.send_with(index, flags, acknowledgement, payload);
    }

    fn send_with(&mut self, index: usize, flags: u8, acknowledgement: u32, payload: &[u8]) {
        let end = self.end_of(index);
        let connection = &mut self.connections[index];
        connection.told = acknowledgement;
        let sequence = connection.sequence;
        let out = Out { sequence, acknowledgement, flags, window: WINDOW, payload };
        self.send_frame(|frame| segment::write(frame, end, &out));
    }

    fn send_frame(&mut self, write: impl FnOnce(&mut [u8]) -> usize) {
        let Some(mut frame) = self.port.allocate() else { return };
        let len = write(frame.chunk_mut());
        frame.set_len(len);
        // The link is large enough for a batch; what did not fit would show as a missing answer.
        let _ = self.port.transmit(frame);
    }

    fn end_of(&self, index: usize) -> End {
        let (host, port) = (index / PORTS + 2, index % PORTS + FIRST_PORT);
        let address: IpAddr = if self.is_ipv6 {
            Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, host as u16).into()
        } else {
            Ipv4Addr::new(10, 0, (host >> 8) as u8, host as u8).into()
        };
        End { address, port: port as u16 }
    }

    fn index_of(end: End) -> usize {
        let host = match end.address {
            IpAddr::V4(address) => {
                usize::from(address.octets()[2]) << 8 | usize::from(address.octets()[3])
            }
            IpAddr::V6(address) => usize::from(address.segments()[7]),
        };
        (host.wrapping_sub(2)).wrapping_mul(PORTS) + usize::from(end.port) - FIRST_PORT
    }

    /// Answers an ARP request or a neighbour solicitation, whomever it is for.
    fn answer(&mut self, question: &[u8]) {
        match question[12..14] {
            [8, 6] => {
                let mut frame = question.to_vec();
                frame[..6].copy_from_slice(&STACK_MAC);
                frame[6..12].copy_from_slice(&CLIENT_MAC);
                frame[21] = 2;
                frame[22..28].copy_from_slice(&CLIENT_MAC);
                frame[28..32].copy_from_slice(&question[38..42]);
                frame[32..42].copy_from_slice(&question[22..32]);
                self.send_copy(&frame);
            }
            [0x86, 0xdd] if question[54] == 135 => {
                // The solicitation turned into an advertisement: target and source change places, and
                // the option tells the target's address instead of the source's.
                let mut frame = question[..86].to_vec();
                frame[..6].copy_from_slice(&STACK_MAC);
                frame[6..12].copy_from_slice(&CLIENT_MAC);
                frame[22..38].copy_from_slice(&question[62..78]);
                frame[38..54].copy_from_slice(&question[22..38]);
                frame[54..62].copy_from_slice(&[136, 0, 0, 0, 0x60, 0, 0, 0]);
                frame[78..80].copy_from_slice(&[2, 1]);
                frame[80..86].copy_from_slice(&CLIENT_MAC);
                let checksum = segment::icmpv6_checksum(&frame[22..54], &frame[54..86]);
                frame[56..58].copy_from_slice(&checksum);
                self.send_copy(&frame);
            }
            _ => {}
        }
    }

    fn send_copy(&mut self, bytes: &[u8]) {
        self.send_frame(|frame| {
            frame[..bytes.len()].copy_from_slice(bytes);
            bytes.len()
        });
    }
}
