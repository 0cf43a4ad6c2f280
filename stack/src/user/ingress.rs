//! The receive side of a turn: whose packet is it, and may its socket see it?

use pagewire_driver::{BURST, Burst, Instant, Port, prefetch, stages};

use super::{
    Connection, DropCause, Phase, UserStack,
    flow_table::PackedFlow,
    guard::{self, Measure, Verdict},
    mesh::{MOST_SHARDS, Message},
    packet::{self, Parsed, Segment, flags},
    reply::{self, BareSegment},
    sequence::ahead,
    settle::Progress,
    simultaneous, smoltcp_time,
    time_wait::Answer,
};

/// Most messages of other cores that one turn takes.
const MESSAGES_PER_TURN: usize = 128;

/// A segment of a burst.
struct Arrival<'a> {
    segment: Segment<'a>,
    hash: u64,
    /// Where its connection most likely is.
    guess: Option<u32>,
}

/// How a packet came to this core.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Origin {
    /// From our queue.
    Queue,
    /// From another core, which takes us for the owner.
    Directed,
    /// From another core, which asks everybody.
    Question { from: u8, number: u32 },
}

impl<P: Port> UserStack<P> {
    /// Receives and handles a burst of frames.
    pub(super) fn receive_burst(&mut self, now: Instant) {
        let mut burst = std::mem::take(&mut self.burst);
        self.port.receive(now, &mut burst);
        if !burst.is_empty() {
            self.handle_burst(now, &burst);
        }
        drop(burst.drain());
        self.burst = burst;
    }

    /// In stages, so that memory that is far away is waited for together: where the segments' flows are
    /// in the table, their connections, what those lead to, and at last what is to be done.
    fn handle_burst(&mut self, now: Instant, burst: &Burst) {
        let capabilities = *self.port.capabilities();
        let mut segments = [const { None }; BURST];
        let segments = &mut segments[..burst.len()];
        for (frame, place) in burst.frames().iter().zip(&mut *segments) {
            let verified = capabilities.checksums.receive_verified;
            match packet::parse(frame.bytes(), capabilities.mac, verified) {
                Ok(Parsed::Tcp(segment)) => {
                    let hash = self.flow_key.hash(&segment.flow);
                    self.flows.prefetch(hash);
                    *place = Some(Arrival { segment, hash, guess: None });
                }
                Ok(Parsed::Arp(arp)) => self.arp(now, &arp),
                Ok(Parsed::Icmpv4(message)) => self.icmpv4(now, &message),
                Ok(Parsed::Icmpv6(message)) => self.icmpv6(now, &message),
                Err(cause) => self.counters.drop_frame(cause),
            }
        }
        for [far, halfway, near, present] in stages(segments.len()) {
            if let Some(Some(far)) = far.map(|place| &mut segments[place]) {
                far.guess = self.flows.guess(far.hash);
                match far.guess {
                    Some(slot) => prefetch(&self.connections[slot as usize]),
                    None => self.time_wait.prefetch(far.hash),
                }
            }
            let at = |place: Option<usize>| segments[place?].as_ref();
            if let Some(Arrival { segment, guess: Some(slot), .. }) = at(halfway) {
                let connection = &self.connections[*slot as usize];
                connection.sender.prefetch();
                if !connection.expects(segment, self.limits.head) && !segment.is_bare() {
                    let received = connection.sequence.drained;
                    self.arena.prefetch(*slot);
                    self.arena.prefetch_receive(*slot, received, segment.payload_len);
                }
            }
            if let Some(Arrival { guess: Some(slot), .. }) = at(near) {
                self.connections[*slot as usize].sender.prefetch_records();
            }
            if let Some(Arrival { segment, hash, .. }) = at(present) {
                self.segment(now, segment, *hash, Origin::Queue);
            }
        }
    }

    /// Handles what other cores have sent. Says whether there may be more.
    pub(super) fn receive_messages(&mut self, now: Instant) {
        for _ in 0..MESSAGES_PER_TURN {
            let Some(message) = self.mesh.receive() else { return };
            match message {
                Message::Packet(packet) => self.hopped(now, &packet, Origin::Directed),
                Message::Question { packet, from, number } => {
                    self.hopped(now, &packet, Origin::Question { from, number });
                }
                Message::Answer { number, known } => {
                    if let Some(packet) = self.questions.answered(number, known)
                        && let Some(segment) = packet::parse_again(&packet)
                    {
                        self.refuse(now, &segment);
                    }
                }
                Message::Icmp(error) => self.heed(&error),
                Message::Neighbor(address, mac) => {
                    self.learn(now, address, mac);
                }
            }
        }
        // More may be waiting: do not sleep before the next turn.
        self.port.waker().wake();
    }

    fn hopped(&mut self, now: Instant, packet: &[u8], origin: Origin) {
        self.counters.hopped_in += 1;
        if let Some(segment) = packet::parse_again(packet) {
            let hash = self.flow_key.hash(&segment.flow);
            self.segment(now, &segment, hash, origin);
        }
    }

    fn segment(&mut self, now: Instant, segment: &Segment<'_>, hash: u64, origin: Origin) {
        self.counters.segments_received += 1;
        let (connections, flow) = (&self.connections, PackedFlow::new(&segment.flow));
        let slot = self.flows.find(hash, |slot| {
            let connection = &connections[slot as usize];
            connection.flow == flow && fits_handshake(connection, segment)
        });
        match slot {
            Some(slot) => {
                if let Origin::Question { from, number } = origin {
                    // If the answer is lost the question just stays open.
                    let _ = self.mesh.send(from, Message::Answer { number, known: true });
                }
                self.known(now, slot, segment);
            }
            None => self.unknown(now, segment, hash, origin),
        }
    }

    /// A segment of a connection that is here.
    pub(super) fn known(&mut self, now: Instant, slot: u32, segment: &Segment<'_>) {
        let window = self.limits.receive_window as u32;
        let connection = &mut self.connections[slot as usize];
        let is_connecting = connection.phase == Phase::Connecting;
        if is_connecting && connection.sequence.is_answered_by(segment) {
            let mut packet = [0; simultaneous::ROOM];
            let acknowledgement = simultaneous::acknowledgement_of(segment, &mut packet);
            return self.known(now, slot, &acknowledgement);
        }
        if !is_connecting || connection.sequence.has_begun() {
            let measure = Measure {
                unacknowledged: connection.unacknowledged(),
                send_window: connection.sender.most_window(),
                receive_window: window,
                silence: now - connection.heard,
            };
            let is_opening = is_connecting || connection.phase == Phase::Embryonic;
            let state = &mut connection.sequence;
            match guard::judge(state, now, segment, &measure) {
                Verdict::Pass => {}
                Verdict::Drop(cause) => return self.counters.drop_frame(cause),
                Verdict::Challenge(cause) => {
                    self.counters.drop_frame(cause);
                    if is_opening && guard::is_syn_again(state, segment) {
                        return self.answer_again(now, slot);
                    }
                    if is_connecting && cause == DropCause::BadAcknowledgement {
                        return self.reset(now, segment);
                    }
                    return self.challenge(now, slot);
                }
            }
        }
        let connection = &mut self.connections[slot as usize];
        connection.heard = now;
        if segment.has(flags::ACK)
            && ahead(segment.acknowledgement, connection.unacknowledged()) >= 0
        {
            connection.sequence.peer_window = segment.window();
        }
        let (id, mut progress) = (connection.id(slot), Progress::default());
        let is_open = matches!(connection.phase, Phase::Open | Phase::Closing);
        if is_open && segment.flags & (flags::ACK | flags::RST | flags::SYN) == flags::ACK {
            let early = ahead(segment.sequence, connection.sequence.receive_next);
            if early.unsigned_abs() <= window {
                progress = self.take_acknowledgement(now, slot, segment);
                if segment.sequence_len() == 0 && early >= 0 && !progress.finished {
                    // The socket knows of nothing that this could acknowledge.
                    if progress.all_sent {
                        self.report_sent(id);
                    }
                    return self.settle_acknowledgement(now, slot);
                }
            }
        }
        let connection = &mut self.connections[slot as usize];
        if let Some(marks) = connection.marks.as_mut().filter(|_| is_open) {
            let marked = segment.is_marked();
            marks.echoes = marked || (marks.echoes && !segment.has(flags::CWR));
        }
        if connection.expects(segment, self.limits.head) {
            return self.take_expected(now, slot, segment, progress);
        }
        connection.sequence.note_early(segment, window);
        let may_begin = is_connecting && !connection.sequence.has_begun();
        if may_begin && guard::may_begin(&connection.sequence, segment) {
            connection.sequence.begin_receiving(segment);
            connection.agree_on_marks(segment);
        }
        let is_early_fin = guard::is_early_fin(&connection.sequence, segment);
        let numbers = connection.numbers_for_socket(segment);
        let mut device = if is_open && numbers != (segment.sequence, segment.acknowledgement) {
            self.scratch.device_with(segment.packet, segment.tcp_start(), numbers)
        } else {
            self.scratch.device(segment.packet)
        };
        self.arena.ingress(slot, &mut self.interface, smoltcp_time(now), &mut device);
        if !self.emit(now, slot) && is_early_fin {
            self.acknowledge_again(now, slot);
        }
        self.settle(now, slot, progress);
    }

    /// A segment of no connection that is here.
    fn unknown(&mut self, now: Instant, segment: &Segment<'_>, hash: u64, origin: Origin) {
        let mut after = None;
        match self.time_wait.answer(now, segment, hash) {
            Answer::NotHere => {}
            Answer::Reopen(last) => after = Some(last),
            Answer::Ignore => return,
            Answer::Acknowledge { .. } if !self.challenges.take(now) => {
                self.counters.challenges_withheld += 1;
                return;
            }
            Answer::Acknowledge { sequence, acknowledgement, timestamp } => {
                let bare = BareSegment {
                    sequence,
                    acknowledgement,
                    flags: flags::ACK,
                    window: 0,
                    timestamps: timestamp.map(|recent| (self.timestamp(now), recent)),
                };
                let flow = segment.flow;
                return self.send_own(now, flow.peer.ip(), |packet| {
                    reply::bare_segment(packet, &flow, &bare)
                });
            }
        }
        let opens = segment.has(flags::SYN) && !segment.has(flags::ACK);
        if opens && self.is_for_listener(segment) {
            return self.accept(now, segment, hash, after);
        }
        if self.accept_cookie(now, segment, hash) {
            if let Origin::Question { from, number } = origin {
                let _ = self.mesh.send(from, Message::Answer { number, known: true });
            }
            return;
        }
        match origin {
            Origin::Question { from, number } => {
                let _ = self.mesh.send(from, Message::Answer { number, known: false });
            }
            Origin::Queue if self.mesh.shards() > 1 && !opens => self.find_owner(segment),
            Origin::Queue | Origin::Directed => self.refuse(now, segment),
        }
    }

    /// Passes a segment on to the core that its echoed timestamp names, or else asks everybody.
    fn find_owner(&mut self, segment: &Segment<'_>) {
        let owner = segment.timestamps.map(|(_, echo)| (echo as usize % MOST_SHARDS) as u8);
        let sent = match owner {
            Some(owner)
                if owner != self.mesh.shard() && usize::from(owner) < self.mesh.shards() =>
            {
                self.mesh.send(owner, Message::Packet(segment.packet.into()))
            }
            _ => {
                self.counters.questions += 1;
                self.questions.ask(&self.mesh, segment.packet)
            }
        };
        if sent {
            self.counters.hopped_out += 1;
        } else {
            self.counters.drop_frame(DropCause::MeshFull);
        }
    }

    /// Resets a segment of no connection.
    fn refuse(&mut self, now: Instant, segment: &Segment<'_>) {
        self.counters.drop_frame(DropCause::NoConnection);
        self.note_failed_cookie(now, segment);
        if !segment.has(flags::RST) && self.serves(segment) {
            self.reset(now, segment);
        }
    }

    fn reset(&mut self, now: Instant, segment: &Segment<'_>) {
        self.counters.resets_sent += 1;
        self.send_own(now, segment.flow.peer.ip(), |packet| reply::reset(packet, segment));
    }

    pub(super) fn serves(&self, segment: &Segment<'_>) -> bool {
        self.addresses.iter().any(|served| served.address() == segment.flow.local.ip())
    }

    /// Sends what was received so far again: a challenge ACK (RFC 5961).
    fn challenge(&mut self, now: Instant, slot: u32) {
        if !self.challenges.take(now) {
            self.counters.challenges_withheld += 1;
            return;
        }
        self.counters.challenges_sent += 1;
        self.acknowledge_again(now, slot);
    }

    /// Sends a bare acknowledgement of what was received so far.
    pub(super) fn acknowledge_again(&mut self, now: Instant, slot: u32) {
        let tsval = self.timestamp(now);
        let connection = &self.connections[slot as usize];
        let (flow, sequence) = (connection.flow.flow(), &connection.sequence);
        // The window ends where the socket has told that it does: it takes nothing beyond.
        let marked = connection.marks.is_some_and(|marks| marks.echoes);
        let bare = BareSegment {
            sequence: sequence.sent_end,
            acknowledgement: sequence.receive_next,
            flags: flags::ACK | if marked { flags::ECE } else { 0 },
            window: sequence.window_left() as u16,
            timestamps: sequence.recent_timestamp.map(|recent| (tsval, recent)),
        };
        self.send_own(now, flow.peer.ip(), |packet| reply::bare_segment(packet, &flow, &bare));
    }
}

/// Whether the segment can be of this connection's handshake. An ACK for another initial sequence
/// number belongs to a handshake that another core has begun with the same peer.
fn fits_handshake(connection: &Connection, segment: &Segment<'_>) -> bool {
    connection.phase != Phase::Embryonic
        || !segment.has(flags::ACK)
        || segment.acknowledgement == connection.sequence.sent_end
}
