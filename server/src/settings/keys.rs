//! All keys of the configuration: the one place where each is defined.
//!
//! **To add a key**, add it here: its help as a doc comment, its name, type and default, and when a change
//! takes effect. From that come the flag, the environment variable, the key in the file, its check, its
//! line in `pagewire config`, the help, the completions and the manual page. Then read
//! `settings.your_key.value` in [`config`](crate::config), which puts it where it is used.
//!
//! - `your_key` is `--your-key`, `PAGEWIRE_YOUR_KEY`, and `your_key = …` in the file.
//! - The type is any [`Value`]: `bool`, [`Number`]`<LEAST, MOST>`, [`Bytes`]`<LEAST, MOST>`, [`Timeout`],
//!   `PathBuf`, `String`, addresses, words (see `TransportName`), and `Option` and `Vec` of these. A new type
//!   implements `Value`.
//! - The default is text, as a flag would have it; `""` is none or empty. Where it depends on something, say so
//!   at the end of the help as `[default: …]`.
//! - `AtReload`: SIGHUP applies it: it is part of [`Live`](crate::config::Live). `AtStart`: a reload keeps the
//!   old value and says that a restart is needed.
//!
//! Sites and their rules, `[[site]]`, are no keys but a structure of their own: [`crate::site::config`].

use std::{net::SocketAddr, path::PathBuf};

use pagewire_stack::Prefix;

use super::{
    Effect, Key, Setting, SiteSettings, Value,
    value::{Bytes, Number, NumberList, Time, Timeout, words},
};
use crate::site::config::Dotfiles;

words! {
    /// Whose TCP carries the connections.
    TransportName {
        /// The user-level stack where an interface is named, the kernel's otherwise.
        Auto: "auto",
        /// The kernel's, with epoll and sendfile; needs no privileges.
        Kernel: "kernel",
        /// The user-level stack on `AF_XDP` queues of one interface.
        Xdp: "xdp",
    }
}

words! {
    /// What the log looks like.
    LogFormat {
        /// Lines for people.
        Text: "text",
        /// Lines of JSON for programs.
        Json: "json",
    }
}

words! {
    /// What the log leaves out.
    LogLevel {
        /// All but failures.
        Error: "error",
        /// All but failures and what may lead to one.
        Warn: "warn",
        /// Details.
        Info: "info",
        /// Nothing.
        Debug: "debug",
    }
}

words! {
    /// What a line of the access log looks like.
    AccessLogFormat {
        /// As Apache and nginx write it.
        Combined: "combined",
        /// One object of JSON, with how long the response took and how it ended.
        Json: "json",
    }
}

macro_rules! keys {
    ($($group:literal {
        $($(#[doc = $doc:literal])* $name:ident: $type:ty = $default:literal, $effect:ident;)*
    })*) => {
        /// Every key, in the order of the help.
        pub const KEYS: &[Key] = &[$($(Key {
            field: stringify!($name),
            group: $group,
            help: concat!($($doc, "\n"),*),
            default: $default,
            effect: Effect::$effect,
            placeholder: <$type as Value>::PLACEHOLDER,
            is_list: <$type as Value>::IS_LIST,
            words: <$type as Value>::WORDS,
            check: |texts| <$type as Value>::read(texts).map(|_| ()),
        },)*)*];

        /// What each key is set to, and where that was said.
        #[derive(Clone, Debug)]
        pub struct Settings {
            $($($(#[doc = $doc])* pub $name: Setting<$type>,)*)*
            /// Sites with names and rules of their own.
            pub sites: SiteSettings,
        }

        impl Settings {
            /// Every key at its default.
            ///
            /// # Errors
            ///
            /// The key whose default its own type refuses, which a test rules out.
            pub(super) fn defaults() -> Result<Self, (&'static str, String)> {
                Ok(Self {
                    $($($name: Setting::default_of(stringify!($name), $default)
                        .map_err(|message| (stringify!($name), message))?,)*)*
                    sites: SiteSettings::default(),
                })
            }

            /// Sets the key whose field is called `field`.
            ///
            /// # Errors
            ///
            /// What is wrong with the text.
            pub(super) fn set(
                &mut self,
                field: &str,
                texts: &[&str],
                origin: super::Origin,
            ) -> Result<(), String> {
                match field {
                    $($(stringify!($name) => self.$name.set(texts, origin),)*)*
                    _ => Err("is no key".to_owned()),
                }
            }

            /// The value of the key whose field is called `field`, as a file has it.
            pub(super) fn written(&self, field: &str) -> (Option<toml::Value>, super::Origin) {
                match field {
                    $($(stringify!($name) => {
                        (self.$name.value.write(), self.$name.origin.clone())
                    })*)*
                    _ => (None, super::Origin::Default),
                }
            }

            /// Takes from `running` whatever only a restart could change, and returns the names of
            /// the keys that would have changed.
            pub fn keep_what_needs_a_restart(&mut self, running: &Self) -> Vec<&'static str> {
                let mut kept = Vec::new();
                $($(if Effect::$effect == Effect::AtStart
                    && self.$name.value != running.$name.value
                {
                    kept.push(stringify!($name));
                    self.$name = running.$name.clone();
                })*)*
                kept
            }
        }
    };
}

keys! {
    "Serving" {
        /// Directory to serve. Nothing outside it is ever sent.
        root: Option<PathBuf> = "", AtReload;
        /// Names that start with a dot, such as `.git`: `hide` answers 404, but for `/.well-known`; `serve`
        /// treats them like others.
        dotfiles: Dotfiles = "hide", AtReload;
        /// List directories that have no index.html, as HTML or, for programs that ask for it, JSON.
        listing: bool = "false", AtReload;
        /// Whose TCP carries the connections. `auto`: the user-level stack if an interface is named, and
        /// the kernel's otherwise. Where the user-level stack cannot be had, the kernel's serves those of
        /// the addresses that it has, unless --require-xdp is set.
        transport: TransportName = "auto", AtStart;
        /// Cores to run on, one shard each: `0-1` or `0,2-3`. [default: all that this process may use]
        cores: Option<NumberList> = "", AtStart;
    }
    "Privileges" {
        /// User to become once started as root, and group, by name or number: `www-data` or `www-data:web`.
        /// What the interface needs later stays with one thread that touches no traffic. [default: none]
        user: Option<String> = "", AtStart;
        /// Confine the threads that serve to the system calls that they need.
        seccomp: bool = "true", AtStart;
    }
    "Kernel transport" {
        /// Address to listen on; may be given several times. [default: each --address with --port, or
        /// 127.0.0.1:8080]
        listen: Vec<SocketAddr> = "", AtStart;
        /// Congestion control of the kernel's TCP, such as `cubic` or `bbr`. [default: the system's]
        congestion_control: Option<String> = "", AtStart;
    }
    "XDP transport" {
        /// Interface whose queues are used.
        interface: Option<String> = "", AtStart;
        /// Address to serve, with its prefix length: `10.77.0.1/24`; may be given several times. If the
        /// kernel has it too, only the TCP port is taken; if not, ARP, NDP and ICMP are answered as well.
        address: Vec<Prefix> = "", AtStart;
        /// TCP port to serve.
        port: Number<1, 65_535> = "80", AtStart;
        /// Queues to serve, one shard each: `0-1`. [default: all of the interface]
        queues: Option<NumberList> = "", AtStart;
        /// Never sleep: less latency for a whole core's time.
        busy: bool = "false", AtStart;
        /// End with status 3 or 4 where AF_XDP cannot be had, rather than serve by the kernel's TCP.
        require_xdp: bool = "false", AtStart;
    }
    "Limits" {
        /// Connections at once on each core.
        connections: Number<1, 4_000_000> = "4096", AtStart;
        /// Of them, those of one source: an IPv4 address or an IPv6 /64. [default: all]
        connections_per_source: Option<Number<1, 4_000_000>> = "", AtStart;
        /// Of those of one source, those without a request, on the XDP transport: of more than that the one
        /// that has been idle for longest is closed. [default: all]
        idle_per_source: Option<Number<1, 4_000_000>> = "", AtStart;
        /// Largest request head (431, 414). With --body-bytes no more than at the start, until a restart.
        head_bytes: Bytes<256, 24_576> = "16384", AtReload;
        /// Largest request content (413). It is read and discarded.
        body_bytes: Bytes<0, 24_576> = "8192", AtReload;
        /// Files that each core keeps open.
        cache_entries: Number<16, 30_000> = "4096", AtReload;
        /// Memory that each core fills with small files.
        cache_bytes: Bytes<0, { 1 << 40 }> = "64MiB", AtReload;
        /// Threads that open and read files for the cores.
        disk_threads: Number<1, 256> = "4", AtStart;
    }
    "Timeouts" {
        /// For the head of a request, from its first byte to its last (408).
        head_timeout: Timeout = "10s", AtReload;
        /// For a whole request, from its first byte to its last (408).
        request_timeout: Timeout = "60s", AtReload;
        /// For so much of a request's content as --min-rate asks in this time (408).
        body_timeout: Timeout = "10s", AtReload;
        /// Without a request; the connection is then closed.
        idle_timeout: Timeout = "60s", AtReload;
        /// For the client to take as much as --min-rate asks in this time of what is sent to it; else the
        /// connection is cut.
        send_timeout: Timeout = "30s", AtReload;
        /// Bytes a second that must come of a request's content, and be taken of what is sent, on the
        /// average of these times.
        min_rate: Bytes<0, { 1 << 30 }> = "256", AtReload;
        /// For what is being sent when the server is told to end by SIGQUIT.
        drain_timeout: Time<0, 86_400_000> = "30s", AtReload;
    }
    "Observation" {
        /// Unix socket for `pw top`, `pw connections` and `pw deny`, open to this user alone; `off` for none.
        /// [default: named after the process, in /run/pagewire, or without root in
        /// `$XDG_RUNTIME_DIR/pagewire`]
        control: Option<PathBuf> = "", AtStart;
        /// Address at which Prometheus finds /metrics, on the kernel's TCP. [default: none]
        metrics: Option<SocketAddr> = "", AtStart;
        /// File for a line about each request, or `-` for the standard output. SIGUSR1 opens it anew by its
        /// name. [default: none]
        access_log: Option<PathBuf> = "", AtStart;
        /// What a line about a request looks like.
        access_log_format: AccessLogFormat = "combined", AtStart;
        /// Log one request of so many.
        access_log_sample: Number<1, 1_000_000> = "1", AtStart;
        /// What the log on the standard error looks like.
        log_format: LogFormat = "text", AtStart;
        /// What the log leaves out: everything that matters less than this.
        log_level: LogLevel = "info", AtStart;
    }
}
