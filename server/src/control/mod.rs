//! What runs beside the data path: the control thread's view of the kernel, and what operators see.
//!
//! Nothing here is ever done by a pinned core but answering a short question between two turns.
//!
//! - `netlink`: the kernel's addresses, routes and neighbours.
//! - `observer`: what can be seen of the shards; `census`: what their connections are doing.
//! - `deny_list`: sources that are dropped before the shards see them.
//! - `protocol`, `socket`: how other processes ask for it; `metrics`: how Prometheus does.
//! - `threads`: what the kernel knows of their threads.
//! - `visitors`: serving both to strangers who may be slow, hung or many.

pub mod census;
pub mod deny_list;
pub mod metrics;
pub mod netlink;
pub mod observer;
pub mod protocol;
pub mod socket;
mod threads;
pub mod visitors;

use self::{
    metrics::Metrics,
    observer::Observer,
    socket::{ControlSocket, runtime_directory},
};
use crate::{
    config::{ControlPath, Observation},
    failure::Failure,
};

/// Whatever a server is observed by. Dropped, it is closed.
#[derive(Debug)]
pub struct Instruments {
    socket: Option<ControlSocket>,
    metrics: Option<Metrics>,
}

impl Instruments {
    /// Opens what `config` asks for.
    ///
    /// # Errors
    ///
    /// [`Failure::Other`] or [`Failure::Address`]. That there is no place for a control socket that nobody
    /// has asked for is only logged.
    pub fn open(config: &Observation, observer: &Observer) -> Result<Self, Failure> {
        let socket = match &config.control {
            ControlPath::Off => None,
            ControlPath::At(path) => {
                let socket = ControlSocket::open(path, observer.clone());
                Some(socket.map_err(|error| Failure::Other(error.to_string()))?)
            }
            ControlPath::Default => runtime_directory().and_then(|directory| {
                let socket = ControlSocket::open_in(&directory, observer.clone());
                socket.inspect_err(|error| tracing::warn!("{error}, or none with off")).ok()
            }),
        };
        if let Some(socket) = &socket {
            tracing::info!("control socket {}", socket.path().display());
        }
        let metrics = config.metrics.map(|address| Metrics::serve(address, observer.clone()));
        let metrics = metrics.transpose().map_err(|error| Failure::Address(error.to_string()))?;
        if let Some(metrics) = &metrics {
            tracing::info!("metrics at http://{}/metrics", metrics.address());
        }
        Ok(Self { socket, metrics })
    }

    /// The control socket, if there is one.
    pub fn socket(&self) -> Option<&ControlSocket> {
        self.socket.as_ref()
    }

    /// The metrics, if they are served.
    pub fn metrics(&self) -> Option<&Metrics> {
        self.metrics.as_ref()
    }
}
