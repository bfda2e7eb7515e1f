//! Capabilities for the moment they are needed (capabilities(7)): permitted all along, effective only
//! inside [`Capabilities::with`].
//!
//! Capabilities and user ids belong to a thread: lower them before the first thread is started, and
//! every later thread inherits the lowered state. Never decides what is needed.

use std::io;

use rustix::process::{Gid, Uid, getgid, getuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_keep_capabilities,
    set_thread_res_gid, set_thread_res_uid,
};

/// A capability that a program may keep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Capability {
    /// `CAP_NET_ADMIN`: take interfaces up and down, change routes.
    NetAdmin,
    /// `CAP_SYSLOG`: quiet the kernel's messages on the console.
    Syslog,
    /// `CAP_SETUID`: become root for a child process.
    SetUid,
    /// `CAP_SETGID`: become root's group, and leave all others, for a child process.
    SetGid,
    /// `CAP_KILL`: signal a child process that runs as root.
    Kill,
    /// `CAP_IPC_LOCK`: keep memory out of swap.
    IpcLock,
    /// `CAP_SYS_RESOURCE`: raise the limit of locked memory.
    SysResource,
    /// `CAP_DAC_READ_SEARCH`: read files of other users.
    DacReadSearch,
}

/// Turns the process into its real user and group with nothing effective, and answers with what
/// remains permitted: those of `keep` that it was started with.
///
/// This serves a process started with the effective user root and another real user, as Mandos's
/// plugin runner starts its plugins, as well as root itself and an ordinary user.
pub fn lower(keep: &[Capability]) -> io::Result<Capabilities> {
    let (user, group) = (getuid(), getgid());
    set_thread_res_gid(group, group, group)?;
    if !user.is_root() {
        set_keep_capabilities(true)?;
        become_user(user)?;
        set_keep_capabilities(false)?;
    }
    let permitted = capabilities(None)?.permitted & set_of(keep);
    set_capabilities(None, sets(CapabilitySet::empty(), permitted))?;
    Ok(Capabilities { permitted })
}

fn become_user(user: Uid) -> io::Result<()> {
    Ok(set_thread_res_uid(user, user, user)?)
}

/// The capabilities that this process may still raise.
#[derive(Clone, Copy, Debug)]
pub struct Capabilities {
    permitted: CapabilitySet,
}

impl Capabilities {
    /// Runs `action` with `wanted` effective, as far as they are permitted, and lowers them again.
    ///
    /// What is not permitted is left out in silence: `action` then fails with the kernel's own
    /// "operation not permitted", which says more than this function could.
    pub fn with<T>(self, wanted: &[Capability], action: impl FnOnce() -> T) -> T {
        let effective = self.permitted & set_of(wanted);
        // Raising within the permitted set and lowering always succeed (capset(2)); were a security
        // module to refuse, `action` would run without and say so.
        let _ = set_capabilities(None, sets(effective, self.permitted));
        let result = action();
        let _ = set_capabilities(None, sets(CapabilitySet::empty(), self.permitted));
        result
    }

    /// Gives up those of `list` for good in this thread and in those it will start.
    pub fn without(self, list: &[Capability]) -> io::Result<Self> {
        let permitted = self.permitted - set_of(list);
        set_capabilities(None, sets(CapabilitySet::empty(), permitted))?;
        Ok(Self { permitted })
    }

    /// True when `capability` can be raised.
    pub fn has(self, capability: Capability) -> bool {
        self.permitted.contains(set_of(&[capability]))
    }

    /// Gives them up for good in this thread and in those it will start.
    pub fn give_up() -> io::Result<()> {
        let nothing = CapabilitySet::empty();
        Ok(set_capabilities(None, sets(nothing, nothing))?)
    }
}

/// True when the real user and group are root's.
pub fn is_root() -> bool {
    getuid().is_root() && getgid() == Gid::ROOT
}

fn sets(effective: CapabilitySet, permitted: CapabilitySet) -> CapabilitySets {
    CapabilitySets {
        effective,
        permitted,
        inheritable: CapabilitySet::empty(),
    }
}

fn set_of(list: &[Capability]) -> CapabilitySet {
    list.iter().map(|one| bit(*one)).collect()
}

fn bit(capability: Capability) -> CapabilitySet {
    match capability {
        Capability::NetAdmin => CapabilitySet::NET_ADMIN,
        Capability::Syslog => CapabilitySet::SYSLOG,
        Capability::SetUid => CapabilitySet::SETUID,
        Capability::SetGid => CapabilitySet::SETGID,
        Capability::Kill => CapabilitySet::KILL,
        Capability::IpcLock => CapabilitySet::IPC_LOCK,
        Capability::SysResource => CapabilitySet::SYS_RESOURCE,
        Capability::DacReadSearch => CapabilitySet::DAC_READ_SEARCH,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Capabilities belong to a thread, so each test lowers those of a thread of its own.
    fn in_a_thread(test: impl FnOnce() + Send + 'static) {
        std::thread::spawn(test).join().unwrap();
    }

    #[test]
    fn nothing_is_effective_outside_the_moment() {
        in_a_thread(|| {
            let kept = lower(&[Capability::NetAdmin]).unwrap();
            assert!(capabilities(None).unwrap().effective.is_empty());
            let during = kept.with(&[Capability::NetAdmin, Capability::Kill], || {
                capabilities(None).unwrap().effective
            });
            // As root: exactly the kept one. As an ordinary user: nothing at all.
            assert_eq!(
                during.contains(CapabilitySet::NET_ADMIN),
                kept.has(Capability::NetAdmin)
            );
            assert!(!during.contains(CapabilitySet::KILL));
            assert!(capabilities(None).unwrap().effective.is_empty());
        });
    }

    #[test]
    fn what_was_given_up_does_not_come_back() {
        in_a_thread(|| {
            let both = lower(&[Capability::NetAdmin, Capability::Kill]).unwrap();
            let kept = both.without(&[Capability::Kill]).unwrap();
            assert!(!kept.has(Capability::Kill));
            let during = both.with(&[Capability::Kill], || capabilities(None).unwrap());
            assert!(!during.permitted.contains(CapabilitySet::KILL));
            Capabilities::give_up().unwrap();
            let during = kept.with(&[Capability::NetAdmin], || capabilities(None).unwrap());
            assert!(during.effective.is_empty() && during.permitted.is_empty());
        });
    }

    #[test]
    fn another_real_user_stays_and_keeps_what_was_asked_for() {
        if !nightlatch_test_support::is_root() {
            return;
        }
        in_a_thread(|| {
            let nobody = Uid::from_raw(65534);
            let group = Gid::from_raw(65533);
            let inheritable = CapabilitySets {
                inheritable: CapabilitySet::NET_ADMIN,
                ..capabilities(None).unwrap()
            };
            set_capabilities(None, inheritable).unwrap();
            set_thread_res_gid(group, Gid::ROOT, Gid::ROOT).unwrap();
            set_thread_res_uid(nobody, Uid::ROOT, Uid::ROOT).unwrap();
            let kept = lower(&[Capability::NetAdmin]).unwrap();
            assert!(kept.has(Capability::NetAdmin) && !kept.has(Capability::Kill));
            assert!(set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).is_err());
            // A saved group would be a way back without any capability.
            assert!(set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).is_err());
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            assert!(
                status.contains("Uid:\t65534\t65534\t65534\t65534"),
                "{status}"
            );
            assert!(
                status.contains("Gid:\t65533\t65533\t65533\t65533"),
                "{status}"
            );
            let now = capabilities(None).unwrap();
            assert_eq!(now.permitted, CapabilitySet::NET_ADMIN);
            assert!(now.effective.is_empty());
            // A program that is started gets nothing.
            assert!(now.inheritable.is_empty());
            // The next change of user takes everything.
            assert!(!rustix::thread::get_keep_capabilities().unwrap());
        });
    }
}
