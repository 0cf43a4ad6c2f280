//! The text of packet scripts.
//!
//! A script is a list of cases; a case is a name and a list of steps, one a line. `#` begins a comment.
//!
//! ```text
//! == the name of a case, which states the behaviour
//! limit embryonic 2            before anything else: a limit of the stack
//! > S mss 1000                 the peer sends this
//! < SA seq 0 ack 1             this comes from the stack next; what is not named may be anything
//! < A len 5 within 300ms       the same, at the latest after that time
//! quiet                        nothing else has come
//! wait 40ms                    time goes by
//! event opened                 this is reported next: opened, received, peer-closed, sent, closed WHY
//! no event                     nothing else is reported
//! submit 100 | consume 3 | close | abort | connect | stop-listening
//! from 41000                   from here on the peer has this port: another connection
//! to 81                        the same of the stack's port
//! state estab            also: state none
//! connections 1
//! dropped 2 reset without the exact sequence number
//! icmp too-big 1280 quoting 1  an ICMP error quotes a segment of 1,500 bytes with this sequence number;
//!                              also: refused, unreachable, expired
//! ```
//!
//! Numbers that are not named are those of a first segment: `seq 0` of a SYN and `seq 1` of others, `ack 1`.
//! Flags are letters of `SFRAP`, `-` for none. Of a segment: `seq`, `ack` (relative to each side's first
//! number; may be negative), `win`, `len`, `mss`, `scale`, `sack`, `ts VALUE ECHO` (the echo relative to
//! what the stack sent last; `*` for any), `no OPTION`; of one that is sent also `fragment`, `vlan`,
//! `bad-checksum`, `cut N` (bytes missing at its end), `pad N`.

use std::{fmt, time::Duration};

/// One case.
#[derive(Debug)]
pub struct Case {
    pub name: String,
    pub line: usize,
    pub steps: Vec<(usize, Step)>,
}

/// A line of a case.
#[derive(Clone, Debug)]
pub enum Step {
    Limit(String, usize),
    Send(Segment),
    Expect(Segment, Duration),
    Quiet,
    Wait(Duration),
    Event(String),
    NoEvent,
    Submit(usize),
    Consume(usize),
    Close,
    Abort,
    Connect,
    StopListening,
    From(u16),
    To(u16),
    State(String),
    Connections(usize),
    Dropped(u64, String),
    Icmp(IcmpKind, i64),
}

/// An ICMP error.
#[derive(Clone, Copy, Debug)]
pub enum IcmpKind {
    TooBig(u32),
    Refused,
    Unreachable,
    Expired,
}

/// A segment, sent or expected: what is not named is `None`.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "words of a line, each there or not")]
pub struct Segment {
    pub flags: String,
    pub seq: Option<i64>,
    pub ack: Option<i64>,
    pub win: Option<u16>,
    pub len: Option<usize>,
    pub mss: Option<u16>,
    pub full_mss: bool,
    pub scale: Option<u8>,
    pub sack: bool,
    pub ts: Option<(Option<u32>, Option<i64>)>,
    pub absent: Vec<String>,
    pub fragment: bool,
    pub vlan: bool,
    pub bad_checksum: bool,
    pub cut: usize,
    pub pad: usize,
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.flags.is_empty() { "-" } else { &self.flags })?;
        let numbers = [("seq", self.seq), ("ack", self.ack), ("win", self.win.map(i64::from))];
        for (name, number) in numbers {
            number.iter().try_for_each(|number| write!(f, " {name} {number}"))?;
        }
        self.len.iter().try_for_each(|len| write!(f, " len {len}"))?;
        self.ts.iter().try_for_each(|(value, echo)| write!(f, " ts {value:?} {echo:?}"))
    }
}

/// The cases of a script, or what is wrong with it.
pub fn parse(text: &str) -> Result<Vec<Case>, String> {
    let mut cases: Vec<Case> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or("").trim();
        if line.is_empty() {
            continue;
        }
        if let Some(name) = line.strip_prefix("==") {
            cases.push(Case { name: name.trim().into(), line: number, steps: Vec::new() });
            continue;
        }
        let case = cases.last_mut().ok_or(format!("line {number}: a step before any case"))?;
        let step = step(line).map_err(|error| format!("line {number}: {error}: {line}"))?;
        case.steps.push((number, step));
    }
    Ok(cases)
}

fn step(line: &str) -> Result<Step, String> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let rest = rest.trim();
    Ok(match word {
        ">" => Step::Send(segment(rest)?.0),
        "<" => {
            let (segment, within) = segment(rest)?;
            Step::Expect(segment, within)
        }
        "limit" => {
            let (name, value) = rest.split_once(' ').ok_or("limit NAME NUMBER")?;
            Step::Limit(name.into(), number(value)?)
        }
        "quiet" => Step::Quiet,
        "wait" => Step::Wait(duration(rest)?),
        "event" => Step::Event(rest.into()),
        "no" if rest == "event" => Step::NoEvent,
        "submit" => Step::Submit(number(rest)?),
        "consume" => Step::Consume(number(rest)?),
        "close" => Step::Close,
        "abort" => Step::Abort,
        "connect" => Step::Connect,
        "stop-listening" => Step::StopListening,
        "from" => Step::From(number(rest)?),
        "to" => Step::To(number(rest)?),
        "state" => Step::State(rest.into()),
        "connections" => Step::Connections(number(rest)?),
        "dropped" => {
            let (count, cause) = rest.split_once(' ').ok_or("dropped NUMBER CAUSE")?;
            Step::Dropped(number(count)?, cause.into())
        }
        "icmp" => icmp(rest)?,
        _ => return Err("no such step".into()),
    })
}

fn icmp(rest: &str) -> Result<Step, String> {
    let words: Vec<&str> = rest.split_whitespace().collect();
    let (kind, rest) = match words[..] {
        ["too-big", mtu, ref rest @ ..] => (IcmpKind::TooBig(number(mtu)?), rest),
        ["refused", ref rest @ ..] => (IcmpKind::Refused, rest),
        ["unreachable", ref rest @ ..] => (IcmpKind::Unreachable, rest),
        ["expired", ref rest @ ..] => (IcmpKind::Expired, rest),
        _ => return Err("no such error".into()),
    };
    let ["quoting", sequence] = rest else { return Err("quoting NUMBER".into()) };
    Ok(Step::Icmp(kind, number(sequence)?))
}

/// A segment, and the time within which it must come.
fn segment(text: &str) -> Result<(Segment, Duration), String> {
    let mut words = text.split_whitespace();
    let flags = words.next().ok_or("no flags")?;
    if !flags.chars().all(|flag| "SFRAP-".contains(flag)) {
        return Err("flags are of SFRAP, or -".into());
    }
    let flags = flags.replace('-', "");
    let mut segment = Segment { flags, ..Segment::default() };
    let mut within = Duration::ZERO;
    while let Some(word) = words.next() {
        let mut next = || words.next().ok_or(format!("{word} what?"));
        match word {
            "seq" => segment.seq = Some(number(next()?)?),
            "ack" => segment.ack = Some(number(next()?)?),
            "win" => segment.win = Some(number(next()?)?),
            "len" => segment.len = Some(number(next()?)?),
            "mss" => match next()? {
                "full" => segment.full_mss = true,
                text => segment.mss = Some(number(text)?),
            },
            "scale" => segment.scale = Some(number(next()?)?),
            "sack" => segment.sack = true,
            "ts" => {
                let (value, echo) = (next()?, next()?);
                let any = |text: &str| text == "*";
                let value = if any(value) { None } else { Some(number(value)?) };
                segment.ts = Some((value, if any(echo) { None } else { Some(number(echo)?) }));
            }
            "no" => segment.absent.push(next()?.into()),
            "fragment" => segment.fragment = true,
            "vlan" => segment.vlan = true,
            "bad-checksum" => segment.bad_checksum = true,
            "cut" => segment.cut = number(next()?)?,
            "pad" => segment.pad = number(next()?)?,
            "within" => within = duration(next()?)?,
            _ => return Err(format!("no such field: {word}")),
        }
    }
    Ok((segment, within))
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.replace('_', "").parse().map_err(|_| format!("no number: {text}"))
}

fn duration(text: &str) -> Result<Duration, String> {
    let end = text.find(|letter: char| letter.is_alphabetic()).ok_or("no unit")?;
    let count: u64 = number(&text[..end])?;
    match &text[end..] {
        "us" => Ok(Duration::from_micros(count)),
        "ms" => Ok(Duration::from_millis(count)),
        "s" => Ok(Duration::from_secs(count)),
        unit => Err(format!("no such unit: {unit}")),
    }
}
