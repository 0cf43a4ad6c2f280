//! Fetches every file by curl, some processes at a time, and compares what came with what should have.

use std::{
    fmt::Write as _,
    fs,
    io::{self, BufRead, BufReader, Read},
    net::IpAddr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{ChildStdout, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use super::tree::{Original, hash_file};
use crate::lab::{Lab, Side};

/// curl processes at a time.
pub(super) const CLIENTS: usize = 8;

/// A process fetches at most this many files, on one connection if the server keeps it open; fewer if
/// there are not enough for all processes.
const BATCH_FILES: usize = 512;

/// It begins no further file once it has this many bytes on the disk.
const BATCH_BYTES: u64 = 16 << 20;

/// What became of the files.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Answers.
    pub(super) requests: u64,
    /// Bytes of files received.
    pub(super) bytes: u64,
    /// Connections opened.
    pub(super) connections: u64,
    /// Files that did not arrive as they are on the disk.
    pub(super) faults: u64,
    /// The first few of those.
    pub(super) examples: Vec<String>,
}

impl Outcome {
    fn fault(&mut self, what: String) {
        const EXAMPLES: usize = 5;
        self.faults += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(what);
        }
    }

    /// Adds what another part of the run found.
    pub(super) fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.bytes += other.bytes;
        self.connections += other.connections;
        let more = other.faults;
        let before = self.faults;
        other.examples.into_iter().for_each(|example| self.fault(example));
        self.faults = before + more;
    }
}

/// Where and what to fetch.
pub(super) struct Fetch<'a> {
    pub(super) lab: &'a Lab,
    pub(super) server: IpAddr,
    pub(super) files: &'a [Original],
    /// An empty directory for what is fetched; it is empty again afterwards.
    pub(super) scratch: &'a Path,
    /// Set to end early.
    pub(super) stop: &'a AtomicBool,
}

impl Fetch<'_> {
    /// Fetches and compares all files. `progress` is called once an answer.
    pub(super) fn run(&self, progress: &(impl Fn() + Sync)) -> io::Result<Outcome> {
        let batches = batches(self.files);
        let next = AtomicUsize::new(0);
        let total = Mutex::new(Outcome::default());
        let work = |client: usize| {
            let directory = self.scratch.join(format!("client-{client}"));
            fs::create_dir(&directory)?;
            while !self.stop.load(Ordering::Relaxed) {
                let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
                let outcome = self.batch(batch, &directory, progress)?;
                if !self.stop.load(Ordering::Relaxed) {
                    total.lock().expect("no worker panics").add(outcome);
                }
            }
            fs::remove_dir_all(&directory)
        };
        std::thread::scope(|scope| {
            let clients: Vec<_> =
                (0..CLIENTS).map(|client| scope.spawn(move || work(client))).collect();
            clients.into_iter().try_for_each(|client| client.join().expect("no worker panics"))
        })?;
        Ok(total.into_inner().expect("no worker panics"))
    }

    /// Has one curl process fetch `files` into `directory`, then compares and removes them.
    fn batch(
        &self,
        files: &[Original],
        directory: &Path,
        progress: &impl Fn(),
    ) -> io::Result<Outcome> {
        let config = directory.join("curl");
        fs::write(&config, self.config(files, directory))?;
        let mut curl = self.lab.command(Side::Client, "curl");
        curl.args(["--silent", "--show-error", "--globoff", "--path-as-is"]);
        curl.args(["--connect-timeout", "5", "--max-time", "60"]);
        curl.args(["--write-out", "%{http_code} %{num_connects}\\n", "--config"]).arg(&config);
        // A Ctrl-C in the terminal is ours to act on.
        curl.process_group(0);
        let mut child =
            curl.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (answers, complaint) = std::thread::scope(|scope| {
            let complaint = scope.spawn(|| first_line(stderr));
            let answers = stdout.map(|pipe| answers(pipe, progress)).unwrap_or_default();
            (answers, complaint.join().unwrap_or_default())
        });
        child.wait()?;
        let mut outcome = Outcome::default();
        for (index, file) in files.iter().enumerate() {
            let path = copy_path(directory, index);
            match answers.get(index) {
                Some((200, connects)) => {
                    outcome.connections += connects;
                    compare(file, &path, &mut outcome)?;
                }
                Some((0, _)) | None => {
                    outcome.fault(format!("{}: no answer: {complaint}", file.url_path));
                }
                Some((status, connects)) => {
                    outcome.connections += connects;
                    outcome.requests += 1;
                    outcome.fault(format!("{}: status {status}", file.url_path));
                }
            }
            let _ = fs::remove_file(path);
        }
        Ok(outcome)
    }

    /// A curl configuration: each file with where to put it.
    fn config(&self, files: &[Original], directory: &Path) -> String {
        let host = match self.server {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        let mut text = String::new();
        for (index, file) in files.iter().enumerate() {
            let copy = copy_path(directory, index);
            // Writing to a string does not fail.
            let _ = writeln!(text, "url = \"http://{host}{}\"", file.url_path);
            let _ = writeln!(text, "output = \"{}\"", copy.display());
        }
        text
    }
}

fn copy_path(directory: &Path, index: usize) -> PathBuf {
    directory.join(index.to_string())
}

fn batches(files: &[Original]) -> Vec<&[Original]> {
    let most = files.len().div_ceil(CLIENTS).clamp(1, BATCH_FILES);
    let mut batches = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (index, file) in files.iter().enumerate() {
        bytes += file.len;
        if index + 1 - start == most || bytes >= BATCH_BYTES || index + 1 == files.len() {
            batches.push(&files[start..=index]);
            (start, bytes) = (index + 1, 0);
        }
    }
    batches
}

/// Status and number of connections opened of each answer, as curl reports them.
fn answers(pipe: ChildStdout, progress: &impl Fn()) -> Vec<(u16, u64)> {
    let lines = BufReader::new(pipe).lines().map_while(Result::ok);
    let answer = |line: String| {
        progress();
        let (status, connects) = line.split_once(' ')?;
        Some((status.parse().ok()?, connects.parse().ok()?))
    };
    lines.map(|line| answer(line).unwrap_or_default()).collect()
}

fn first_line(pipe: Option<impl Read>) -> String {
    let mut text = String::new();
    if let Some(mut pipe) = pipe {
        let _ = pipe.read_to_string(&mut text);
    }
    text.lines().next().unwrap_or("curl was ended").to_owned()
}

fn compare(file: &Original, copy: &Path, outcome: &mut Outcome) -> io::Result<()> {
    outcome.requests += 1;
    // curl makes no file for an empty body.
    if file.len == 0 && !copy.exists() {
        return Ok(());
    }
    let (len, hash) = hash_file(copy)?;
    outcome.bytes += len;
    if len != file.len {
        outcome.fault(format!("{}: {len} bytes instead of {}", file.url_path, file.len));
    } else if hash != file.hash {
        outcome.fault(format!("{}: other content", file.url_path));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(len: u64) -> Original {
        Original { url_path: "/x".to_owned(), len, hash: [0; 32] }
    }

    #[test]
    fn batches_are_bounded_in_files_and_bytes_and_lose_none() {
        let mut files: Vec<_> = (0..1500).map(file).collect();
        files.extend([file(BATCH_BYTES), file(1), file(BATCH_BYTES - 1), file(2)]);
        let batches = batches(&files);
        assert_eq!(batches.iter().map(|batch| batch.len()).sum::<usize>(), files.len());
        assert!(batches.iter().all(|batch| batch.len() <= BATCH_FILES));
        for batch in &batches {
            let all_but_last = &batch[..batch.len() - 1];
            assert!(all_but_last.iter().map(|file| file.len).sum::<u64>() < BATCH_BYTES);
        }
        assert!(super::batches(&[]).is_empty());
    }

    #[test]
    fn a_copy_that_differs_is_a_fault_with_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("0");
        fs::write(&path, "wrong").unwrap();
        let mut outcome = Outcome::default();
        compare(&file(5), &path, &mut outcome).unwrap();
        compare(&file(6), &path, &mut outcome).unwrap();
        assert_eq!((outcome.requests, outcome.faults, outcome.bytes), (2, 2, 10));
        assert_eq!(outcome.examples, ["/x: other content", "/x: 5 bytes instead of 6"]);
    }
}
