//! Numbered and stamped packets from one side of a lab to the other, by kernel sockets.

use std::{
    collections::HashSet,
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use clap::Parser;
use pagewire_tools::{
    emulator::{LinkConfig, WayCounters},
    lab::{Lab, LabConfig, Side},
};

/// Bytes of Ethernet, IPv4 and UDP in front of a payload.
pub const HEADERS: usize = 14 + 20 + 8;

/// Number and time of sending.
const STAMP: usize = 12;

/// Packets closer together than this are sent several at a time: spinning would take the core from those
/// who are measured.
const SHORTEST_SLEEP: Duration = Duration::from_micros(100);

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    link: LinkConfig,
}

/// The link that these flags ask for.
pub fn link(flags: &str) -> LinkConfig {
    Cli::try_parse_from(["pw"].into_iter().chain(flags.split_whitespace())).unwrap().link
}

/// A lab with a link, and nobody else's labs of this test program meanwhile: they would disturb what is
/// measured.
pub struct Bench {
    pub lab: Lab,
    _alone: MutexGuard<'static, ()>,
}

/// What to send.
#[derive(Clone, Copy)]
pub struct Train {
    pub from: Side,
    pub count: u32,
    /// Bytes of each frame.
    pub len: usize,
    pub gap: Duration,
}

/// A packet that has arrived.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub number: u32,
    /// Since a time before the first was sent.
    pub sent: Duration,
    /// Since that time too.
    pub arrived: Duration,
    pub intact: bool,
}

impl Arrival {
    pub fn delay(&self) -> Duration {
        self.arrived.saturating_sub(self.sent)
    }
}

impl Bench {
    pub fn up(flags: &str) -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let config = LabConfig { queues: Some(1), link: link(flags), ..LabConfig::unique() };
        let lab = Lab::up(&config).unwrap();
        // Questions for the neighbour's address would meet the link too.
        for (side, neighbour, mac) in [
            (Side::Server, "10.77.0.2", "02:77:00:00:00:02"),
            (Side::Client, "10.77.0.1", "02:77:00:00:00:01"),
        ] {
            let words = ["neighbour", "replace", neighbour, "lladdr", mac, "dev", "pw0"];
            assert!(lab.command(side, "ip").args(words).status().unwrap().success());
        }
        Self { lab, _alone: alone }
    }

    /// Sends a train and returns what arrived, in the order of arrival, and how long the sending took.
    pub fn send(&self, train: Train) -> (Vec<Arrival>, Duration) {
        let (server, client) = (Ipv4Addr::new(10, 77, 0, 1), Ipv4Addr::new(10, 77, 0, 2));
        let (to, from_address, to_address) = match train.from {
            Side::Client => (Side::Server, client, server),
            _ => (Side::Client, server, client),
        };
        let bind = |side, address| {
            self.lab.within(side, || UdpSocket::bind((address, 0)).unwrap()).unwrap()
        };
        let (sender, receiver) = (bind(train.from, from_address), bind(to, to_address));
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&receiver, 64 << 20).unwrap();
        let address = SocketAddrV4::new(to_address, receiver.local_addr().unwrap().port());
        sender.connect(address).unwrap();
        let (epoch, sent) = (Instant::now(), AtomicBool::new(false));
        thread::scope(|scope| {
            let receiving = scope.spawn(|| {
                come_first();
                receive(&receiver, epoch, train.len, &sent)
            });
            come_first();
            let start = epoch.elapsed();
            let mut due = start;
            for number in 0..train.count {
                let early = due.saturating_sub(epoch.elapsed());
                if early > SHORTEST_SLEEP {
                    thread::sleep(early);
                }
                // After a pause it does not hurry: a burst is not what was asked for.
                due = epoch.elapsed().max(due) + train.gap;
                let payload = payload(number, epoch.elapsed(), train.len);
                assert_eq!(sender.send(&payload).unwrap(), payload.len());
            }
            let time = epoch.elapsed().saturating_sub(start);
            sent.store(true, Ordering::Relaxed);
            (receiving.join().unwrap(), time)
        })
    }

    /// What the emulator has done with frames that `from` sent, once it has told.
    pub fn report(&self, from: Side) -> WayCounters {
        thread::sleep(Duration::from_millis(250));
        let [to_client, to_server] = self.lab.link_report().unwrap();
        if from == Side::Client { to_server } else { to_client }
    }
}

/// Lets this thread run before others, so that they disturb less. Those who test are root.
fn come_first() {
    let _ = rustix::process::setpriority_process(None, -15);
}

fn payload(number: u32, sent: Duration, len: usize) -> Vec<u8> {
    let mut payload = vec![number.to_le_bytes()[0]; len - HEADERS];
    payload[..4].copy_from_slice(&number.to_be_bytes());
    let nanos = u64::try_from(sent.as_nanos()).unwrap();
    payload[4..STAMP].copy_from_slice(&nanos.to_be_bytes());
    payload
}

/// Receives until everything was sent and nothing has come for longer than any link here takes.
fn receive(socket: &UdpSocket, epoch: Instant, len: usize, sent: &AtomicBool) -> Vec<Arrival> {
    const QUIET: Duration = Duration::from_millis(300);
    socket.set_read_timeout(Some(QUIET)).unwrap();
    let (mut arrivals, mut buffer) = (Vec::new(), [0; 4_096]);
    loop {
        let all_sent = sent.load(Ordering::Relaxed);
        match socket.recv(&mut buffer) {
            Ok(received) => {
                let arrived = epoch.elapsed();
                let number = u32::from_be_bytes(buffer[..4].try_into().unwrap());
                let nanos = u64::from_be_bytes(buffer[4..STAMP].try_into().unwrap());
                let sent = Duration::from_nanos(nanos);
                let intact = buffer[..received] == payload(number, sent, len);
                arrivals.push(Arrival { number, sent, arrived, intact });
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) if all_sent => return arrivals,
            Err(_) => {}
        }
    }
}

/// The delays of these packets, sorted.
pub fn delays(arrivals: &[Arrival]) -> Vec<Duration> {
    let mut delays: Vec<_> = arrivals.iter().map(Arrival::delay).collect();
    delays.sort_unstable();
    delays
}

/// The packets that arrived after one that was sent later.
pub fn overtaken(arrivals: &[Arrival]) -> Vec<Arrival> {
    let mut latest = 0;
    let late = |arrival: &Arrival| {
        latest = latest.max(arrival.number);
        arrival.number < latest
    };
    arrivals.iter().copied().filter(late).collect()
}

/// The lengths of the runs of numbers below `count` that did not arrive.
pub fn lost_runs(arrivals: &[Arrival], count: u32) -> Vec<u32> {
    let there: HashSet<_> = arrivals.iter().map(|arrival| arrival.number).collect();
    let lost: Vec<_> = (0..count).map(|number| !there.contains(&number)).collect();
    lost.chunk_by(|one, next| one == next)
        .filter(|run| run[0])
        .map(|run| u32::try_from(run.len()).unwrap())
        .collect()
}
