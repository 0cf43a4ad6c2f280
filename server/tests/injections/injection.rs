//! One injection: a fresh file, clients that fetch it, and what is done to it meanwhile.

use std::{
    fmt,
    fs::{self, File, OpenOptions, Permissions},
    os::unix::fs::{FileExt, PermissionsExt},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use pagewire_driver::Random;

use crate::{
    judge::{Case, Transport, Version, may_begin, may_complete},
    site::{NOTICED, PATIENCE, Site},
    transfer::{Connection, Fetch},
};

/// What is done to a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Action {
    /// It ends earlier, maybe at once, maybe inside a page.
    Truncate,
    /// It is opened for writing from nothing and written again, as `cp` does.
    WriteAgain,
    /// Some of its bytes are written over.
    Patch,
    /// Bytes are added.
    Extend,
    /// Another file takes its name.
    Replace,
    /// It has no name any more.
    Delete,
    /// Nobody may read it any more.
    Forbid,
}

const ACTIONS: [Action; 7] = [
    Action::Truncate,
    Action::WriteAgain,
    Action::Patch,
    Action::Extend,
    Action::Replace,
    Action::Delete,
    Action::Forbid,
];

impl Action {
    /// Whether transfers of the file as it was may have to be given up.
    fn is_in_place(self) -> bool {
        matches!(self, Self::Truncate | Self::WriteAgain | Self::Patch | Self::Extend)
    }
}

/// An injection, as its seed has it.
#[derive(Debug)]
pub struct Injection {
    seed: u64,
    action: Action,
    len: usize,
    /// Of the response, in bytes, when the action is taken. Nothing for before the first request.
    moment: Option<usize>,
    connections: usize,
    /// What the client's kernel buffers.
    buffer: usize,
    /// Ask again, after as long as a change may go unnoticed.
    returns: bool,
}

/// What has come of injections.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    pub injections: u64,
    complete_in_place: u64,
    complete_otherwise: u64,
    mixed: u64,
    cut: u64,
    mid_transfer: u64,
    returned: u64,
    noticed_late: u64,
}

impl Outcome {
    pub fn add(&mut self, other: Self) {
        self.injections += other.injections;
        self.complete_in_place += other.complete_in_place;
        self.complete_otherwise += other.complete_otherwise;
        self.mixed += other.mixed;
        self.cut += other.cut;
        self.mid_transfer += other.mid_transfer;
        self.returned += other.returned;
        self.noticed_late += other.noticed_late;
    }

    /// The run has not passed its subject by.
    pub fn assert_all_kinds(&self) {
        let least = self.injections / 50;
        for count in [self.complete_in_place, self.complete_otherwise, self.mid_transfer] {
            assert!(count >= least, "{self}");
        }
        // How many of them are caught depends on who runs when, and how late changes are noticed on who has to
        // wait for the machine: all of them at once it is not.
        assert!(self.cut > 0, "{self}");
        assert!(self.noticed_late < self.returned, "{self}");
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} mid-transfer, {} cut off, {} completed although changed in place ({} mixed by the \
             kernel), {} completed otherwise, {} asked again, of which {} for long",
            self.mid_transfer,
            self.cut,
            self.complete_in_place,
            self.mixed,
            self.complete_otherwise,
            self.returned,
            self.noticed_late
        )
    }
}

impl From<u64> for Injection {
    fn from(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let len = match random.below(40) {
            0 => random.below(8_193),
            1 => 10 << 20,
            _ => 8_193 + random.below(600_000),
        } as usize;
        let moment = match random.below(8) {
            0 => None,
            1 => Some(1),
            2 => Some(len),
            _ => Some(1 + random.below(len as u64 + 1) as usize),
        };
        Self {
            seed,
            action: ACTIONS[random.below(ACTIONS.len() as u64) as usize],
            len,
            moment,
            connections: 1 + random.below(2) as usize,
            buffer: if random.chance(0.8) { 8 << 10 } else { 1 << 20 },
            returns: random.below(40) == 0,
        }
    }
}

impl Injection {
    /// Makes it. Panics with its seed if a response was not as it must be.
    pub fn run(&self, site: &Site, transport: Transport) -> Outcome {
        let name = format!("victim-{}", self.seed);
        let path = site.path(&name);
        let old = Version::new(self.seed, self.len);
        fs::write(&path, old.bytes()).unwrap();
        let mut clients: Vec<_> =
            (0..self.connections).map(|_| Connection::open(site.address(), self.buffer)).collect();
        if let Some(moment) = self.moment {
            for client in &mut clients {
                client.ask(&name);
            }
            for client in &mut clients {
                client.read_up_to(moment);
            }
        }
        let new = self.act(&path, &old);
        if self.moment.is_none() {
            for client in &mut clients {
                client.ask(&name);
            }
        }
        let versions: Vec<_> = [Some(old), new].into_iter().flatten().collect();
        let mut outcome = Outcome { injections: 1, ..Outcome::default() };
        for client in &mut clients {
            let received = client.received();
            let fetch = client.take();
            outcome.mid_transfer += u64::from(received > 0 && received < self.len);
            self.judge(&fetch, received, &versions, transport, &mut outcome);
        }
        self.ask_again(site, &name, &mut clients, &versions, transport, &mut outcome);
        let _ = fs::remove_file(path);
        outcome
    }

    /// Does it, and says what the file is now, if it still is.
    fn act(&self, path: &Path, old: &Version) -> Option<Version> {
        let mut random = Random::new(!self.seed);
        let fresh = Version::new(self.seed ^ (1 << 40), self.len);
        let open = || OpenOptions::new().write(true).open(path).unwrap();
        match self.action {
            Action::Truncate => {
                let len = random.below(self.len.max(1) as u64);
                open().set_len(len).unwrap();
                Some(Version::of(old.bytes()[..len as usize].to_vec()))
            }
            Action::WriteAgain => {
                let file = File::create(path).unwrap();
                for (number, piece) in fresh.bytes().chunks(100_000).enumerate() {
                    file.write_all_at(piece, number as u64 * 100_000).unwrap();
                }
                Some(fresh)
            }
            Action::Patch => {
                let start = random.below(self.len.max(1) as u64) as usize;
                let end = (start + 1 + random.below(20_000) as usize).min(self.len);
                open().write_all_at(&fresh.bytes()[start..end], start as u64).unwrap();
                let (before, after) = (&old.bytes()[..start], &old.bytes()[end..]);
                Some(Version::of([before, &fresh.bytes()[start..end], after].concat()))
            }
            Action::Extend => {
                open().write_all_at(fresh.bytes(), self.len as u64).unwrap();
                Some(Version::of([old.bytes(), fresh.bytes()].concat()))
            }
            Action::Replace => {
                let beside = path.with_extension("fresh");
                fs::write(&beside, fresh.bytes()).unwrap();
                fs::rename(beside, path).unwrap();
                Some(fresh)
            }
            Action::Delete => {
                fs::remove_file(path).unwrap();
                None
            }
            Action::Forbid => {
                fs::set_permissions(path, Permissions::from_mode(0o000)).unwrap();
                None
            }
        }
    }

    fn judge(
        &self,
        fetch: &Fetch,
        received: usize,
        versions: &[Version],
        transport: Transport,
        outcome: &mut Outcome,
    ) {
        let is_in_place = self.action.is_in_place();
        let verdict = match fetch {
            Fetch::Complete { status: 200, body } => {
                *if is_in_place {
                    &mut outcome.complete_in_place
                } else {
                    &mut outcome.complete_otherwise
                } += 1;
                let is_one = versions.iter().any(|version| version.bytes() == body);
                outcome.mixed += u64::from(!is_one);
                let changed_in_place_at = is_in_place.then_some(received);
                may_complete(&Case { body, versions, changed_in_place_at, transport })
            }
            Fetch::Complete { status, .. } => self.may_refuse(*status),
            Fetch::Cut { body } if is_in_place => {
                outcome.cut += 1;
                may_begin(body, versions, transport)
            }
            Fetch::Cut { body } => Err(format!("cut off after {} bytes", body.len())),
        };
        if let Err(fault) = verdict {
            panic!("seed {}, {received} bytes had come: {fault}; {self:?}", self.seed);
        }
    }

    /// A request may find the file gone if it was there only before it was asked for.
    fn may_refuse(&self, status: u16) -> Result<(), String> {
        match (self.moment, self.action, status) {
            (None, Action::Delete, 404) | (None, Action::Forbid, 403) => Ok(()),
            _ => Err(format!("status {status}")),
        }
    }

    /// What others get who come later: at once maybe the old version still, after a second the new, and later than
    /// that only where a thread of the server did not run meanwhile.
    fn ask_again(
        &self,
        site: &Site,
        name: &str,
        clients: &mut Vec<Connection>,
        versions: &[Version],
        transport: Transport,
        outcome: &mut Outcome,
    ) {
        if !self.returns {
            return;
        }
        outcome.returned += 1;
        let changed = Instant::now();
        // It is asked for all the time, as a file in use is.
        while changed.elapsed() < NOTICED {
            self.fetch(site, name, clients);
            thread::sleep(Duration::from_millis(50));
        }
        let mut fetch = self.fetch(site, name, clients);
        outcome.noticed_late += u64::from(!self.is_current(&fetch, versions));
        while !self.is_current(&fetch, versions) {
            let waited = changed.elapsed();
            assert!(
                waited < NOTICED + PATIENCE,
                "seed {}: {transport:?} after {waited:?}: {fetch:.300?}",
                self.seed
            );
            thread::sleep(Duration::from_millis(50));
            fetch = self.fetch(site, name, clients);
        }
    }

    /// Whether this is what the file is now.
    fn is_current(&self, fetch: &Fetch, versions: &[Version]) -> bool {
        let Fetch::Complete { status, body } = fetch else { return false };
        match self.action {
            Action::Delete => *status == 404,
            Action::Forbid => *status == 403,
            _ => *status == 200 && versions.last().is_some_and(|it| it.bytes() == body),
        }
    }

    fn fetch(&self, site: &Site, name: &str, clients: &mut Vec<Connection>) -> Fetch {
        clients.retain(|client| !client.is_over());
        if clients.is_empty() {
            clients.push(Connection::open(site.address(), self.buffer));
        }
        clients[0].ask(name);
        clients[0].take()
    }
}
