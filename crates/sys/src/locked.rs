//! Keeps everything a small program has in memory out of swap (mlockall(2)).
//!
//! For programs that hold a secret in the clear, not for servers: those lock single secrets.

use std::io;

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{Resource, Rlimit, setrlimit};

/// Locks all memory this process has and will have, page by page as it is first touched.
///
/// Needs `CAP_SYS_RESOURCE` and `CAP_IPC_LOCK`, during this call only. The limit is lifted first:
/// with a limit and without the capability, every later allocation past it would fail, which is worse
/// than a page in swap; so when the limit stays, nothing is locked.
pub fn lock_everything() -> io::Result<()> {
    let none = Rlimit {
        current: None,
        maximum: None,
    };
    setrlimit(Resource::Memlock, none)?;
    // ONFAULT: the unused parts of threads' stacks are not filled in just to be locked.
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use rustix::process::getrlimit;
    use rustix::thread::{CapabilitySet, capabilities};

    use super::*;
    use crate::capabilities::Capabilities;
    use crate::in_child::{in_child, kilobytes};

    const MEGABYTE: usize = 1024 * 1024;

    fn highest() -> Option<u64> {
        getrlimit(Resource::Memlock).maximum
    }

    fn limit(current: u64, maximum: Option<u64>) {
        let current = Some(current);
        setrlimit(Resource::Memlock, Rlimit { current, maximum }).unwrap();
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
        let name = "locked::tests::all_memory_is_locked_present_and_future_whatever_the_limit_was";
        in_child(name, || {
            let low = 64 * 1024;
            limit(low, if capable { Some(low) } else { highest() });
            let present = vec![1u8; 16 * MEGABYTE];
            lock_everything().unwrap();
            let lifted = getrlimit(Resource::Memlock);
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
            "locked::tests::nothing_is_locked_where_the_limit_stays",
            || {
                // Enough for now, where it is not forbidden.
                let enough = highest().unwrap_or(1 << 40);
                limit(enough, Some(enough));
                Capabilities::give_up().unwrap();
                let refused = lock_everything().unwrap_err();
                assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
                assert_eq!(kilobytes("VmLck:"), 0);
            },
        );
    }
}
