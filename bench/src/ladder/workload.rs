//! What rungs are asked for, and the files for it.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use rustix::fs::{Advice, fadvise, statfs};

use super::rung::Limits;
use crate::client::{Reuse, Target};

/// One kind of load.
#[derive(Debug)]
pub struct Workload {
    /// Its name on the command line and in figures.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// Connections that ask all the time.
    pub active: usize,
    /// Connections that have asked once.
    pub idle: usize,
    /// How connections are used.
    pub reuse: Reuse,
    files: Files,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Files {
    /// The file of this name.
    Warm(&'static str),
    /// All of the cold set, once each.
    Cold,
}

/// The files that are asked for again and again: their names and lengths.
pub const WARM: [(&str, u64); 3] = [("128", 128), ("16k", 16 << 10), ("1m", 1 << 20)];

/// The length of each file of the cold set.
const COLD_BYTES: u64 = 64 << 10;

const KEEP_64: Workload = Workload {
    name: "keep-64",
    about: "128 B, 64 connections kept alive",
    active: 64,
    idle: 0,
    reuse: Reuse::KeepAlive,
    files: Files::Warm("128"),
};

/// All workloads.
pub const ALL: [Workload; 7] = [
    KEEP_64,
    Workload {
        name: "keep-1024",
        about: "128 B, 1,024 connections kept alive",
        active: 1024,
        ..KEEP_64
    },
    Workload {
        name: "close",
        about: "128 B, a connection per request, 64 at once",
        reuse: Reuse::Close,
        ..KEEP_64
    },
    Workload {
        name: "idle",
        about: "128 B, 64 connections kept alive beside 10,000 idle ones",
        idle: 10_000,
        ..KEEP_64
    },
    Workload {
        name: "16k",
        about: "16 KiB, 64 connections kept alive",
        files: Files::Warm("16k"),
        ..KEEP_64
    },
    Workload {
        name: "1m",
        about: "1 MiB, 16 connections kept alive",
        active: 16,
        files: Files::Warm("1m"),
        ..KEEP_64
    },
    Workload {
        name: "cold",
        about: "64 KiB files outside the page cache, each once, 64 connections kept alive",
        files: Files::Cold,
        ..KEEP_64
    },
];

impl Workload {
    /// Connections at once.
    pub fn connections(&self) -> usize {
        self.active + self.idle
    }

    /// Whether its files are read from the disk.
    pub fn is_cold(&self) -> bool {
        self.files == Files::Cold
    }

    /// Bytes of content of each answer.
    pub fn bytes(&self) -> u64 {
        match self.files {
            Files::Warm(name) => WARM.iter().find(|(it, _)| *it == name).map_or(0, |(_, len)| *len),
            Files::Cold => COLD_BYTES,
        }
    }

    /// What is asked for, where the cold set has `cold` files. The first of a cold set is no part of it.
    pub fn targets(&self, cold: usize) -> Vec<Target> {
        match self.files {
            Files::Warm(name) => vec![Target::new(&format!("/{name}"), self.bytes(), self.reuse)],
            Files::Cold => (0..cold)
                .map(|number| {
                    Target::new(&format!("/{}", cold_name(number)), COLD_BYTES, self.reuse)
                })
                .collect(),
        }
    }

    /// Why a rung of these limits cannot do it, if it cannot.
    pub fn refused_by(&self, limits: &Limits) -> Option<String> {
        match limits {
            Limits { cold: Some(why), .. } if self.is_cold() => Some((*why).to_owned()),
            Limits { idle: Some(why), .. } if self.idle > 0 => Some((*why).to_owned()),
            Limits { connections: Some((most, why)), .. } if self.connections() > *most => {
                Some(format!("at most {most} connections: {why}"))
            }
            _ => None,
        }
    }
}

fn cold_name(number: usize) -> String {
    format!("cold-{number}")
}

/// Writes the files that are asked for again and again.
pub fn write_warm(directory: &Path) -> io::Result<()> {
    for (name, len) in WARM {
        fs::write(directory.join(name), content(len))?;
    }
    Ok(())
}

/// Writes the cold set, and says whether it can be cold here at all: not on a file system in memory.
pub fn write_cold(directory: &Path, count: usize) -> io::Result<bool> {
    /// linux/magic.h: tmpfs, ramfs.
    const IN_MEMORY: [i64; 2] = [0x0102_1994, 0x8584_58f6];
    if IN_MEMORY.contains(&statfs(directory).map(|it| it.f_type)?) {
        return Ok(false);
    }
    let content = content(COLD_BYTES);
    for number in 0..count {
        File::create(directory.join(cold_name(number)))?.write_all(&content)?;
    }
    rustix::fs::syncfs(File::open(directory)?)?;
    Ok(true)
}

/// Drops the cold set from the page cache.
pub fn chill(directory: &Path, count: usize) -> io::Result<()> {
    for number in 0..count {
        let file = File::open(directory.join(cold_name(number)))?;
        fadvise(&file, 0, None, Advice::DontNeed)?;
    }
    Ok(())
}

fn content(len: u64) -> Vec<u8> {
    (0..len).map(|at| (at * 31 + at / 251) as u8).collect()
}
