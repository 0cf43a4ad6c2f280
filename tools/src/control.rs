//! A client of the control socket of a running server, and how it is found.

use std::{
    env,
    io::{self, BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use pagewire::control::{
    protocol::{About, Answer, Ask, Connection, End, Figures, Filter, Request, VERSION},
    socket::{runtime_directory, sockets_in},
};
use thiserror::Error;

/// How long a server may take to answer, or to go on with an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The variable of the server's setting, which may say `off`. Flags beat it.
const VARIABLE: &str = "PAGEWIRE_CONTROL";

/// Which server to look at
#[derive(Clone, Debug, Default, Args)]
pub struct Which {
    /// Process number of the server, where several run
    #[arg(long, value_name = "PID", conflicts_with = "socket", global = true)]
    pub pid: Option<u32>,
    /// Its control socket, if that is not where it is by default [env: `PAGEWIRE_CONTROL`]
    #[arg(long, value_name = "PATH", global = true)]
    pub socket: Option<PathBuf>,
}

/// Why a server cannot be looked at.
#[derive(Debug, Error)]
pub enum ControlError {
    /// No server runs.
    #[error("no pagewire of this user runs here; start one, or name its --socket")]
    NoServer,
    /// Several run.
    #[error("several servers run; choose one with --pid: {0}")]
    Several(String),
    /// Nobody answers there.
    #[error("cannot reach the server at {path}: {source}")]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It does not go on.
    #[error("the server does not answer: {0}")]
    Io(#[from] io::Error),
    /// It says something else than it should.
    #[error("the server says what this version does not understand: {0}")]
    Strange(String),
    /// It refuses.
    #[error("{0}")]
    Refused(String),
}

impl Which {
    /// The socket that is meant.
    ///
    /// # Errors
    ///
    /// [`ControlError::NoServer`] or [`ControlError::Several`].
    pub fn find(&self) -> Result<PathBuf, ControlError> {
        if let Some(path) = &self.socket {
            return Ok(path.clone());
        }
        let of_environment = || env::var_os(VARIABLE).filter(|it| !it.is_empty() && it != "off");
        if self.pid.is_none()
            && let Some(path) = of_environment()
        {
            return Ok(path.into());
        }
        let directory = runtime_directory().ok_or(ControlError::NoServer)?;
        if let Some(pid) = self.pid {
            return Ok(directory.join(format!("{pid}.sock")));
        }
        let mut found = sockets_in(&directory)?;
        found.retain(|path| UnixStream::connect(path).is_ok());
        match found.as_slice() {
            [] => Err(ControlError::NoServer),
            [path] => Ok(path.clone()),
            several => {
                let pids = several.iter().filter_map(|path| path.file_stem()?.to_str());
                Err(ControlError::Several(pids.collect::<Vec<_>>().join(", ")))
            }
        }
    }
}

/// A server that answers.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    about: About,
}

impl Client {
    /// Connects to a control socket, and asks what is there.
    ///
    /// # Errors
    ///
    /// Any [`ControlError`].
    pub fn connect(path: &Path) -> Result<Self, ControlError> {
        let connected = UnixStream::connect(path).and_then(|stream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(stream)
        });
        let stream = connected
            .map_err(|source| ControlError::Unreachable { path: path.to_owned(), source })?;
        let mut stream = BufReader::new(stream);
        let about = match ask(&mut stream, Ask::About)? {
            Answer::About(about) if about.version == VERSION => about,
            Answer::About(about) => {
                let message = format!("version {} of the protocol, not {VERSION}", about.version);
                return Err(ControlError::Strange(message));
            }
            other => return Err(unexpected(other)),
        };
        Ok(Self { stream, about })
    }

    /// What the server is.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// All its figures.
    ///
    /// # Errors
    ///
    /// Any [`ControlError`].
    pub fn figures(&mut self) -> Result<Figures, ControlError> {
        match ask(&mut self.stream, Ask::Figures)? {
            Answer::Figures(figures) => Ok(figures),
            other => Err(unexpected(other)),
        }
    }

    /// Its connections, one by one.
    ///
    /// # Errors
    ///
    /// Any [`ControlError`], and what `each` says.
    pub fn connections(
        &mut self,
        filter: Filter,
        mut each: impl FnMut(Connection) -> io::Result<()>,
    ) -> Result<End, ControlError> {
        let mut answer = ask(&mut self.stream, Ask::Connections(filter))?;
        loop {
            match answer {
                Answer::Connection(connection) => each(*connection)?,
                Answer::End(end) => return Ok(end),
                other => return Err(unexpected(other)),
            }
            answer = next(&mut self.stream)?;
        }
    }

    /// Denies what comes from a network, or no longer. Says whether that was otherwise before.
    ///
    /// # Errors
    ///
    /// Any [`ControlError`].
    pub fn deny(&mut self, network: String, denied: bool) -> Result<bool, ControlError> {
        let change = if denied { Ask::Deny { network } } else { Ask::Allow { network } };
        match ask(&mut self.stream, change)? {
            Answer::Changed(changed) => Ok(changed),
            other => Err(unexpected(other)),
        }
    }

    /// The networks that are denied.
    ///
    /// # Errors
    ///
    /// Any [`ControlError`].
    pub fn denied(&mut self) -> Result<Vec<String>, ControlError> {
        match ask(&mut self.stream, Ask::Denied)? {
            Answer::Denied(networks) => Ok(networks),
            other => Err(unexpected(other)),
        }
    }
}

fn ask(stream: &mut BufReader<UnixStream>, ask: Ask) -> Result<Answer, ControlError> {
    let mut line = serde_json::to_vec(&Request::new(ask)).map_err(io::Error::from)?;
    line.push(b'\n');
    stream.get_mut().write_all(&line).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => ended(),
        _ => error,
    })?;
    next(stream)
}

fn next(stream: &mut BufReader<UnixStream>) -> Result<Answer, ControlError> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(ended().into());
    }
    serde_json::from_str(&line).map_err(|error| ControlError::Strange(error.to_string()))
}

fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it has ended, or is too busy")
}

fn unexpected(answer: Answer) -> ControlError {
    match answer {
        Answer::Error(message) => ControlError::Refused(message),
        other => ControlError::Strange(format!("{other:?}").chars().take(60).collect()),
    }
}
