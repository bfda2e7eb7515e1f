//! The user of the process: finding an account, and becoming it for good.

use std::ffi::{CStr, CString};
use std::io;
use std::ptr;

use rustix::process::DumpableBehavior;

/// An account of the host (passwd(5)).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Account {
    /// The login name.
    pub name: String,
    /// The user id.
    pub uid: u32,
    /// The primary group.
    pub gid: u32,
    /// Groups that [`become_account`] joins beside those of the group database.
    pub groups: Vec<u32>,
    /// The home directory.
    pub home: String,
}

/// The process could not become another user.
#[derive(Debug, thiserror::Error)]
pub enum DropError {
    /// A system call refused.
    #[error("cannot become {account}: {call} failed")]
    Refused {
        /// The account's name.
        account: String,
        /// The name of the system call.
        call: &'static str,
        /// The error of that call.
        source: io::Error,
    },
    /// It became the user, but could become root again.
    #[error("cannot become {account} for good: the way back to root is still open")]
    Reversible {
        /// The account's name.
        account: String,
    },
}

/// Room for one entry of the user database with all its strings (getpwnam_r(3)).
const ENTRY_SIZE: usize = 64 * 1024;

/// The account called `name`, if the host has one.
pub fn account(name: &str) -> io::Result<Option<Account>> {
    let wanted = CString::new(name)?;
    look_up(|entry, buffer, length, found| {
        // SAFETY: `look_up` gives pointers to live memory of the size given, and `wanted` ends with
        // a NUL.
        unsafe { libc::getpwnam_r(wanted.as_ptr(), entry, buffer, length, found) }
    })
}

/// The name of the user with this id, if the host has one.
pub fn user_name(uid: u32) -> io::Result<Option<String>> {
    let account = look_up(|entry, buffer, length, found| {
        // SAFETY: `look_up` gives pointers to live memory of the size given.
        unsafe { libc::getpwuid_r(uid, entry, buffer, length, found) }
    })?;
    Ok(account.map(|account| account.name))
}

/// Asks the user database by one of the two functions of getpwnam(3).
fn look_up(
    ask: impl FnOnce(*mut libc::passwd, *mut libc::c_char, usize, *mut *mut libc::passwd) -> i32,
) -> io::Result<Option<Account>> {
    let mut buffer = vec![0u8; ENTRY_SIZE];
    // SAFETY: `passwd` is plain data, for which all zeros is a value.
    let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
    let mut found: *mut libc::passwd = ptr::null_mut();
    let error = ask(
        &mut entry,
        buffer.as_mut_ptr().cast(),
        buffer.len(),
        &mut found,
    );
    // An absent account may also be reported by these (getpwnam(3), ERRORS).
    match error {
        0 | libc::ENOENT | libc::ESRCH | libc::EBADF | libc::EPERM => {}
        error => return Err(io::Error::from_raw_os_error(error)),
    }
    if found.is_null() {
        return Ok(None);
    }
    // SAFETY: on success `pw_name` points to a NUL-terminated string within `buffer`.
    let name = unsafe { CStr::from_ptr(entry.pw_name) };
    // SAFETY: as above for `pw_dir`.
    let home = unsafe { CStr::from_ptr(entry.pw_dir) };
    Ok(Some(Account {
        name: name.to_string_lossy().into_owned(),
        uid: entry.pw_uid,
        gid: entry.pw_gid,
        groups: Vec::new(),
        home: home.to_string_lossy().into_owned(),
    }))
}

/// The longest list of members that is read of a group, in bytes.
const MAX_GROUP_SIZE: usize = 4 * 1024 * 1024;

/// The id of the group called `name`, if the host has one.
pub fn group_id(name: &str) -> io::Result<Option<u32>> {
    let wanted = CString::new(name)?;
    let mut buffer = vec![0u8; ENTRY_SIZE];
    loop {
        // SAFETY: `group` is plain data, for which all zeros is a value.
        let mut entry: libc::group = unsafe { std::mem::zeroed() };
        let mut found: *mut libc::group = ptr::null_mut();
        // SAFETY: the pointers are to live memory of the size given, and `wanted` ends with a NUL.
        let error = unsafe {
            libc::getgrnam_r(
                wanted.as_ptr(),
                &raw mut entry,
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                &raw mut found,
            )
        };
        match error {
            // All members are read, though nobody wants them here.
            libc::ERANGE if buffer.len() < MAX_GROUP_SIZE => buffer.resize(buffer.len() * 4, 0),
            // An absent group may also be reported by these (getgrnam(3), ERRORS).
            0 | libc::ENOENT | libc::ESRCH | libc::EBADF | libc::EPERM => {
                return Ok((!found.is_null()).then_some(entry.gr_gid));
            }
            error => return Err(io::Error::from_raw_os_error(error)),
        }
    }
}

/// The group that the process acts as.
pub fn effective_group() -> u32 {
    rustix::process::getegid().as_raw()
}

/// True when the effective user is root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Becomes `account` for good: its groups, its group, its user; real, effective and saved. All
/// threads change together. Verified by trying to go back. Core dumps that were forbidden stay so, though the kernel
/// forgets that with the user (prctl(2), `PR_SET_DUMPABLE`).
pub fn become_account(account: &Account) -> Result<(), DropError> {
    let dumpable = rustix::process::dumpable_behavior();
    let refused = |call| {
        let source = io::Error::last_os_error();
        DropError::Refused {
            account: account.name.clone(),
            call,
            source,
        }
    };
    let name = CString::new(account.name.as_str()).map_err(|error| DropError::Refused {
        account: account.name.clone(),
        call: "initgroups",
        source: error.into(),
    })?;
    // SAFETY: `name` is a live NUL-terminated string.
    if unsafe { libc::initgroups(name.as_ptr(), account.gid) } != 0 {
        return Err(refused("initgroups"));
    }
    if !account.groups.is_empty() {
        let mut groups = rustix::process::getgroups().map_err(|_| refused("getgroups"))?;
        groups.extend(
            account
                .groups
                .iter()
                .copied()
                .map(rustix::process::Gid::from_raw),
        );
        let numbers: Vec<libc::gid_t> = groups.into_iter().map(|group| group.as_raw()).collect();
        // SAFETY: the pointer is to as many numbers as are said.
        if unsafe { libc::setgroups(numbers.len(), numbers.as_ptr()) } != 0 {
            return Err(refused("setgroups"));
        }
    }
    // SAFETY: takes plain numbers.
    if unsafe { libc::setresgid(account.gid, account.gid, account.gid) } != 0 {
        return Err(refused("setresgid"));
    }
    // SAFETY: takes plain numbers.
    if unsafe { libc::setresuid(account.uid, account.uid, account.uid) } != 0 {
        return Err(refused("setresuid"));
    }
    if let Ok(behavior @ DumpableBehavior::NotDumpable) = dumpable {
        rustix::process::set_dumpable_behavior(behavior).map_err(|_| refused("prctl"))?;
    }
    if account.uid != 0 && can_return() {
        return Err(DropError::Reversible {
            account: account.name.clone(),
        });
    }
    Ok(())
}

/// Tries to become root again; that must fail.
fn can_return() -> bool {
    // SAFETY: takes plain numbers; -1 leaves an id as it is.
    unsafe {
        libc::setresuid(u32::MAX, 0, u32::MAX) == 0 || libc::setresgid(u32::MAX, 0, u32::MAX) == 0
    }
}

#[cfg(test)]
mod tests {
    use rustix::thread::{CapabilitiesSecureBits, set_capabilities_secure_bits};

    use super::*;
    use crate::in_child::{in_child, of_each_thread};

    #[test]
    fn accounts_are_found_by_name() {
        let root = account("root").unwrap().unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert_eq!(account("no-such-account-here").unwrap(), None);
        assert!(account("nul\0inside").is_err());
    }

    #[test]
    fn groups_are_found_by_name() {
        assert_eq!(group_id("root").unwrap(), Some(0));
        assert_eq!(group_id("no-such-group-here").unwrap(), None);
        assert!(group_id("nul\0inside").is_err());
    }

    fn nobody() -> Account {
        account("nobody").unwrap().unwrap()
    }

    /// Becomes `account` out of groups that it must not keep, and looks at every thread.
    fn become_nobody(account: &Account, groups: &[u32]) {
        let planted = [0, 42, 43];
        // SAFETY: the pointer is to as many numbers as are said.
        let set = unsafe { libc::setgroups(planted.len(), planted.as_ptr()) };
        assert_eq!(set, 0);
        become_account(account).unwrap();
        let threads = of_each_thread("Groups:");
        // The one of the test and the one that waits for it.
        assert!(threads.len() > 1);
        for of_thread in threads {
            // The group database of the host may name more.
            let member = |group: u32| of_thread.contains(&group.to_string());
            assert!(!planted.into_iter().any(member), "{of_thread:?}");
            assert!(groups.iter().copied().all(member), "{of_thread:?}");
        }
        for (line, id) in [("Uid:", account.uid), ("Gid:", account.gid)] {
            for of_thread in of_each_thread(line) {
                assert_eq!(of_thread, vec![id.to_string(); 4]);
            }
        }
        for line in ["CapPrm:", "CapEff:", "CapAmb:"] {
            for of_thread in of_each_thread(line) {
                assert_eq!(of_thread, ["0000000000000000"], "{line}");
            }
        }
    }

    #[test]
    fn becoming_another_account_is_for_good() {
        if !nightlatch_test_support::is_root() {
            return;
        }
        let name = "privileges::tests::becoming_another_account_is_for_good";
        in_child(name, || {
            let nobody = nobody();
            become_nobody(&nobody, &[nobody.gid]);
            assert!(!is_root());
            assert_eq!(effective_group(), nobody.gid);
            assert!(!can_return());
            let root = account("root").unwrap().unwrap();
            assert!(matches!(
                become_account(&root),
                Err(DropError::Refused { .. })
            ));
        });
    }

    #[test]
    fn an_account_has_its_own_groups_and_those_it_is_given() {
        if !nightlatch_test_support::is_root() {
            return;
        }
        let name = "privileges::tests::an_account_has_its_own_groups_and_those_it_is_given";
        in_child(name, || {
            let mut nobody = nobody();
            nobody.groups = vec![4242, 4243];
            become_nobody(&nobody, &[nobody.gid, 4242, 4243]);
        });
    }

    #[test]
    fn root_stays_root() {
        if !nightlatch_test_support::is_root() {
            return;
        }
        in_child("privileges::tests::root_stays_root", || {
            become_account(&account("root").unwrap().unwrap()).unwrap();
            assert!(is_root());
        });
    }

    /// A change of user takes no capability where these bits say so, which a program inherits
    /// (capabilities(7)).
    #[test]
    fn a_way_back_to_root_is_noticed() {
        if !nightlatch_test_support::is_root() {
            return;
        }
        // They belong to a thread; all threads of the child have them.
        let parent = std::thread::spawn(|| {
            let keep = CapabilitiesSecureBits::NO_SETUID_FIXUP;
            if set_capabilities_secure_bits(keep).is_err() {
                return nightlatch_test_support::runs_elsewhere("needs CAP_SETPCAP");
            }
            in_child("privileges::tests::a_way_back_to_root_is_noticed", || {
                assert!(matches!(
                    become_account(&nobody()),
                    Err(DropError::Reversible { account }) if account == "nobody"
                ));
            });
        });
        parent.join().unwrap();
    }
}
