//! Opening a queue: memory, socket, and what was chosen on the way.

#![allow(unsafe_code)]

use std::{
    error::Error,
    io,
    num::NonZeroU32,
    os::fd::AsFd,
    thread,
    time::{Duration, Instant},
};

use xsk_rs::{
    FrameDesc, Socket, Umem,
    config::{BindFlags, LibxdpFlags, QueueSize, SocketConfig, UmemConfig},
};

use super::{
    config::{MAX_MTU, VETH_IN_FLIGHT, XdpConfig, ZeroCopy},
    rings::{Parts, Rings},
    socket,
};
use crate::{Chosen, Interface, TransferMode, XdpError, frame::CHUNK_SIZE};

/// How long the kernel may take to let go of a queue whose owner has just gone: it does so by a work queue, behind
/// an RCU grace period and the lock that all changes of interfaces share, which on a loaded machine is seconds.
const BIND_PATIENCE: Duration = Duration::from_secs(5);

/// Chunks on one hugepage.
const CHUNKS_PER_HUGEPAGE: u32 = 512;

/// Frames that one kick may send, where that can be set.
const KICK_BUDGET: u32 = 256;

/// Opens the queue that `config` asks for. Nothing is in the rings yet, and no XDP program is loaded.
pub(super) fn open(config: &XdpConfig) -> Result<(Rings, Interface, Chosen), XdpError> {
    config.check()?;
    let interface = Interface::find(&config.interface)?;
    check_interface(config, &interface)?;
    let size = QueueSize::new(config.ring).map_err(|_| XdpError::Sizes("bad ring size"))?;
    let (umem, descriptors, pages_reason) = memory(config, size)?;
    let rings = Rings::new(bind(config, &interface, size, umem, descriptors)?);
    let fd = rings.as_fd();
    let system = |source| XdpError::System { action: "set up the AF_XDP socket".into(), source };
    socket::close_on_exec(fd).map_err(system)?;
    socket::set_kick_budget(fd, KICK_BUDGET.min(config.ring));
    let zero_copy = socket::is_zero_copy(fd).map_err(system)?;
    let default = match interface.driver.as_str() {
        "veth" => VETH_IN_FLIGHT.min(config.ring as usize),
        _ => config.ring as usize,
    };
    let in_flight = config.in_flight.map_or(default, |most| most as usize);
    socket::set_send_buffer(fd, in_flight);
    let chosen = Chosen {
        interface: interface.name.clone(),
        queue: config.queue,
        driver: interface.driver.clone(),
        mode: if zero_copy { TransferMode::ZeroCopy } else { TransferMode::Copy },
        mode_reason: (!zero_copy).then(|| match config.zero_copy {
            ZeroCopy::Never => "asked for".to_owned(),
            _ => format!("{} has no zero-copy", interface.driver),
        }),
        hugepages: pages_reason.is_none(),
        pages_reason,
        in_flight,
    };
    Ok((rings, interface, chosen))
}

fn check_interface(config: &XdpConfig, interface: &Interface) -> Result<(), XdpError> {
    let name = || interface.name.clone();
    if !interface.up {
        return Err(XdpError::InterfaceDown { interface: name() });
    }
    if interface.mtu > MAX_MTU {
        return Err(XdpError::Mtu { interface: name(), mtu: interface.mtu });
    }
    if interface.receive_queues.is_some() && config.queue >= interface.queues() {
        let queues = interface.queues();
        return Err(XdpError::NoQueue { interface: name(), queue: config.queue, queues });
    }
    Ok(())
}

/// Memory for the frames, its descriptors, and why it is not on hugepages if it is not.
fn memory(
    config: &XdpConfig,
    size: QueueSize,
) -> Result<(Umem, Vec<FrameDesc>, Option<String>), XdpError> {
    let chunks = config.chunks.next_multiple_of(CHUNKS_PER_HUGEPAGE);
    let mebibytes = (chunks as usize * CHUNK_SIZE) >> 20;
    let count = NonZeroU32::new(chunks).ok_or(XdpError::Sizes("there must be chunks"))?;
    let mut umem = UmemConfig::builder();
    umem.fill_queue_size(size).comp_queue_size(size);
    let umem = umem.build().map_err(|_| XdpError::Sizes("bad chunk size"))?;
    let reason = if config.hugepages {
        match Umem::new(umem, count, true) {
            Ok((memory, descriptors)) => return Ok((memory, descriptors, None)),
            Err(error) => match os_error(&error) {
                error if error.raw_os_error() == Some(libc::ENOMEM) => "no free hugepages".into(),
                error => format!("hugepages refused: {error}"),
            },
        }
    } else {
        "asked for".to_owned()
    };
    let (memory, descriptors) = Umem::new(umem, count, false).map_err(|error| {
        let source = os_error(&error);
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => {
                XdpError::Privilege { action: "open an AF_XDP socket".into() }
            }
            Some(libc::ENOBUFS) => XdpError::LockedMemory { mebibytes },
            Some(libc::ENOMEM) => XdpError::Memory { mebibytes },
            _ => XdpError::System { action: "register memory for packets".into(), source },
        }
    })?;
    Ok((memory, descriptors, Some(reason)))
}

fn bind(
    config: &XdpConfig,
    interface: &Interface,
    size: QueueSize,
    umem: Umem,
    descriptors: Vec<FrameDesc>,
) -> Result<Parts, XdpError> {
    let copying = match config.zero_copy {
        ZeroCopy::Preferred => BindFlags::empty(),
        ZeroCopy::Required => BindFlags::XDP_ZEROCOPY,
        ZeroCopy::Never => BindFlags::XDP_COPY,
    };
    let mut options = SocketConfig::builder();
    options.rx_queue_size(size).tx_queue_size(size);
    options.libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD);
    options.bind_flags(BindFlags::XDP_USE_NEED_WAKEUP | copying);
    let (options, queue) = (options.build(), config.queue);
    let name = interface
        .name
        .parse()
        .map_err(|_| XdpError::NoInterface { interface: interface.name.clone() })?;
    let start = Instant::now();
    loop {
        // SAFETY: the memory is not shared and libxdp loads no program.
        match unsafe { Socket::new(options, &umem, &name, queue) } {
            Ok((transmit, receive, Some((fill, completion)))) => {
                let (descriptors, transmit_size) = (descriptors.into_boxed_slice(), config.ring);
                return Ok(Parts {
                    transmit,
                    receive,
                    fill,
                    completion,
                    umem,
                    descriptors,
                    transmit_size,
                });
            }
            Ok((_, _, None)) => unreachable!("memory that is not shared has its own fill ring"),
            Err(error) => {
                let source = os_error(&error);
                let busy = source.raw_os_error() == Some(libc::EBUSY);
                if !busy || start.elapsed() > BIND_PATIENCE {
                    return Err(bind_error(config, interface, source));
                }
                thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

fn bind_error(config: &XdpConfig, interface: &Interface, source: io::Error) -> XdpError {
    let (name, queue) = (interface.name.clone(), config.queue);
    match source.raw_os_error() {
        Some(libc::EBUSY) => XdpError::QueueBusy { interface: name, queue },
        Some(libc::EPERM | libc::EACCES) => {
            XdpError::Privilege { action: format!("bind to queue {queue} of {name}") }
        }
        Some(libc::ENETDOWN) => XdpError::InterfaceDown { interface: name },
        Some(libc::ENODEV) => XdpError::NoInterface { interface: name },
        Some(libc::EOPNOTSUPP | libc::EINVAL) if config.zero_copy == ZeroCopy::Required => {
            XdpError::NoZeroCopy { interface: name, queue, driver: interface.driver.clone() }
        }
        Some(libc::EINVAL) if queue >= interface.queues() => {
            XdpError::NoQueue { interface: name, queue, queues: interface.queues() }
        }
        _ => XdpError::System { action: format!("bind to queue {queue} of {name}"), source },
    }
}

/// The system's error behind an error of `xsk-rs`.
fn os_error(error: &dyn Error) -> io::Error {
    let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    let code = source.and_then(io::Error::raw_os_error);
    code.map_or_else(|| io::Error::other(error.to_string()), io::Error::from_raw_os_error)
}
