//! Whom plugins run as in the image, and the client once it has read its keys. They own nothing there.

use std::path::Path;

use nightlatch_core::digits;

/// User and group, by number: an image has no accounts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Owner {
    pub(crate) user: u32,
    pub(crate) group: u32,
}

impl Owner {
    /// User and group 0.
    pub(crate) const ROOT: Self = Self { user: 0, group: 0 };
}

/// Accounts that exist for this, ours first.
const ACCOUNTS: [&str; 2] = ["_nightlatch", "_mandos"];

/// The user and the group that own nothing: what plugins run as when nothing is said
/// (plugin-runner(8mandos), `--userid`).
pub(crate) const NOBODY: Owner = Owner {
    user: 65534,
    group: 65534,
};

/// Reads the machine's accounts. Who has none of its own for this uses nobody's.
pub(crate) fn owner(root: &Path) -> Owner {
    let accounts = std::fs::read_to_string(root.join("etc/passwd")).unwrap_or_default();
    let found = ACCOUNTS
        .iter()
        .find_map(|name| accounts.lines().find_map(|line| numbers(line, name)));
    found.unwrap_or(NOBODY)
}

/// From a line of passwd(5).
fn numbers(line: &str, name: &str) -> Option<Owner> {
    let mut fields = line.split(':');
    if fields.next() != Some(name) {
        return None;
    }
    let user = digits::decimal(fields.nth(1)?)?;
    let group = digits::decimal(fields.next()?)?;
    // Root would defeat the purpose, and the highest number means "leave it" in chown(2).
    let sound = |id| id != 0 && id != u32::MAX;
    (sound(user) && sound(group)).then_some(Owner { user, group })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_account_comes_before_the_stock_one_and_nobody_last() {
        let root = tempfile::tempdir().unwrap();
        let etc = root.path().join("etc");
        std::fs::create_dir(&etc).unwrap();
        let owner_with = |accounts: &str| {
            std::fs::write(etc.join("passwd"), accounts).unwrap();
            let owner = owner(root.path());
            (owner.user, owner.group)
        };
        let mandos = "_mandos:x:105:110:Mandos:/nonexistent:/usr/sbin/nologin\n";
        assert_eq!(owner_with(mandos), (105, 110));
        let both = format!("{mandos}_nightlatch:x:106:111::/:/bin/false\n");
        assert_eq!(owner_with(&both), (106, 111));
        for none in [
            "",
            "root:x:0:0::/:/bin/sh\n",
            "_nightlatch:x:0:0::/:\n",
            "_mandos:x:y:1:\n",
        ] {
            assert_eq!(owner_with(none), (NOBODY.user, NOBODY.group), "{none}");
        }
    }
}
