//! Packets that arrive on another queue than their connection's: how they reach the core that owns it.
//!
//! Flows move between queues when RSS changes, and on virtual links when a peer retransmits. There is
//! no shared table of connections. The owner's number is in the low bits of every timestamp that we
//! send and the peer echoes; where there is no echo, all other cores are asked, and only when all have
//! said that they do not know the flow is it reset. Channels are bounded; what does not fit is dropped
//! and counted, as on any link.

use std::{
    collections::VecDeque,
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use crossbeam_channel::{Receiver, Sender, bounded};
use pagewire_driver::{MacAddress, Waker};

use super::icmp_error::IcmpError;

/// Low bits of a timestamp that name the shard.
pub const SHARD_BITS: u32 = 6;
/// Most shards of one server.
pub const MOST_SHARDS: usize = 1 << SHARD_BITS;
/// Messages that wait for one core.
const CAPACITY: usize = 1_024;

/// What cores tell each other.
#[derive(Debug)]
pub enum Message {
    /// A checked L3 packet with a TCP segment for a connection that the receiver owns by its echoed
    /// timestamp.
    Packet(Box<[u8]>),
    /// The same, where the owner is not known. Whoever has the connection takes it; whoever has not
    /// answers to `from`.
    Question {
        /// The packet.
        packet: Box<[u8]>,
        /// Who asks.
        from: u8,
        /// The asker's number for it.
        number: u32,
    },
    /// The answer to a question.
    Answer {
        /// The asker's number for it.
        number: u32,
        /// Whether the connection is known there.
        known: bool,
    },
    /// An ICMP error about a flow that the sender does not know.
    Icmp(IcmpError),
    /// A neighbour has been learned.
    Neighbor(IpAddr, MacAddress),
}

/// One core's end of the mesh.
#[derive(Debug)]
pub struct Mesh {
    shard: u8,
    receiver: Receiver<Message>,
    senders: Vec<Sender<Message>>,
    wakers: Arc<[OnceLock<Waker>]>,
}

impl Mesh {
    /// The ends of a mesh of `shards` cores, at most [`MOST_SHARDS`], in order.
    pub fn new(shards: usize) -> Vec<Self> {
        let shards = shards.clamp(1, MOST_SHARDS);
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..shards).map(|_| bounded(CAPACITY)).unzip();
        let wakers: Arc<[_]> = (0..shards).map(|_| OnceLock::new()).collect();
        let end = |(shard, receiver)| Self {
            shard,
            receiver,
            senders: senders.clone(),
            wakers: Arc::clone(&wakers),
        };
        (0..).zip(receivers).map(end).collect()
    }

    /// Says how this core is woken. Called once by the stack.
    pub fn set_waker(&self, waker: Waker) {
        let _ = self.wakers[usize::from(self.shard)].set(waker);
    }

    /// This core's number.
    pub fn shard(&self) -> u8 {
        self.shard
    }

    /// How many cores there are.
    pub fn shards(&self) -> usize {
        self.senders.len()
    }

    /// The next message for this core.
    pub fn receive(&self) -> Option<Message> {
        // Alone, a core does not even look.
        if self.senders.len() < 2 {
            return None;
        }
        self.receiver.try_recv().ok()
    }

    /// Sends a message to another core. False if its channel is full or it is gone.
    #[must_use]
    pub fn send(&self, to: u8, message: Message) -> bool {
        let to = usize::from(to);
        if to == usize::from(self.shard) || to >= self.senders.len() {
            return false;
        }
        let sent = self.senders[to].try_send(message).is_ok();
        if sent && let Some(waker) = self.wakers[to].get() {
            waker.wake();
        }
        sent
    }

    /// The numbers of all other cores.
    pub fn others(&self) -> impl Iterator<Item = u8> + use<> {
        let shard = self.shard;
        (0..self.senders.len() as u8).filter(move |&other| other != shard)
    }
}

/// Questions to all other cores that are not yet answered by all.
#[derive(Debug, Default)]
pub struct Questions {
    open: VecDeque<Question>,
    next_number: u32,
}

#[derive(Debug)]
struct Question {
    number: u32,
    unanswered: usize,
    packet: Box<[u8]>,
}

/// Most questions of one core that are open at a time. The oldest is given up for a further one.
const MOST_QUESTIONS: usize = 256;

impl Questions {
    /// Asks all other cores about a packet. False if not all could be asked: then nothing will be
    /// concluded from the answers.
    pub fn ask(&mut self, mesh: &Mesh, packet: &[u8]) -> bool {
        let number = self.next_number;
        self.next_number = number.wrapping_add(1);
        let from = mesh.shard();
        let question = || Message::Question { packet: packet.into(), from, number };
        let asked = mesh.others().filter(|&other| mesh.send(other, question())).count();
        if asked + 1 < mesh.shards() {
            return false;
        }
        if self.open.len() >= MOST_QUESTIONS {
            self.open.pop_front();
        }
        self.open.push_back(Question { number, unanswered: asked, packet: packet.into() });
        true
    }

    /// Takes note of an answer. Returns the packet that nobody knows once all have said so.
    pub fn answered(&mut self, number: u32, known: bool) -> Option<Box<[u8]>> {
        let index = self.open.iter().position(|question| question.number == number)?;
        if known {
            self.open.remove(index);
            return None;
        }
        self.open[index].unanswered -= 1;
        if self.open[index].unanswered > 0 {
            return None;
        }
        self.open.remove(index).map(|question| question.packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_that_nobody_knows_comes_back_after_the_last_answer() {
        let mesh = Mesh::new(3);
        let mut questions = Questions::default();
        assert!(questions.ask(&mesh[0], b"packet"));
        for other in [1, 2] {
            assert!(matches!(mesh[other].receive(), Some(Message::Question { from: 0, .. })));
        }
        assert_eq!(questions.answered(0, false), None);
        assert_eq!(questions.answered(0, false).as_deref(), Some(&b"packet"[..]));
        assert_eq!(questions.answered(0, false), None);
    }

    #[test]
    fn one_core_that_knows_settles_the_question() {
        let mesh = Mesh::new(3);
        let mut questions = Questions::default();
        assert!(questions.ask(&mesh[0], b"packet"));
        assert_eq!(questions.answered(0, true), None);
        assert_eq!(questions.answered(0, false), None);
    }

    #[test]
    fn a_full_channel_refuses_and_concludes_nothing() {
        let mesh = Mesh::new(2);
        let mut questions = Questions::default();
        let asked = (0..CAPACITY + 5).filter(|_| questions.ask(&mesh[0], b"packet")).count();
        assert_eq!(asked, CAPACITY);
    }

    #[test]
    fn a_message_wakes_its_core() {
        let mesh = Mesh::new(2);
        let waker = Waker::new().unwrap();
        mesh[1].set_waker(waker.clone());
        assert!(mesh[0].send(1, Message::Packet(Box::from(*b"x"))));
        assert!(waker.clear());
    }
}
