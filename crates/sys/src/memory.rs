//! Keeps memory from a disk: no core dumps, and nothing that must stay secret in swap.
//!
//! The programs of the initramfs lock all their memory, the server single secrets.

use std::io;

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{DumpableBehavior, Resource, Rlimit};

/// Makes the kernel write no core dump of this process or of what it starts, and lets no other
/// process of the same user read its memory (prctl(2), `PR_SET_DUMPABLE`).
pub fn forbid_core_dumps() -> io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    rustix::process::setrlimit(Resource::Core, none)?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// Locks the pages on which `bytes` stand into memory (mlock(2)). They stay locked until the process
/// ends: a neighbour on the same page may need it still.
///
/// # Errors
/// `ENOMEM` or `EPERM` when `RLIMIT_MEMLOCK` forbids it, `ENOMEM` too when the process has too many
/// mappings (`vm.max_map_count`).
pub fn lock(bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let start = bytes.as_ptr().cast_mut().cast();
    // SAFETY: the range is that of a live slice, and locking its pages changes no byte of them.
    unsafe { rustix::mm::mlock(start, bytes.len()) }?;
    Ok(())
}

/// Locks all memory this process has and will have, page by page as it is first touched.
///
/// Needs `CAP_SYS_RESOURCE` and `CAP_IPC_LOCK`, during this call only. The limit is lifted first:
/// with a limit and without the capability, every later allocation past it would fail, which is worse
/// than a page in swap; so when the limit stays, nothing is locked.
pub fn lock_all() -> io::Result<()> {
    let none = Rlimit {
        current: None,
        maximum: None,
    };
    rustix::process::setrlimit(Resource::Memlock, none)?;
    // ONFAULT: the unused parts of threads' stacks are not filled in just to be locked.
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT)?;
    Ok(())
}

/// The number of bytes that this process may lock (`RLIMIT_MEMLOCK`, getrlimit(2)); `None` for no limit.
pub fn lock_limit() -> Option<u64> {
    rustix::process::getrlimit(Resource::Memlock).current
}

/// Returns freed memory to the kernel (malloc_trim(3)): for the end of work that needed much more than stays in use.
/// Others that allocate meanwhile may wait, some ten milliseconds for each hundred megabytes. Does nothing with another C
/// library than GNU's.
pub fn release_freed() {
    #[cfg(target_env = "gnu")]
    // SAFETY: memory that is in use stays as it is.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use rustix::thread::{CapabilitySet, capabilities};

    use super::*;
    use crate::capabilities::Capabilities;
    use crate::in_child::{in_child, kilobytes};

    #[test]
    fn bytes_are_locked_in_place_all_of_them() {
        in_child(
            "memory::tests::bytes_are_locked_in_place_all_of_them",
            || {
                lock(&[]).unwrap();
                assert_eq!(kilobytes("VmLck:"), 0);
                let bytes = vec![7; 10_000];
                lock(&bytes).unwrap();
                lock(&bytes).unwrap();
                assert!(kilobytes("VmLck:") * 1024 >= 10_000);
                drop(bytes);
            },
        );
    }

    #[test]
    fn no_core_dump_is_written_and_nobody_looks_into_the_memory() {
        let name = "memory::tests::no_core_dump_is_written_and_nobody_looks_into_the_memory";
        in_child(name, || {
            let highest = rustix::process::getrlimit(Resource::Core).maximum;
            let all = Rlimit {
                current: highest,
                maximum: highest,
            };
            rustix::process::setrlimit(Resource::Core, all).unwrap();
            let dumpable = || rustix::process::dumpable_behavior().unwrap();
            assert!(
                highest != Some(0) && dumpable() == DumpableBehavior::Dumpable,
                "the test could not fail here"
            );
            forbid_core_dumps().unwrap();
            let limit = rustix::process::getrlimit(Resource::Core);
            assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
            assert_eq!(dumpable(), DumpableBehavior::NotDumpable);
        });
    }

    #[test]
    fn the_limit_is_that_of_the_process() {
        in_child("memory::tests::the_limit_is_that_of_the_process", || {
            let low = Rlimit {
                current: Some(4096),
                ..rustix::process::getrlimit(Resource::Memlock)
            };
            rustix::process::setrlimit(Resource::Memlock, low).unwrap();
            assert_eq!(lock_limit(), Some(4096));
        });
    }

    const MEGABYTE: usize = 1024 * 1024;

    fn highest() -> Option<u64> {
        rustix::process::getrlimit(Resource::Memlock).maximum
    }

    fn limit(current: u64, maximum: Option<u64>) {
        let current = Some(current);
        rustix::process::setrlimit(Resource::Memlock, Rlimit { current, maximum }).unwrap();
    }

    #[test]
    fn all_memory_is_locked_present_and_future_whatever_the_limit_was() {
        let wanted = CapabilitySet::SYS_RESOURCE | CapabilitySet::IPC_LOCK;
        let capable = capabilities(None).unwrap().effective.contains(wanted);
        if !capable && highest().is_some() {
            // In some containers not even root may.
            return nightlatch_test_support::runs_elsewhere(
                "lifting a limit needs CAP_SYS_RESOURCE",
            );
        }
        let name = "memory::tests::all_memory_is_locked_present_and_future_whatever_the_limit_was";
        in_child(name, || {
            let low = 64 * 1024;
            limit(low, if capable { Some(low) } else { highest() });
            let present = vec![1u8; 16 * MEGABYTE];
            lock_all().unwrap();
            let lifted = rustix::process::getrlimit(Resource::Memlock);
            assert_eq!((lifted.current, lifted.maximum), (None, None));
            let before = kilobytes("VmLck:");
            assert!(before >= 16 * 1024, "{before} kB");
            let resident = kilobytes("VmRSS:");
            let future = vec![0u8; 64 * MEGABYTE];
            let after = kilobytes("VmLck:");
            assert!(after >= before + 64 * 1024, "{before} kB, then {after} kB");
            // It was not touched, and takes no room.
            assert!(kilobytes("VmRSS:") < resident + 32 * 1024);
            drop((present, future));
        });
    }

    /// Otherwise allocations would fail later.
    #[test]
    fn nothing_is_locked_where_the_limit_stays() {
        in_child(
            "memory::tests::nothing_is_locked_where_the_limit_stays",
            || {
                // Enough for now, where it is not forbidden.
                let enough = highest().unwrap_or(1 << 40);
                limit(enough, Some(enough));
                Capabilities::give_up().unwrap();
                let refused = lock_all().unwrap_err();
                assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
                assert_eq!(kilobytes("VmLck:"), 0);
            },
        );
    }
}
