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
