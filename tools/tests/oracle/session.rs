//! A connection of a sender with a peer that acknowledges what it is told to, in whole segments.

use std::time::Duration;

use smoltcp::wire::TcpControl;

use crate::peer::{Ends, Out};

/// What a segment carries: no option takes anything from it.
pub const SEGMENT: u32 = 1_460;
/// A round trip: the peer is made to wait as long. Timers of senders run out after two at the earliest.
pub const ROUND_TRIP: Duration = Duration::from_millis(150);

const PEER_START: u32 = u32::MAX - 100;

/// Something that sends, and the way to it.
pub trait Link {
    fn ends(&self) -> Ends;

    /// Brings the sender a frame.
    fn send(&mut self, frame: &[u8]);

    /// Lets time pass. Returns the frames that have come and when, by the same clock always.
    fn pass(&mut self, time: Duration) -> Vec<(Duration, Vec<u8>)>;

    /// Gives the sender's application so many bytes to send. The handshake is complete.
    fn write(&mut self, len: usize);
}

/// What was sent while some time passed.
#[derive(Clone, Debug, Default)]
pub struct Phase {
    /// All segments by number, in order.
    pub order: Vec<u32>,
    /// Those that had been sent before.
    pub again: Vec<u32>,
    /// When they were sent.
    pub again_at: Vec<Duration>,
    /// How many had not.
    pub fresh: usize,
}

pub struct Session<L> {
    link: L,
    /// The sender's number of the first byte.
    first: u32,
    /// Segments sent so far.
    sent: u32,
}

impl<L: Link> Session<L> {
    /// Completes a handshake that takes a round trip.
    pub fn open(mut link: L) -> Self {
        let ends = link.ends();
        let syn = Out {
            control: TcpControl::Syn,
            sequence: PEER_START,
            acknowledgement: None,
            sack: [None; 3],
        };
        link.send(&ends.frame(&syn));
        let answers = link.pass(ROUND_TRIP);
        let syn_ack = answers.iter().find_map(|(_, frame)| ends.read(frame));
        let syn_ack = syn_ack.filter(|answer| answer.is_syn).expect("a SYN-ACK");
        let mut session = Self { link, first: syn_ack.sequence.wrapping_add(1), sent: 0 };
        session.acknowledge(0, &[]);
        session
    }

    /// Lets the sender have so many segments more to send.
    pub fn write(&mut self, segments: u32) {
        self.link.write((segments * SEGMENT) as usize);
    }

    /// Acknowledges all segments before the one of this number, and these besides: each from the first to
    /// before the second.
    pub fn acknowledge(&mut self, next: u32, blocks: &[(u32, u32)]) {
        let number = |segment: u32| self.first.wrapping_add(segment * SEGMENT);
        let mut sack = [None; 3];
        for (place, &(first, end)) in sack.iter_mut().zip(blocks) {
            *place = Some((number(first), number(end)));
        }
        let out = Out {
            control: TcpControl::None,
            sequence: PEER_START.wrapping_add(1),
            acknowledgement: Some(number(next)),
            sack,
        };
        let frame = self.link.ends().frame(&out);
        self.link.send(&frame);
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Duration) -> Phase {
        let (ends, mut phase) = (self.link.ends(), Phase::default());
        for (at, frame) in self.link.pass(time) {
            let Some(segment) = ends.read(&frame).filter(|segment| segment.len > 0) else {
                continue;
            };
            let offset = segment.sequence.wrapping_sub(self.first);
            let number = offset / SEGMENT;
            if offset % SEGMENT > 0 {
                // Ours sends what has timed out twice in pieces: the path may carry no more.
                assert!(number < self.sent, "whole segments at first");
                continue;
            }
            phase.order.push(number);
            if number < self.sent {
                phase.again.push(number);
                phase.again_at.push(at);
            } else {
                assert_eq!(number, self.sent, "in order at first");
                phase.fresh += 1;
                self.sent += 1;
            }
        }
        phase
    }
}
