//! The control socket: a Unix socket by which operators' tools see a running server.
//!
//! Mode 0600 from the first moment, in a runtime directory, called after the process: servers do not
//! get in each other's way, and what a killed one left is removed by the next. The protocol is in
//! `protocol`.

use std::{
    fs,
    io::{self, Read, Write},
    os::unix::{
        fs::{DirBuilderExt, FileTypeExt, MetadataExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use pagewire_stack::Prefix;
use rustix::{
    fs::{Mode, fchmod},
    net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType},
};
use thiserror::Error;

use super::{
    deny_list::{DenyError, DenyList, told},
    observer::Observer,
    protocol::{
        About, Answer, Ask, Connection, End, Figures, Filter, MOST_CONNECTIONS, REQUEST_BYTES,
        Request, Selection, VERSION, parse_network,
    },
    visitors::{Reception, Visit, Visitor},
};

/// Clients at once.
const MOST_CLIENTS: u8 = 8;

/// How long a client may take to ask, and to take its answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why there is no control socket.
#[derive(Debug, Error)]
pub enum SocketError {
    /// Another server has it.
    #[error("the control socket {0} is another server's; choose another with --control")]
    InUse(PathBuf),
    /// The system refuses.
    #[error("cannot make the control socket {path}: {source}; choose another with --control")]
    System {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// An open control socket. Dropped, it is removed.
#[derive(Debug)]
pub struct ControlSocket {
    path: PathBuf,
    /// Device and inode, so that nobody else's is removed.
    identity: (u64, u64),
    _reception: Reception,
}

/// Where the control sockets of the machine's servers are.
pub const SYSTEM_DIRECTORY: &str = "/run/pagewire";

/// Where control sockets are by default: [`SYSTEM_DIRECTORY`] for root and for whoever owns it, else below
/// `$XDG_RUNTIME_DIR`. None without either.
pub fn runtime_directory() -> Option<PathBuf> {
    let user = rustix::process::geteuid();
    let is_owner = |it: fs::Metadata| it.is_dir() && it.uid() == user.as_raw();
    if user.is_root() || fs::symlink_metadata(SYSTEM_DIRECTORY).is_ok_and(is_owner) {
        return Some(SYSTEM_DIRECTORY.into());
    }
    let directory = std::env::var_os("XDG_RUNTIME_DIR").filter(|it| !it.is_empty())?;
    Some(Path::new(&directory).join("pagewire"))
}

/// The control sockets in a directory, whether anybody answers there or not.
///
/// # Errors
///
/// If it cannot be read; a directory that does not exist has none.
pub fn sockets_in(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut paths: Vec<_> = paths.filter(|path| is_ours(path)).collect();
    paths.sort();
    Ok(paths)
}

/// Whether it is called as control sockets are: a process number and `.sock`.
fn is_ours(path: &Path) -> bool {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    path.extension().is_some_and(|it| it == "sock")
        && stem.is_some_and(|stem| stem.parse::<u32>().is_ok())
}

impl ControlSocket {
    /// Opens a socket for this process in a runtime directory, which is made if need be.
    ///
    /// # Errors
    ///
    /// Any [`SocketError`].
    pub fn open_in(directory: &Path, observer: Observer) -> Result<Self, SocketError> {
        let failed = |source| SocketError::System { path: directory.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o755).create(directory).map_err(failed)?;
        for path in sockets_in(directory).map_err(failed)? {
            remove_if_dead(&path);
        }
        Self::open(&directory.join(format!("{}.sock", std::process::id())), observer)
    }

    /// Opens a socket at `path`.
    ///
    /// # Errors
    ///
    /// Any [`SocketError`].
    pub fn open(path: &Path, observer: Observer) -> Result<Self, SocketError> {
        remove_if_dead(path);
        let listener = listen(path).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => SocketError::InUse(path.to_owned()),
            _ => SocketError::System { path: path.to_owned(), source },
        })?;
        let failed = |source| SocketError::System { path: path.to_owned(), source };
        let identity = fs::symlink_metadata(path).map(|it| (it.dev(), it.ino())).map_err(failed)?;
        let receive = move |visit: &mut Visit<UnixStream>| converse(visit, &observer);
        let reception =
            Reception::open("control", listener, MOST_CLIENTS.into(), PATIENCE, receive)
                .map_err(failed)?;
        Ok(Self { path: path.to_owned(), identity, _reception: reception })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let found = fs::symlink_metadata(&self.path).map(|it| (it.dev(), it.ino()));
        if found.is_ok_and(|found| found == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A listener that nobody but this user can ever connect to.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // The file that `bind` makes takes its mode from the socket (net/unix/af_unix.c, unix_bind_bsd).
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    net::listen(&socket, MOST_CLIENTS.into())?;
    Ok(socket.into())
}

/// Removes a socket that nobody listens on any more.
fn remove_if_dead(path: &Path) {
    // What is no socket refuses connections as well.
    if !fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        return;
    }
    let refused = UnixStream::connect(path).err();
    if refused.is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
        let _ = fs::remove_file(path);
    }
}

/// Answers requests until the client ends, or does something wrong.
fn converse<V: Visitor>(visit: &mut Visit<V>, observer: &Observer) -> io::Result<()> {
    let mut received = Vec::new();
    loop {
        visit.extend(PATIENCE);
        let Some(line) = next_line(visit, &mut received)? else {
            let message = format!("a request is one line of at most {REQUEST_BYTES} bytes");
            return if received.is_empty() { Ok(()) } else { tell(visit, &Answer::Error(message)) };
        };
        match serde_json::from_slice(&line) {
            Ok(Request { version: VERSION, ask }) => answer(visit, &ask, observer)?,
            Ok(Request { version, .. }) => {
                let message = format!("this server speaks version {VERSION}, not {version}");
                return tell(visit, &Answer::Error(message));
            }
            Err(error) => return tell(visit, &Answer::Error(format!("not a request: {error}"))),
        }
    }
}

/// The next line, of what was `received` before and what comes. None at the end, or if it is too long.
fn next_line(visit: &mut impl Read, received: &mut Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    let mut searched = 0;
    loop {
        if let Some(at) = memchr::memchr(b'\n', &received[searched..]) {
            return Ok(Some(received.drain(..=searched + at).collect()));
        }
        searched = received.len();
        if searched >= REQUEST_BYTES {
            return Ok(None);
        }
        let mut bytes = [0; REQUEST_BYTES];
        match visit.read(&mut bytes)? {
            0 => return Ok(None),
            len => received.extend_from_slice(&bytes[..len]),
        }
    }
}

fn answer<V: Visitor>(visit: &mut Visit<V>, ask: &Ask, observer: &Observer) -> io::Result<()> {
    match ask {
        Ask::About => tell(visit, &Answer::About(About::of(observer))),
        Ask::Figures => tell(visit, &Answer::Figures(Figures::of(observer))),
        Ask::Connections(filter) => match Selection::new(filter) {
            Ok(selection) => tell_connections(visit, observer, filter, &selection),
            Err(message) => tell(visit, &Answer::Error(message)),
        },
        Ask::Deny { .. } | Ask::Allow { .. } | Ask::Denied => {
            let answer = about_denied(ask, &observer.deny_list());
            tell(visit, &answer.unwrap_or_else(Answer::Error))
        }
    }
}

/// Answers what is asked about the deny list, or says why not.
fn about_denied(ask: &Ask, list: &DenyList) -> Result<Answer, String> {
    let change = |network: &str, change: fn(&DenyList, Prefix) -> Result<bool, DenyError>| {
        let changed = change(list, parse_network(network)?);
        changed.map(Answer::Changed).map_err(|error| error.to_string())
    };
    match ask {
        Ask::Deny { network } => change(network, DenyList::add),
        Ask::Allow { network } => change(network, DenyList::remove),
        _ => {
            let all = list.all().map_err(|error| error.to_string())?;
            Ok(Answer::Denied(all.into_iter().map(told).collect()))
        }
    }
}

fn tell<V: Visitor>(visit: &mut Visit<V>, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    visit.write_all(&line)
}

fn tell_connections<V: Visitor>(
    visit: &mut Visit<V>,
    observer: &Observer,
    filter: &Filter,
    selection: &Selection,
) -> io::Result<()> {
    let limit = u64::from(filter.limit.unwrap_or(MOST_CONNECTIONS).min(MOST_CONNECTIONS));
    let mut end = End { complete: true, ..End::default() };
    let shards = observer.cores().count();
    for shard in (0..shards).filter(|&shard| filter.shard.is_none_or(|wanted| wanted == shard)) {
        let pieces = observer.rows(shard, filter.sample);
        for piece in pieces {
            let Some(piece) = piece else {
                end.complete = false;
                break;
            };
            end.complete &= piece.stride == 1;
            end.looked_at += piece.rows.len() as u64;
            let mut lines = Vec::new();
            for row in piece.rows.iter().filter(|row| selection.accepts(row)) {
                if end.shown == limit {
                    end.complete = false;
                    visit.write_all(&lines)?;
                    return tell(visit, &Answer::End(end));
                }
                end.shown += 1;
                let row = Answer::Connection(Box::new(Connection::of(shard, row)));
                serde_json::to_writer(&mut lines, &row)?;
                lines.push(b'\n');
            }
            visit.write_all(&lines)?;
        }
    }
    tell(visit, &Answer::End(end))
}
