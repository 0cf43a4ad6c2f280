//! Questions about a core that it answers itself, between two turns.
//!
//! What a core knows is nobody else's to read, so whoever wants to see it sends a [`Question`] with
//! room for the answer and wakes the core. Each answer is small, and at most one is given a turn: a
//! list of connections comes in pieces, and whoever asks remembers how far it has come. A core that is
//! asked too much refuses by its full channel, and does not notice an asker that is gone.

use crossbeam_channel::{Receiver, Sender, bounded, never};
use pagewire_driver::Instant;
use pagewire_stack::{ConnectionView, Figure, Observe};

use super::connection::{Reading, Table};
use crate::content::ContentCounters;

/// Questions that wait for one core.
const MOST_WAITING: usize = 8;

/// Slots looked at for one answer: some 20 us on a busy core.
pub const SLOTS_EACH: u32 = 64;

/// Room that an answer of figures should have.
pub const MOST_FIGURES: usize = 160;

/// What a core is asked.
#[derive(Debug)]
pub enum Question {
    /// All its figures.
    Figures {
        /// Empty, with room for [`MOST_FIGURES`].
        room: Vec<(Figure, u64)>,
        /// Where the answer goes.
        to: Sender<Vec<(Figure, u64)>>,
    },
    /// Some connections: those in up to [`SLOTS_EACH`] slots.
    Connections {
        /// The first slot.
        from: u32,
        /// Look at about so many slots of all, evenly spread, in however many answers; at every slot
        /// without.
        sample: Option<u32>,
        /// Empty, with room for [`SLOTS_EACH`].
        room: Vec<Row>,
        /// Where the answer goes.
        to: Sender<Rows>,
    },
}

/// One connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// What the transport knows.
    pub view: ConnectionView,
    /// What the server does with it.
    pub activity: Activity,
}

/// Some connections.
#[derive(Debug)]
pub struct Rows {
    /// They.
    pub rows: Vec<Row>,
    /// Where to go on, unless there are no more slots.
    pub next: Option<u32>,
    /// How many slots each one looked at stands for.
    pub stride: u32,
}

/// What the server does with a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Activity {
    /// It waits for a request.
    Idle,
    /// It has part of a request.
    Reading,
    /// It waits for a helper to find the file.
    Finding,
    /// It sends.
    Sending,
    /// It is ending, or not yet open.
    Ending,
}

impl Activity {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Idle, Self::Reading, Self::Finding, Self::Sending, Self::Ending];

    /// A word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Reading => "reading",
            Self::Finding => "finding",
            Self::Sending => "sending",
            Self::Ending => "ending",
        }
    }

    fn of(reading: Option<Reading>, pending_bytes: u64) -> Self {
        match reading {
            None | Some(Reading::Over) if pending_bytes == 0 => Self::Ending,
            _ if pending_bytes > 0 => Self::Sending,
            Some(Reading::Head { .. } | Reading::Body { .. }) => Self::Reading,
            Some(Reading::Resolving) => Self::Finding,
            _ => Self::Idle,
        }
    }
}

/// Where a core finds what it is asked.
#[derive(Debug)]
pub struct Inbox {
    questions: Receiver<Question>,
}

impl Default for Inbox {
    fn default() -> Self {
        Self { questions: never() }
    }
}

impl Inbox {
    /// An inbox, and where questions for it go.
    pub fn new() -> (Sender<Question>, Self) {
        let (sender, questions) = bounded(MOST_WAITING);
        (sender, Self { questions })
    }

    /// Whether more questions wait.
    pub(super) fn is_empty(&self) -> bool {
        self.questions.is_empty()
    }

    /// The next question. Cheap if there is none: two loads.
    pub(super) fn next(&self) -> Option<Question> {
        if self.questions.is_empty() {
            return None;
        }
        self.questions.try_recv().ok()
    }
}

/// Answers a question. What cannot be delivered is dropped: the asker has given up.
pub(super) fn answer(
    question: Question,
    now: Instant,
    transport: &mut impl Observe,
    table: &mut Table,
    content: &ContentCounters,
) {
    match question {
        Question::Figures { mut room, to } => {
            transport.figures(&mut |figure, value| room.push((figure, value)));
            content.tell(&mut |figure, value| room.push((figure, value)));
            let _ = to.try_send(room);
        }
        Question::Connections { from, sample, mut room, to } => {
            let slots = transport.slots();
            let stride = sample.map_or(1, |most| slots.div_ceil(most.max(1))).max(1);
            let mut slot = from;
            for _ in 0..SLOTS_EACH {
                if slot >= slots {
                    break;
                }
                if let Some(view) = transport.view(now, slot) {
                    let reading = table.get(view.id).map(|connection| connection.reading);
                    room.push(Row { view, activity: Activity::of(reading, view.pending_bytes) });
                }
                slot = slot.saturating_add(stride);
            }
            let next = (slot < slots).then_some(slot);
            let _ = to.try_send(Rows { rows: room, next, stride });
        }
    }
}
