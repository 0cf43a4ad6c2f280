//! The servers that are compared.

use std::{fs, io::ErrorKind, path::Path, process::Command};

use pagewire_tools::{lab::Lab, serving::Serving};

use crate::{
    ends::End,
    error::BenchError,
    product::{self, ADDRESS, PORT},
};

/// A server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Subject {
    /// `pagewire serve` on the kernel's TCP.
    Kernel,
    /// `pagewire serve` on the user-level stack.
    User,
    /// One thread that sends from mappings.
    Naive,
    /// nginx with one process and sendfile.
    Nginx,
}

impl Subject {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Kernel, Self::User, Self::Naive, Self::Nginx];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kernel => "pagewire, kernel",
            Self::User => "pagewire, user stack",
            Self::Naive => "naive mmap server",
            Self::Nginx => "nginx, sendfile",
        }
    }

    /// What it is called in figures.
    pub fn key(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::User => "user",
            Self::Naive => "naive",
            Self::Nginx => "nginx",
        }
    }

    /// Whether it can be had on this machine.
    pub fn is_here(self) -> bool {
        let absent = || {
            let tried = Command::new("nginx").arg("-v").output();
            tried.is_err_and(|error| error.kind() == ErrorKind::NotFound)
        };
        self != Self::Nginx || !absent()
    }

    /// Starts it on the server's side, to serve `root` on that side's first core.
    pub fn start(
        self,
        lab: &Lab,
        end: &End,
        root: &Path,
        scratch: &Path,
    ) -> Result<Serving, BenchError> {
        let error = BenchError::system("start a server");
        let core = end.cores.first().map_or(0, |core| core.id).to_string();
        let folder = root.to_string_lossy().into_owned();
        let address = format!("{ADDRESS}:{PORT}");
        let log = scratch.join("server.log");
        let words: Vec<String> = match self {
            Self::Kernel => {
                format!(
                    "serve {folder} --listen {address} --congestion-control cubic --cores {core}"
                )
            }
            Self::User => format!(
                "serve {folder} --require-xdp --interface {} --queues 0 --address {ADDRESS}/24 \
                 --port {PORT} --cores {core}",
                end.interface
            ),
            Self::Naive => format!("cold-naive {folder} {address} {core}"),
            Self::Nginx => {
                let configuration = scratch.join("nginx.conf");
                fs::write(&configuration, nginx(root, scratch)).map_err(&error)?;
                // It does not say when it is ready.
                let line = format!(
                    "(sleep 1; echo ready) & exec taskset -c {core} nginx -c {}",
                    configuration.display()
                );
                let arguments = ["-c".to_owned(), line];
                return Ok(Serving::start(lab, Path::new("sh"), &arguments, &log)?);
            }
        }
        .split_whitespace()
        .map(str::to_owned)
        .collect();
        let program = match self {
            Self::Naive => std::env::current_exe().map_err(&error)?,
            _ => product::program()?,
        };
        Ok(Serving::start(lab, &program, &words, &log)?)
    }

    /// Whether a thread of this name must not wait for the disk.
    pub fn is_core(self, thread: &str) -> bool {
        match self {
            Self::Kernel | Self::User => thread.starts_with("shard-"),
            Self::Naive | Self::Nginx => true,
        }
    }
}

fn nginx(root: &Path, scratch: &Path) -> String {
    let (root, scratch) = (root.display(), scratch.display());
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {scratch}/{name}; "))
        .concat();
    format!(
        "user root; daemon off; master_process off; worker_processes 1; pid {scratch}/nginx.pid;\n\
         error_log {scratch}/nginx.log; events {{ worker_connections 1024; }}\n\
         http {{ {temporary} access_log off; sendfile on; tcp_nopush on;\n\
         open_file_cache max=4096; keepalive_requests 100000000;\n\
         server {{ listen {ADDRESS}:{PORT}; root {root}; }} }}\n"
    )
}
