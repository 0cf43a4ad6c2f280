//! Runs a case of a script: a stack, a peer made by hand, and a virtual time.

use std::{
    collections::{HashMap, VecDeque},
    fmt::Write as _,
    net::IpAddr,
    time::Duration,
};

use pagewire_stack::{
    Close, CloseReason, ConnectionId, Event, Part, Transport,
    user::{DropCause, UserLimits},
};
use smoltcp::wire::TcpControl;

use crate::{
    common::{Seen, Sent, frames, scene::Scene},
    parse::{Case, IcmpKind, Segment, Step},
};

/// The peer's first sequence number: numbers wrap around soon.
const PEER_ISN: u32 = u32::MAX - 500;
/// Longest time that passes between two turns, and the same while nothing happens soon.
const GRAIN: Duration = Duration::from_millis(5);
const COARSE: Duration = Duration::from_millis(50);

/// One connection as the peer sees it.
#[derive(Default)]
struct Line {
    /// The stack's first sequence number.
    isn: Option<u32>,
    id: Option<ConnectionId>,
    submitted: usize,
    consumed: usize,
    /// The stack's latest timestamp.
    stamp: u32,
}

struct Run {
    scene: Scene,
    lines: HashMap<u16, Line>,
    port: u16,
    is_client: bool,
    /// Segments that have come and were not expected yet.
    arrived: VecDeque<Seen>,
    trace: String,
}

/// Runs a case over one family.
///
/// # Errors
///
/// What went otherwise than it says, and all that happened before.
pub fn run(case: &Case, is_ipv6: bool) -> Result<(), String> {
    let limits: Vec<_> = case
        .steps
        .iter()
        .filter_map(|(_, step)| match step {
            Step::Limit(name, value) => Some((name.clone(), *value)),
            _ => None,
        })
        .collect();
    let scene = Scene::with_limits(is_ipv6, |all| {
        for (name, value) in &limits {
            set_limit(all, name, *value);
        }
    });
    let port = scene.peer.source_port;
    let mut run = Run {
        scene,
        lines: HashMap::new(),
        port,
        is_client: false,
        arrived: VecDeque::new(),
        trace: String::new(),
    };
    for (line, step) in &case.steps {
        if let Err(error) = run.step(step) {
            return Err(format!(
                "line {line}, {}: {error}\n{}",
                if is_ipv6 { "IPv6" } else { "IPv4" },
                run.trace
            ));
        }
    }
    Ok(())
}

fn set_limit(limits: &mut UserLimits, name: &str, value: usize) {
    match name {
        "connections" => limits.connections = value,
        "per-source" => limits.connections_per_source = value,
        "embryonic" => limits.embryonic = value,
        "embryonic-per-source" => limits.embryonic_per_source = value,
        "idle" => limits.idle = value,
        "idle-per-source" => limits.idle_per_source = value,
        "window" => limits.receive_window = value,
        "head" => limits.head = value,
        _ => panic!("no such limit: {name}"),
    }
}

impl Run {
    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Limit(..) => {}
            Step::Send(segment) => self.send(segment),
            Step::Expect(segment, within) => return self.expect(segment, *within),
            Step::Quiet => {
                let first = self.arrived.front();
                return first.map_or(Ok(()), |seen| Err(format!("not quiet: {}", seen.flags)));
            }
            Step::Wait(time) => self.pass(*time, |_| false),
            Step::Event(text) => return self.event(text),
            Step::NoEvent => {
                let first = self.scene.events.first();
                return first.map_or(Ok(()), |event| Err(format!("an event: {event:?}")));
            }
            Step::Submit(len) => return self.submit(*len),
            Step::Consume(len) => return self.consume(*len),
            Step::Close => self.close(Close::AfterSent)?,
            Step::Abort => self.close(Close::Now)?,
            Step::Connect => return self.connect(),
            Step::StopListening => self.scene.stack.stop_listening(),
            Step::From(port) => {
                self.port = *port;
                self.scene.peer.source_port = *port;
            }
            Step::To(port) => self.scene.peer.target_port = *port,
            Step::State(name) => {
                let id = self.line().id;
                let state = id.and_then(|id| self.scene.stack.tcp_state(id));
                return equal("the state", state.map_or("none", |state| state.state.name()), name);
            }
            Step::Connections(count) => {
                return equal("connections", self.scene.stack.connections(), *count);
            }
            Step::Dropped(count, text) => {
                let cause = DropCause::ALL.iter().find(|cause| cause.to_string() == *text);
                let cause = cause.ok_or("no such cause")?;
                return equal("dropped", self.scene.dropped(*cause), *count);
            }
            Step::Icmp(kind, sequence) => self.icmp(*kind, *sequence)?,
        }
        Ok(())
    }

    fn note(&mut self, text: &str) {
        let _ = writeln!(self.trace, "{:>10} us {text}", self.scene.now.micros());
    }

    fn line(&mut self) -> &mut Line {
        self.lines.entry(self.port).or_default()
    }

    fn id(&mut self) -> Result<ConnectionId, String> {
        self.line().id.ok_or("the connection is not open".into())
    }

    /// Lets the stack work, and takes what comes.
    fn turn(&mut self) {
        for seen in self.scene.turn() {
            let port = if self.is_client { self.port } else { seen.target_port };
            if self.is_client {
                self.scene.peer.target_port = seen.source_port;
            }
            let line = self.lines.entry(port).or_default();
            if seen.flags.contains('S') {
                line.isn = Some(seen.sequence);
            }
            if let Some((stamp, _)) = seen.timestamps {
                line.stamp = stamp;
            }
            let line_isn = line.isn;
            self.note(&format!("< {}", told(&seen, line_isn)));
            if let Some(isn) = line_isn {
                let start = seen.sequence.wrapping_sub(isn).wrapping_sub(1) as usize;
                let expected: Vec<u8> = (start..start + seen.payload.len()).map(byte_at).collect();
                assert_eq!(seen.payload, expected, "the bytes of the stream\n{}", self.trace);
            }
            self.arrived.push_back(seen);
        }
    }

    /// Time goes by, until `done` or all of it.
    fn pass(&mut self, time: Duration, done: impl Fn(&Self) -> bool) {
        let mut left = time;
        while !left.is_zero() && !done(self) {
            let step = left.min(if left > COARSE * 20 { COARSE } else { GRAIN });
            left -= step;
            self.scene.now += step;
            self.turn();
        }
    }

    fn send(&mut self, segment: &Segment) {
        let line = self.line();
        let (isn, stamp) = (line.isn.unwrap_or(0), line.stamp);
        let first = i64::from(!segment.flags.contains('S'));
        let seq = relative(PEER_ISN, segment.seq.unwrap_or(first));
        let payload: Vec<u8> = {
            let start = seq.wrapping_sub(PEER_ISN).wrapping_sub(1) as usize;
            (start..start + segment.len.unwrap_or(0)).map(byte_at).collect()
        };
        let has_ack = segment.flags.contains('A');
        let sent = Sent {
            control: control(&segment.flags),
            sequence: seq,
            acknowledgement: has_ack.then(|| relative(isn, segment.ack.unwrap_or(1))),
            window: segment.win.unwrap_or(60_000),
            payload: &payload,
            timestamps: segment
                .ts
                .map(|(value, echo)| (value.unwrap_or(0), relative(stamp, echo.unwrap_or(0)))),
            mss: segment.mss.or((!segment.absent.iter().any(|one| one == "mss")).then_some(1_000)),
            window_scale: segment.scale,
            sack_permitted: segment.sack,
        };
        let mut frame = self.scene.peer.frame(&sent);
        frames::set_flags(&mut frame, flag_bits(&segment.flags));
        if segment.bad_checksum {
            *frame.last_mut().expect("a frame has bytes") ^= 1;
        }
        frame.truncate(frame.len() - segment.cut);
        frame.resize(frame.len() + segment.pad, 0);
        if segment.fragment {
            frames::make_fragment(&mut frame);
        }
        if segment.vlan {
            frame.splice(12..12, [0x81, 0, 0, 7]);
        }
        self.note(&format!("> {segment}"));
        self.scene.peer.send_raw(&frame);
        self.turn();
    }

    fn expect(&mut self, expected: &Segment, within: Duration) -> Result<(), String> {
        self.pass(within, |run| !run.arrived.is_empty());
        let seen =
            self.arrived.pop_front().ok_or(format!("nothing came, but {expected} should"))?;
        let isn = self.lines.entry(self.port).or_default().isn.unwrap_or(0);
        equal("flags", &*seen.flags, &*sorted(&expected.flags))?;
        if let Some(seq) = expected.seq {
            equal("seq", seen.sequence, relative(isn, seq))?;
        }
        if let Some(ack) = expected.ack {
            equal("ack", seen.acknowledgement, relative(PEER_ISN, ack))?;
        }
        if let Some(win) = expected.win {
            equal("win", seen.window, win)?;
        }
        if let Some(len) = expected.len {
            equal("len", seen.payload.len(), len)?;
        }
        if expected.mss.is_some() {
            equal("mss", seen.mss, expected.mss)?;
        }
        if expected.full_mss {
            let headers = if self.scene.peer.address.is_ipv4() { 40 } else { 60 };
            equal("mss", seen.mss, Some(1_500 - headers))?;
        }
        if expected.scale.is_some() {
            equal("scale", seen.window_scale, expected.scale)?;
        }
        if expected.sack {
            equal("sack", seen.sack_permitted, true)?;
        }
        if let Some((_, echo)) = expected.ts {
            let (_, seen_echo) = seen.timestamps.ok_or("no timestamps")?;
            if let Some(echo) = echo {
                equal("echo", seen_echo, echo.cast_unsigned() as u32)?;
            }
        }
        for option in &expected.absent {
            let is_absent = match &**option {
                "mss" => seen.mss.is_none(),
                "scale" => seen.window_scale.is_none(),
                "sack" => !seen.sack_permitted,
                "ts" => seen.timestamps.is_none(),
                _ => return Err(format!("no such option: {option}")),
            };
            equal(option, is_absent, true)?;
        }
        Ok(())
    }

    fn event(&mut self, text: &str) -> Result<(), String> {
        if self.scene.events.is_empty() {
            return Err(format!("no event, but {text}"));
        }
        let event = self.scene.events.remove(0);
        self.note(&format!("  {event:?}"));
        let told = match event {
            Event::Opened { id, peer, .. } => {
                self.lines.entry(peer.port()).or_default().id = Some(id);
                "opened".into()
            }
            Event::Received(_) => "received".into(),
            Event::PeerClosed(_) => "peer-closed".into(),
            Event::Sent(_) => "sent".into(),
            Event::Closed(_, reason) => format!("closed {}", reason_text(reason)),
        };
        equal("the event", &*told, text)
    }

    fn submit(&mut self, len: usize) -> Result<(), String> {
        let id = self.id()?;
        let line = self.line();
        let start = line.submitted;
        line.submitted += len;
        let bytes = (start..start + len).map(byte_at).collect();
        let mut parts = vec![Part::Bytes(bytes)];
        self.scene.stack.submit(id, &mut parts).map_err(|refused| refused.to_string())?;
        self.turn();
        Ok(())
    }

    fn consume(&mut self, len: usize) -> Result<(), String> {
        let id = self.id()?;
        let line = self.line();
        let start = line.consumed;
        line.consumed += len;
        let expected: Vec<u8> = (start..start + len).map(byte_at).collect();
        let received = self.scene.stack.received(id);
        if received.get(..len) != Some(&expected[..]) {
            return Err(format!("other bytes received than {len} sent: {received:?}"));
        }
        self.scene.stack.consume(id, len);
        self.turn();
        Ok(())
    }

    fn close(&mut self, how: Close) -> Result<(), String> {
        let id = self.id()?;
        self.scene.stack.close(id, how);
        self.turn();
        Ok(())
    }

    fn connect(&mut self) -> Result<(), String> {
        let to = (self.scene.peer.address, self.port).into();
        let id = self.scene.stack.connect(self.scene.now, to);
        self.line().id = Some(id.map_err(|refused| refused.to_string())?);
        self.is_client = true;
        self.turn();
        Ok(())
    }

    fn icmp(&mut self, kind: IcmpKind, sequence: i64) -> Result<(), String> {
        let isn = self.line().isn.ok_or("the stack has sent nothing yet")?;
        let peer = &self.scene.peer;
        let (kind, code, rest) = match (peer.address, kind) {
            (IpAddr::V4(_), IcmpKind::TooBig(mtu)) => (3, 4, mtu),
            (IpAddr::V4(_), IcmpKind::Refused) => (3, 3, 0),
            (IpAddr::V4(_), IcmpKind::Unreachable) => (3, 1, 0),
            (IpAddr::V4(_), IcmpKind::Expired) => (11, 0, 0),
            (IpAddr::V6(_), IcmpKind::TooBig(mtu)) => (2, 0, mtu),
            (IpAddr::V6(_), IcmpKind::Refused) => (1, 4, 0),
            (IpAddr::V6(_), IcmpKind::Unreachable) => (1, 0, 0),
            (IpAddr::V6(_), IcmpKind::Expired) => (3, 0, 0),
        };
        let frame = frames::icmp_error(peer, (kind, code, rest), relative(isn, sequence));
        self.note(&format!("> ICMP {kind}.{code} quoting {sequence}"));
        self.scene.peer.send_raw(&frame);
        self.turn();
        Ok(())
    }
}

/// A segment that has come, its numbers relative.
fn told(seen: &Seen, isn: Option<u32>) -> String {
    let Seen { flags, window, payload, timestamps, .. } = seen;
    let seq = seen.sequence.wrapping_sub(isn.unwrap_or(0)).cast_signed();
    let ack = seen.acknowledgement.wrapping_sub(PEER_ISN).cast_signed();
    let mut text = format!("{flags} seq {seq} ack {ack} win {window} len {}", payload.len());
    if let Some((value, echo)) = timestamps {
        let _ = write!(text, " ts {value} {echo}");
    }
    text
}

fn flag_bits(flags: &str) -> u8 {
    "FSRPA"
        .chars()
        .enumerate()
        .filter(|(_, flag)| flags.contains(*flag))
        .map(|(bit, _)| 1 << bit)
        .sum()
}

/// The byte at a place of either stream.
fn byte_at(offset: usize) -> u8 {
    (offset ^ (offset >> 8)) as u8
}

fn relative(start: u32, number: i64) -> u32 {
    start.wrapping_add(number.cast_unsigned() as u32)
}

/// The flags in the order in which they are seen.
fn sorted(flags: &str) -> String {
    "SFRA".chars().filter(|&flag| flags.contains(flag)).collect()
}

fn control(flags: &str) -> TcpControl {
    let has = |flag| flags.contains(flag);
    match () {
        () if has('S') => TcpControl::Syn,
        () if has('R') => TcpControl::Rst,
        () if has('F') => TcpControl::Fin,
        () if has('P') => TcpControl::Psh,
        () => TcpControl::None,
    }
}

fn reason_text(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::Finished => "finished",
        CloseReason::Aborted => "aborted",
        CloseReason::Reset => "reset",
        CloseReason::TimedOut => "timed-out",
        CloseReason::Unreachable => "unreachable",
        CloseReason::Displaced => "displaced",
        CloseReason::ContentChanged | CloseReason::ContentUnreadable => "content",
    }
}

fn equal<T: PartialEq<U> + std::fmt::Debug + Copy, U: std::fmt::Debug>(
    what: &str,
    seen: T,
    expected: U,
) -> Result<(), String> {
    if seen == expected {
        return Ok(());
    }
    Err(format!("{what}: {seen:?}, but should be {expected:?}"))
}
