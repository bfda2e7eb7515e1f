//! Memory that must not reach a disk: no core dumps, secrets locked against swapping.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit};

/// Makes the kernel write no core dump of this process or of what it starts, and lets no other
/// process of the same user read its memory (prctl(2), `PR_SET_DUMPABLE`). Call it again after a
/// change of user.
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

/// How many bytes this process may lock (`RLIMIT_MEMLOCK`, getrlimit(2)); `None` for no limit.
pub fn lock_limit() -> Option<u64> {
    rustix::process::getrlimit(Resource::Memlock).current
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_can_be_locked_in_place() {
        let bytes = vec![7; 10_000];
        lock(&bytes).unwrap();
        lock(&bytes).unwrap();
        lock(&[]).unwrap();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let locked = status.lines().find(|l| l.starts_with("VmLck:")).unwrap();
        assert!(!locked.ends_with("\t       0 kB"), "{locked}");
    }
}
