//! Whom the server becomes when it is started as root, and whom its checkers run as.
//!
//! Neither is ever `nobody`: that user owns what other services leave behind, and who is it may read and
//! signal everything else that is.

use std::fs;
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::Path;

use nightlatch_sys::privileges::{self, Account};
use nightlatch_sys::spawner::{Separation, UserAndGroup};

/// Whom the server becomes: the first of these that exists.
const SERVER: [&str; 2] = ["_nightlatch", "_mandos"];

/// Whom checkers run as.
const CHECKERS: &str = "_nightlatch-check";

/// `nobody` and `nogroup`, by whatever name.
const NOBODY: u32 = 65534;

/// Numbers that are nobody's, for hosts without these accounts: neither Debian (policy, 9.2.2) nor systemd
/// (UIDS-GIDS) gives any from 65520 to 65533 away. Two ranges, so that no account that is made later turns
/// one into the other.
const UNNAMED_SERVER: RangeInclusive<u32> = 65527..=65533;
const UNNAMED_CHECKERS: RangeInclusive<u32> = 65520..=65526;

/// Who is who.
#[derive(Clone, Debug)]
pub(crate) struct Accounts {
    /// Whom the server becomes.
    pub(crate) server: Account,
    /// Whom checkers run as.
    pub(crate) checkers: Account,
}

/// Why nobody could be chosen.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccountError {
    /// The user database.
    #[error("cannot look up accounts")]
    LookUp(#[from] io::Error),
    /// An account that is root, `nobody`, or the other one.
    #[error(
        "the account {name} has the number {number}, which others have too; give it one of its own"
    )]
    Shared {
        /// Its name.
        name: String,
        /// Its user or group id.
        number: u32,
    },
    /// Every number is taken.
    #[error(
        "no number from 65520 to 65533 is free; make the accounts _nightlatch and _nightlatch-check"
    )]
    NoNumber,
}

impl Accounts {
    /// Those of this host, where `configdir` is read; `None` when the program is not root, and stays who it
    /// is.
    pub(crate) fn find(configdir: &Path) -> Result<Option<Self>, AccountError> {
        if !privileges::is_root() {
            return Ok(None);
        }
        let mut server = None;
        for name in SERVER {
            server = server.or(privileges::account(name)?);
        }
        let server = match server {
            Some(account) => account,
            None => unnamed(UNNAMED_SERVER, shared_group(configdir))?,
        };
        let checkers = match privileges::account(CHECKERS)? {
            Some(account) => account,
            None => unnamed(UNNAMED_CHECKERS, Vec::new())?,
        };
        own(&server, &[])?;
        own(&checkers, &[server.uid, server.gid])?;
        Ok(Some(Self { server, checkers }))
    }

    /// For the process that runs checkers.
    pub(crate) fn separation(&self) -> Separation {
        let identity = |account: &Account| UserAndGroup {
            uid: account.uid,
            gid: account.gid,
        };
        Separation {
            server: identity(&self.server),
            commands: identity(&self.checkers),
        }
    }

    /// What an administrator should mend.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if UNNAMED_SERVER.contains(&self.server.uid) {
            warnings.push(format!(
                "there is no account _nightlatch: the server runs as the user {}, which has no name, and whom no system \
                 bus lets in; make one: \
                 useradd --system --shell /usr/sbin/nologin --home-dir /nonexistent _nightlatch",
                self.server.uid
            ));
        }
        if UNNAMED_CHECKERS.contains(&self.checkers.uid) {
            warnings.push(format!(
                "there is no account {CHECKERS}: checkers run as the user {}, which has no name, and as whom \
                 ssh does not run; make one: \
                 useradd --system --shell /usr/sbin/nologin --home-dir /nonexistent {CHECKERS}",
                self.checkers.uid
            ));
        }
        warnings
    }
}

/// What is said where checkers cannot be kept apart.
pub(crate) const NOT_SEPARATED: &str = "started without being root, so checkers run as the server's own user: they could \
    read its state and end it; start it as root, which it gives up by itself";

/// Neither root, nor what others share, nor any of `taken`.
fn own(account: &Account, taken: &[u32]) -> Result<(), AccountError> {
    let shared = |number: &u32| matches!(*number, 0 | NOBODY) || taken.contains(number);
    match [account.uid, account.gid].into_iter().find(shared) {
        None => Ok(()),
        Some(number) => Err(AccountError::Shared {
            name: account.name.clone(),
            number,
        }),
    }
}

fn unnamed(numbers: RangeInclusive<u32>, groups: Vec<u32>) -> Result<Account, AccountError> {
    for number in numbers.rev() {
        if privileges::user_name(number)?.is_none() {
            return Ok(Account {
                name: number.to_string(),
                uid: number,
                gid: number,
                groups,
                home: "/nonexistent".to_owned(),
            });
        }
    }
    Err(AccountError::NoNumber)
}

/// Where there is no account, the configuration could only be given to `nogroup`; a reload must read it.
fn shared_group(configdir: &Path) -> Vec<u32> {
    let places = [configdir.to_owned(), configdir.join("clients.conf")];
    let is_shared = |place| fs::metadata(place).is_ok_and(|it| it.gid() == NOBODY);
    if places.into_iter().any(is_shared) {
        vec![NOBODY]
    } else {
        Vec::new()
    }
}

/// Gives the state's folder to `server` where it belongs to `nobody`, whom the server became before it had
/// an account of its own, or to a user without a name.
pub(crate) fn adopt(folder: &Path, server: &Account) -> io::Result<()> {
    let owner = fs::metadata(folder)?.uid();
    let unnamed = UNNAMED_SERVER.contains(&owner) && privileges::user_name(owner)?.is_none();
    if owner == server.uid || !(owner == NOBODY || unnamed) {
        return Ok(());
    }
    let give = |path: &Path| lchown(path, Some(server.uid), Some(server.gid));
    // First the folder: from then on its old owner can put nothing else into it.
    give(folder)?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_file() && metadata.uid() == owner && metadata.nlink() == 1 {
            give(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(uid: u32, gid: u32) -> Account {
        Account {
            name: "x".to_owned(),
            uid,
            gid,
            groups: Vec::new(),
            home: String::new(),
        }
    }

    #[test]
    fn nobody_s_numbers_and_those_of_the_other_are_refused() {
        assert!(own(&account(900, 901), &[]).is_ok());
        for (uid, gid) in [
            (0, 900),
            (900, 0),
            (65534, 900),
            (900, 65534),
            (7, 900),
            (900, 7),
        ] {
            assert!(own(&account(uid, gid), &[7]).is_err(), "{uid} {gid}");
        }
    }

    #[test]
    fn there_are_two_users_without_names() {
        let server = unnamed(UNNAMED_SERVER, Vec::new()).unwrap();
        let checkers = unnamed(UNNAMED_CHECKERS, Vec::new()).unwrap();
        own(&checkers, &[server.uid, server.gid]).unwrap();
    }

    #[test]
    fn the_state_of_nobody_is_taken_over_and_no_other() {
        if !nightlatch_test_support::is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("nightlatch.db");
        let link = folder.path().join("link");
        let other = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(other.path(), &link).unwrap();
        let owners =
            || [folder.path(), &file, other.path()].map(|path| fs::metadata(path).unwrap().uid());
        for path in [folder.path(), &file] {
            lchown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        adopt(folder.path(), &account(64_000, 64_000)).unwrap();
        assert_eq!(owners(), [64_000, 64_000, 0]);
        adopt(folder.path(), &account(64_001, 64_001)).unwrap();
        assert_eq!(owners(), [64_000, 64_000, 0]);
    }
}
