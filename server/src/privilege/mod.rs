//! What the process may do, and how it gives that up.
//!
//! It starts as root, or as another user with just the capabilities in [`Rights`]. Before it opens anything but
//! its own page table it becomes `user`, without new privileges for good, and with no other capabilities than these. From then on
//! only one thread keeps them, the [`Keeper`], which touches nothing from the network: it loads and attaches the
//! steering program, asks the kernel for neighbours, and starts shards, which open their queue or listener,
//! give up the rest and serve under a filter of system calls ([`seccomp`]). A vanished interface can so be
//! served again when it is back. Where nothing but the kernel's TCP is asked for, the keeper ends with the start.
//!
//! Capabilities belong to threads in Linux and are inherited by the threads that they start; that is why the
//! order matters, and why the main thread drops its own before it starts helpers.

mod keeper;
mod seccomp;

use std::{
    ffi::CString,
    fs,
    os::unix::fs::{DirBuilderExt, MetadataExt, lchown},
};

use nix::unistd::{Gid, Group, Uid, User, initgroups, setresgid, setresuid};
use rustix::{
    io::Errno,
    process::{Resource, Rlimit, geteuid, setrlimit},
    thread::{
        CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
        remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities,
        set_no_new_privs,
    },
};

pub use self::keeper::{Confine, Confinement, Keeper};
use crate::{
    config::{Config, TransportConfig},
    control::socket::SYSTEM_DIRECTORY,
    failure::Failure,
};

/// What the user-level stack needs. The socket of a queue: `NET_RAW`. The steering program: `BPF` and
/// `NET_ADMIN` to load and attach it, `PERFMON` for its verification. Neighbours: `NET_ADMIN`. The memory of
/// queues, unless its limit is raised: `IPC_LOCK`.
pub const XDP_RIGHTS: CapabilitySet = CapabilitySet::NET_RAW
    .union(CapabilitySet::NET_ADMIN)
    .union(CapabilitySet::BPF)
    .union(CapabilitySet::PERFMON)
    .union(CapabilitySet::IPC_LOCK);

/// What a kernel listener on a port below 1024 needs.
pub const PORT_RIGHTS: CapabilitySet = CapabilitySet::NET_BIND_SERVICE;

/// Who to be after the start.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    name: CString,
    user: Uid,
    group: Gid,
}

impl Identity {
    /// Looks up `user` or `user:group`, by name or number.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] if there is nobody of that name.
    pub fn find(text: &str) -> Result<Self, Failure> {
        let (user_name, group_name) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let missing = |what: &str, name: &str| {
            Failure::Usage(format!("there is no {what} `{name}` for --user; `getent` lists them"))
        };
        let user = User::from_name(user_name).ok().flatten().or_else(|| {
            let number = user_name.parse().ok()?;
            User::from_uid(Uid::from_raw(number)).ok().flatten()
        });
        let user = user.ok_or_else(|| missing("user", user_name))?;
        let group = match group_name {
            None => user.gid,
            Some(name) => {
                let group = Group::from_name(name)
                    .ok()
                    .flatten()
                    .or_else(|| Group::from_gid(Gid::from_raw(name.parse().ok()?)).ok().flatten());
                group.ok_or_else(|| missing("group", name))?.gid
            }
        };
        let name = CString::new(user.name).map_err(|_| missing("user", user_name))?;
        Ok(Self { name, user: user.uid, group })
    }

    /// The user's and the group's numbers.
    pub fn numbers(&self) -> (u32, u32) {
        (self.user.as_raw(), self.group.as_raw())
    }
}

/// What has to be kept until everything is open: all that `config` needs of what there is.
fn rights(config: &Config) -> CapabilitySet {
    match &config.transport {
        TransportConfig::Kernel(_) => PORT_RIGHTS,
        TransportConfig::Xdp(xdp) if xdp.fallback.is_some() => XDP_RIGHTS | PORT_RIGHTS,
        TransportConfig::Xdp(_) => XDP_RIGHTS,
    }
}

/// Gives up all that is not needed, becomes `config`'s user, and returns who keeps the rest. To be called
/// before there is any other thread. Root without a user to become stays what it is.
///
/// # Errors
///
/// [`Failure::Privilege`] if it is not allowed to become that user.
pub fn drop_to(config: &Config) -> Result<Keeper, Failure> {
    let confinement = if config.seccomp { Confinement::Filtered } else { Confinement::Free };
    let is_root = geteuid().is_root();
    if is_root && config.user.is_none() {
        tracing::info!("runs as root for good; `user` gives that up after the start");
        return Ok(Keeper::none(confinement));
    }
    let failed =
        |source: Errno| Failure::System { what: "give up privileges", source: source.into() };
    let sets = capabilities(None).map_err(failed)?;
    let held = sets.permitted;
    let kept = held & rights(config);
    if let Some(identity) = &config.user {
        open_page_map(sets).map_err(failed)?;
        raise_memory_limit();
        hand_over_runtime_directory(identity);
        // Refused without CAP_SETPCAP, and then nothing is lost: no new privileges come below.
        for capability in (CapabilitySet::all() - kept).iter() {
            let _ = remove_capability_from_bounding_set(capability);
        }
        set_keep_capabilities(true).map_err(failed)?;
        become_user(identity)?;
        set_keep_capabilities(false).map_err(failed)?;
    }
    // An old kernel has no ambient set to clear.
    let _ = clear_ambient_capability_set();
    set_no_new_privs(true).map_err(failed)?;
    hold(kept).map_err(failed)?;
    if kept.is_empty() {
        return Ok(Keeper::none(confinement));
    }
    let keeper = Keeper::start(confinement)?;
    drop_all().map_err(failed)?;
    Ok(keeper)
}

fn become_user(identity: &Identity) -> Result<(), Failure> {
    let is_self = geteuid().as_raw() == identity.user.as_raw();
    if is_self {
        return Ok(());
    }
    let done = initgroups(&identity.name, identity.group)
        .and_then(|()| setresgid(identity.group, identity.group, identity.group))
        .and_then(|()| setresuid(identity.user, identity.user, identity.user));
    done.map_err(|error| {
        let name = identity.name.to_string_lossy();
        Failure::Privilege(format!(
            "cannot become the user {name}: {error}; start as root, or leave --user out"
        ))
    })
}

/// Lets this process lock the memory of its queues without a capability. Refused, the capability will do.
fn raise_memory_limit() {
    let _ = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None });
}

/// Opens what the kernel hides from a process that has changed its user: its own page table, by which it knows
/// which files are in memory. Without the capability that would have it say where in memory.
fn open_page_map(sets: CapabilitySets) -> Result<(), Errno> {
    let effective = sets.effective - CapabilitySet::SYS_ADMIN;
    set_capabilities(None, CapabilitySets { effective, ..sets })?;
    pagewire_stack::open_page_map();
    set_capabilities(None, sets)
}

/// Makes the directory of the control socket, and gives it to `identity` if it is root's. Without it the server
/// says that it has no control socket.
fn hand_over_runtime_directory(identity: &Identity) {
    let path = SYSTEM_DIRECTORY;
    let _ = fs::DirBuilder::new().recursive(true).mode(0o755).create(path);
    if fs::symlink_metadata(path).is_ok_and(|it| it.is_dir() && it.uid() == 0) {
        let (user, group) = identity.numbers();
        let _ = lchown(path, Some(user), Some(group));
    }
}

/// Has this thread hold just `set`.
fn hold(set: CapabilitySet) -> Result<(), Errno> {
    let sets =
        CapabilitySets { effective: set, permitted: set, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets)
}

/// Gives up all capabilities of this thread.
fn drop_all() -> Result<(), Errno> {
    hold(CapabilitySet::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_groups_are_found_by_name_and_number() {
        assert_eq!(Identity::find("root").unwrap().numbers(), (0, 0));
        assert_eq!(Identity::find("0:0").unwrap().numbers(), (0, 0));
        for text in ["nobody-here", "root:nobody-here", "", "root:", "4294967294"] {
            let error = Identity::find(text).unwrap_err().to_string();
            assert!(error.contains("there is no"), "{text}: {error}");
        }
    }
}
