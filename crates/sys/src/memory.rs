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
}
