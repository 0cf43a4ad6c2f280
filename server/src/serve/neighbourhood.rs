//! What the kernel knows of the network around an interface, passed on to shards, and asked for them.

use std::{
    io,
    net::IpAddr,
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender};
use pagewire_driver::{Steering, Waker, wait_readable};
use pagewire_stack::{NetworkView, user::ServedAddress};

use super::{
    Loss, Trouble,
    link_watch::LinkWatch,
    upkeep::{PULSE, Upkeep},
};
use crate::{
    control::netlink::{Network, NetworkError},
    failure::Failure,
    privilege::Keeper,
};

/// Neighbours that wait to be asked for. Those beyond are asked for again by whoever needs them.
const MOST_PROBES: usize = 256;

/// How long to leave a kernel alone that does not answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// The network around an interface, while shards are started.
pub(super) struct Neighbourhood {
    network: Network,
    shards: Vec<(Sender<NetworkView>, Option<Waker>)>,
    ask: Sender<IpAddr>,
    asked: Receiver<IpAddr>,
    keeper: Keeper,
    interface: String,
}

impl Neighbourhood {
    /// Reads the present state.
    pub(super) fn open(interface: &str, keeper: &Keeper) -> Result<Self, Failure> {
        let name = interface.to_owned();
        // The kernel asks both who opened a socket and who uses it.
        let network = keeper.run(move || Network::open(&name))?.map_err(|error| match error {
            NetworkError::NoInterface { .. } => Failure::Interface(error.to_string()),
            NetworkError::Netlink(_) => Failure::Other(error.to_string()),
        })?;
        let (ask, asked) = crossbeam_channel::bounded(MOST_PROBES);
        Ok(Self {
            network,
            shards: Vec::new(),
            ask,
            asked,
            keeper: keeper.clone(),
            interface: interface.to_owned(),
        })
    }

    /// Whether the kernel has `address` on the interface.
    pub(super) fn kernel_has(&self, address: IpAddr) -> bool {
        self.network.view().addresses.iter().any(|prefix| prefix.address() == address)
    }

    /// The views for one more shard; the present one is in it.
    pub(super) fn updates(&mut self) -> Receiver<NetworkView> {
        let (sender, receiver) = crossbeam_channel::unbounded();
        let _ = sender.send(self.network.view().clone());
        self.shards.push((sender, None));
        receiver
    }

    /// Has the shard that [`updates`](Self::updates) was last called for woken by new views.
    pub(super) fn wakes(&mut self, waker: Option<Waker>) {
        if let Some((_, slot)) = self.shards.last_mut() {
            *slot = waker;
        }
    }

    /// Where shards ask for neighbours.
    pub(super) fn probes(&self) -> Sender<IpAddr> {
        self.ask.clone()
    }

    /// Starts to pass on changes and questions, and to look after the interface: to keep `steering` on it and
    /// at who owns what of `served`, and to see that it has so many `queues`, if that matters.
    pub(super) fn watch(
        self,
        steering: Arc<Mutex<Steering>>,
        served: &[ServedAddress],
        queues: Option<usize>,
        trouble: Arc<Trouble>,
    ) -> Result<Watch, Failure> {
        let failed = |source| Failure::System { what: "watch the network", source };
        let Self { network, shards, asked, keeper, interface, .. } = self;
        let owners = served.iter().map(|it| (it.address(), it.owned_alone)).collect();
        let link = LinkWatch::new(network.view(), owners);
        trouble.link_is(network.view().link.up);
        let notices = network.as_fd().try_clone_to_owned().map_err(failed)?;
        let network = Arc::new(Mutex::new(network));
        let waker = Waker::new().map_err(failed)?;
        let stop = Arc::new(AtomicBool::new(false));
        // This one ends with the last shard that could ask.
        let (prober, asker) = (Arc::clone(&network), keeper.clone());
        spawn("probe", move || answer_probes(&prober, &asked, &asker)).map_err(failed)?;
        let (report, lost) = crossbeam_channel::bounded(1);
        let mut upkeep = Upkeep { interface, link, queues, steering, keeper, trouble, report };
        let (wake, stopped) = (waker.clone(), Arc::clone(&stop));
        let run = move || {
            pass_on(&network, &notices, &shards, &mut upkeep, (&wake, &stopped));
        };
        let thread = spawn("network", run).map_err(failed)?;
        Ok(Watch { thread: Some(thread), waker, stop, lost })
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(run)
}

fn answer_probes(network: &Arc<Mutex<Network>>, asked: &Receiver<IpAddr>, keeper: &Keeper) {
    for neighbour in asked {
        let network = Arc::clone(network);
        let probe = move || network.lock().unwrap_or_else(PoisonError::into_inner).probe(neighbour);
        if let Ok(Err(error)) = keeper.run(probe) {
            tracing::debug!("cannot ask the kernel for the neighbour {neighbour}: {error}");
        }
    }
}

fn pass_on(
    network: &Mutex<Network>,
    notices: &OwnedFd,
    shards: &[(Sender<NetworkView>, Option<Waker>)],
    upkeep: &mut Upkeep,
    (waker, stop): (&Waker, &AtomicBool),
) {
    let mut look = Instant::now() + PULSE;
    while !stop.load(Ordering::Acquire) {
        let timeout = look.saturating_duration_since(Instant::now());
        wait_readable(&[notices.as_fd(), waker.as_fd()], Some(timeout));
        let mut network = network.lock().unwrap_or_else(PoisonError::into_inner);
        match network.refresh() {
            Ok(Some(view)) => {
                tracing::debug!(?view, "the network has changed");
                for (shard, waker) in shards {
                    let _ = shard.send(view.clone());
                    waker.iter().for_each(Waker::wake);
                }
                let happenings = upkeep.link.see(view);
                drop(network);
                for happening in happenings {
                    upkeep.draw(happening);
                }
            }
            Ok(None) => drop(network),
            Err(error) => {
                drop(network);
                tracing::warn!("{error}; what was known before is used");
                thread::sleep(PATIENCE);
            }
        }
        if Instant::now() >= look {
            upkeep.look();
            look = Instant::now() + PULSE;
        }
    }
}

/// The threads at work. They end when this is dropped.
pub(super) struct Watch {
    thread: Option<JoinHandle<()>>,
    waker: Waker,
    stop: Arc<AtomicBool>,
    lost: Receiver<Loss>,
}

impl Watch {
    /// Says why the server cannot go on, once it cannot.
    pub(super) fn lost(&self) -> &Receiver<Loss> {
        &self.lost
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
