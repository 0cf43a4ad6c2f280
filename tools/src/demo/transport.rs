//! The two ways to serve, and the server that does.

use std::{
    io,
    net::IpAddr,
    path::Path,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use super::DemoError;
use crate::{
    lab::{INTERFACE, Lab, SERVER, Side},
    serving::Serving,
};

/// A way to serve.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Transport {
    /// The user-level stack on AF_XDP
    Xdp,
    /// The kernel's TCP
    Kernel,
}

impl Transport {
    /// Its name on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::Kernel => "kernel",
        }
    }

    fn arguments(self) -> String {
        let [v4, v6] = SERVER;
        match self {
            Self::Xdp => {
                format!("--require-xdp --interface {INTERFACE} --address {v4}/24 --address {v6}/64")
            }
            Self::Kernel => {
                format!("--listen {v4}:80 --listen [{v6}]:80 --congestion-control cubic")
            }
        }
    }

    /// Starts `pagewire` and waits until it answers the client.
    pub(super) fn serve(
        self,
        lab: &Lab,
        pagewire: &Path,
        root: &Path,
        scratch: &Path,
    ) -> Result<Serving, DemoError> {
        const PATIENCE: Duration = Duration::from_secs(15);
        let mut words = vec!["serve".to_owned(), root.to_string_lossy().into_owned()];
        words.extend(["--dotfiles".to_owned(), "serve".to_owned()]);
        words.extend(self.arguments().split(' ').map(str::to_owned));
        let log = scratch.join(format!("{}.log", self.name()));
        let mut serving = Serving::start(lab, pagewire, &words, &log)?;
        let deadline = Instant::now() + PATIENCE;
        for address in SERVER {
            while !answers(lab, address)? {
                serving.check()?;
                if Instant::now() > deadline {
                    return Err(DemoError::NoAnswer { address, said: serving.said() });
                }
                thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(serving)
    }
}

/// Whether an HTTP server answers the client there.
fn answers(lab: &Lab, server: IpAddr) -> io::Result<bool> {
    let host = if server.is_ipv4() { server.to_string() } else { format!("[{server}]") };
    let mut curl = lab.command(Side::Client, "curl");
    curl.args(["--silent", "--head", "--output", "/dev/null", "--max-time", "1"]);
    Ok(curl.arg(format!("http://{host}/")).stdin(Stdio::null()).status()?.success())
}
