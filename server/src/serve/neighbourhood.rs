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
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender};
use pagewire_driver::{Waker, wait_readable};
use pagewire_stack::NetworkView;

use crate::{
    control::netlink::{Network, NetworkError},
    failure::Failure,
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
}

impl Neighbourhood {
    /// Reads the present state.
    pub(super) fn open(interface: &str) -> Result<Self, Failure> {
        let network = Network::open(interface).map_err(|error| match error {
            NetworkError::NoInterface { .. } => Failure::Interface(error.to_string()),
            NetworkError::Netlink(_) => Failure::Other(error.to_string()),
        })?;
        let (ask, asked) = crossbeam_channel::bounded(MOST_PROBES);
        Ok(Self { network, shards: Vec::new(), ask, asked })
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

    /// Starts to pass on changes and questions.
    pub(super) fn watch(self) -> Result<Watch, Failure> {
        let failed = |source| Failure::System { what: "watch the network", source };
        let Self { network, shards, asked, .. } = self;
        let notices = network.as_fd().try_clone_to_owned().map_err(failed)?;
        let network = Arc::new(Mutex::new(network));
        let waker = Waker::new().map_err(failed)?;
        let stop = Arc::new(AtomicBool::new(false));
        // This one ends with the last shard that could ask.
        let prober = Arc::clone(&network);
        spawn("probe", move || answer_probes(&prober, &asked)).map_err(failed)?;
        let (wake, stopped) = (waker.clone(), Arc::clone(&stop));
        let thread =
            spawn("network", move || pass_on(&network, &notices, &shards, &wake, &stopped))
                .map_err(failed)?;
        Ok(Watch { thread: Some(thread), waker, stop })
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(run)
}

fn answer_probes(network: &Mutex<Network>, asked: &Receiver<IpAddr>) {
    for neighbour in asked {
        let mut network = network.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = network.probe(neighbour) {
            tracing::debug!("cannot ask the kernel for the neighbour {neighbour}: {error}");
        }
    }
}

fn pass_on(
    network: &Mutex<Network>,
    notices: &OwnedFd,
    shards: &[(Sender<NetworkView>, Option<Waker>)],
    waker: &Waker,
    stop: &AtomicBool,
) {
    while !stop.load(Ordering::Acquire) {
        wait_readable(&[notices.as_fd(), waker.as_fd()], None);
        let mut network = network.lock().unwrap_or_else(PoisonError::into_inner);
        match network.refresh() {
            Ok(Some(view)) => {
                tracing::debug!(?view, "the network has changed");
                for (shard, waker) in shards {
                    let _ = shard.send(view.clone());
                    waker.iter().for_each(Waker::wake);
                }
            }
            Ok(None) => {}
            Err(error) => {
                drop(network);
                tracing::warn!("{error}; what was known before is used");
                thread::sleep(PATIENCE);
            }
        }
    }
}

/// The threads at work. They end when this is dropped.
pub(super) struct Watch {
    thread: Option<JoinHandle<()>>,
    waker: Waker,
    stop: Arc<AtomicBool>,
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
