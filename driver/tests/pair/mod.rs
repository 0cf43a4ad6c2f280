//! A veth pair of a test's own.

#![allow(unsafe_code)]
#![allow(dead_code, reason = "no test uses all of it")]

pub mod queues;

use std::{
    fs::File,
    process::{self, Command},
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use nix::sched::{CloneFlags, setns};

/// The ends of a veth pair in two namespaces, removed when dropped, also by a panic.
pub struct Veth {
    /// The namespace of the end called [`Veth::NEAR`], 10.99.0.1/24 in the kernel's hands.
    pub near: String,
    /// The namespace of the end called [`Veth::FAR`], 10.99.0.2/24 in the kernel's hands.
    pub far: String,
}

impl Veth {
    pub const NEAR: &str = "near0";
    pub const FAR: &str = "far0";

    /// A pair with this many queues at both ends, both up.
    pub fn new(queues: u32) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let id = format!("{}-{}", process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let veth = Self { near: format!("pwt-n{id}"), far: format!("pwt-f{id}") };
        let (near, far) = (&veth.near, &veth.far);
        ip(&format!("netns add {near}"));
        ip(&format!("netns add {far}"));
        let sizes = format!("numrxqueues {queues} numtxqueues {queues}");
        ip(&format!(
            "link add {} netns {near} {sizes} type veth peer name {} netns {far} {sizes}",
            Self::NEAR,
            Self::FAR
        ));
        for (namespace, name, address) in
            [(near, Self::NEAR, "10.99.0.1/24"), (far, Self::FAR, "10.99.0.2/24")]
        {
            // Neighbor discovery would put frames of its own on the link.
            let quiet = format!("echo 1 > /proc/sys/net/ipv6/conf/{name}/disable_ipv6");
            run("ip", &["netns", "exec", namespace, "sh", "-c", &quiet]);
            ip(&format!("-n {namespace} addr add {address} dev {name}"));
            ip(&format!("-n {namespace} link set {name} up"));
        }
        veth
    }

    /// Gives the far end's receive work to kernel threads of its own.
    pub fn schedule_far_end_apart(&self) {
        let threaded = format!("echo 1 > /sys/class/net/{}/threaded", Self::FAR);
        run("ip", &["netns", "exec", &self.far, "sh", "-c", &threaded]);
    }

    /// Runs `work` on a thread inside `namespace` and waits for it.
    pub fn inside<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                enter(namespace);
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs `work` on the calling thread while that is inside `namespace`.
    pub fn inside_here<T>(namespace: &str, work: impl FnOnce() -> T) -> T {
        let home = File::open("/proc/thread-self/ns/net").unwrap();
        enter(namespace);
        let result = work();
        setns(home, CloneFlags::CLONE_NEWNET).unwrap();
        result
    }
}

fn enter(namespace: &str) {
    let handle = File::open(format!("/run/netns/{namespace}")).unwrap();
    setns(handle, CloneFlags::CLONE_NEWNET).unwrap();
}

/// Takes all privileges from the calling thread, and from it alone.
pub fn become_nobody() {
    const NOBODY: libc::c_long = 65_534;
    // SAFETY: the call takes no pointers. Made past the C library, it changes this thread only.
    let result = unsafe { libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) };
    assert_eq!(result, 0);
}

impl Drop for Veth {
    fn drop(&mut self) {
        for namespace in [&self.near, &self.far] {
            let _ = Command::new("ip").args(["netns", "del", namespace]).status();
        }
    }
}

/// Runs `ip` with these words.
pub fn ip(words: &str) {
    run("ip", &words.split_whitespace().collect::<Vec<_>>());
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {error}");
}
