//! Access to pcscd by the users of this machine: facts from the file system, and the rule over them. Without a held card, whoever reaches pcscd can take the
//! card and use up the tries of its PIN.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use nightlatch_core::settings::card::OpenPcscd;

/// The place at which libpcsclite looks for pcscd, unless this variable says otherwise.
const SOCKET: &str = "run/pcscd/pcscd.comm";
const SOCKET_VARIABLE: &str = "PCSCLITE_CSOCK_NAME";

/// The actions that a pcscd with polkit asks for: its package has this file (Debian 13, Ubuntu 24.04; not Debian 12).
const POLKIT_ACTIONS: &str = "usr/share/polkit-1/actions/org.debian.pcsc-lite.policy";

/// Options of pcscd, of which one switches polkit off.
const PCSCD_OPTIONS: &str = "etc/default/pcscd";
const NO_POLKIT: &str = "--disable-polkit";

/// Rights of all other users, as bits of a mode.
const OTHERS_WRITE: u32 = 0o002;
const OTHERS_ENTER: u32 = 0o001;

/// The barriers between the users of this machine and pcscd.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PcscdAccess {
    pub(crate) socket: PathBuf,
    /// The permission bits of the socket. `None`: there is no socket, or it cannot be looked at.
    pub(crate) mode: Option<u32>,
    /// True when everybody may enter all folders above it.
    pub(crate) is_reachable: bool,
    /// True when pcscd asks polkit about each client.
    pub(crate) asks_polkit: bool,
}

/// Everybody can reach pcscd.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "every user of this machine can reach pcscd, take the card from the agent and use up the tries of its PIN: {socket} has the mode \
     {mode:04o}, and pcscd does not ask polkit",
    socket = socket.display()
)]
pub(crate) struct PcscdIsOpen {
    socket: PathBuf,
    mode: u32,
}

/// The hint: commands and settings that mend it.
pub(crate) const MEND: &str = "`systemctl daemon-reload && systemctl restart pcscd.socket` applies pcscd.socket.d/nightlatch-card.conf, which \
                               the package installs; `open_pcscd = accept` in card.conf accepts it as it is";

impl PcscdAccess {
    /// Looks at the files of this machine.
    pub(crate) fn look() -> Self {
        let socket = std::env::var_os(SOCKET_VARIABLE).map(PathBuf::from);
        Self::look_below(Path::new("/"), socket)
    }

    /// The same for a file system that begins at `root`.
    pub(crate) fn look_below(root: &Path, socket: Option<PathBuf>) -> Self {
        let socket = socket.unwrap_or_else(|| root.join(SOCKET));
        let about = fs::metadata(&socket).ok();
        let about = about.filter(|about| about.file_type().is_socket());
        let may_enter = |folder: &Path| {
            let about = fs::metadata(folder);
            about.is_ok_and(|about| about.mode() & OTHERS_ENTER != 0)
        };
        let options = fs::read_to_string(root.join(PCSCD_OPTIONS)).unwrap_or_default();
        let mut lines = options.lines().map(str::trim_start);
        let is_off = lines.any(|line| !line.starts_with('#') && line.contains(NO_POLKIT));
        Self {
            mode: about.map(|about| about.mode() & 0o7777),
            is_reachable: socket.ancestors().skip(1).all(may_enter),
            asks_polkit: root.join(POLKIT_ACTIONS).is_file() && !is_off,
            socket,
        }
    }

    /// The rule: nobody but the administrator's choice of users reaches pcscd. To connect takes the right to write (unix(7)).
    pub(crate) fn judge(&self) -> Result<(), PcscdIsOpen> {
        match self.mode {
            Some(mode) if mode & OTHERS_WRITE != 0 && self.is_reachable && !self.asks_polkit => {
                let socket = self.socket.clone();
                Err(PcscdIsOpen { socket, mode })
            }
            _ => Ok(()),
        }
    }

    /// The rule for the agent, which card.conf may relax.
    pub(crate) fn judge_for(&self, settings: OpenPcscd) -> Result<(), PcscdIsOpen> {
        match settings {
            OpenPcscd::Refuse => self.judge(),
            OpenPcscd::Accept => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn pcscd_is_open_if_all_can_write_to_its_socket_and_nobody_asks() {
        for (mode, is_reachable, asks_polkit, is_open) in [
            (Some(0o666), true, false, true),
            (Some(0o662), true, false, true),
            (Some(0o777), true, false, true),
            (Some(0o666), true, true, false),
            (Some(0o666), false, false, false),
            (Some(0o660), true, false, false),
            (Some(0o664), true, false, false),
            (None, true, false, false),
        ] {
            let access = PcscdAccess {
                socket: "/run/pcscd/pcscd.comm".into(),
                mode,
                is_reachable,
                asks_polkit,
            };
            let judged = access.judge();
            assert_eq!(judged.is_err(), is_open, "{access:?}");
            assert_eq!(access.judge_for(OpenPcscd::Refuse), judged);
            assert_eq!(access.judge_for(OpenPcscd::Accept), Ok(()));
        }
    }

    #[test]
    fn the_files_of_a_machine_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let missing = PcscdAccess::look_below(root, None);
        assert_eq!((missing.mode, missing.asks_polkit), (None, false));
        let socket = root.join(SOCKET);
        fs::create_dir_all(socket.parent().unwrap()).unwrap();
        let _listener = UnixListener::bind(&socket).unwrap();
        fs::set_permissions(&socket, Permissions::from_mode(0o666)).unwrap();
        fs::set_permissions(root, Permissions::from_mode(0o755)).unwrap();
        let open = PcscdAccess::look_below(root, None);
        assert_eq!((open.mode, open.is_reachable), (Some(0o666), true));
        let error = open.judge().unwrap_err().to_string();
        assert!(error.contains("pcscd.comm has the mode 0666"), "{error}");
        fs::set_permissions(root, Permissions::from_mode(0o700)).unwrap();
        assert!(!PcscdAccess::look_below(root, None).is_reachable);
        // With polkit, and with polkit switched off.
        fs::create_dir_all(root.join(POLKIT_ACTIONS).parent().unwrap()).unwrap();
        fs::write(root.join(POLKIT_ACTIONS), "").unwrap();
        assert!(PcscdAccess::look_below(root, None).asks_polkit);
        fs::create_dir_all(root.join("etc/default")).unwrap();
        fs::write(root.join(PCSCD_OPTIONS), "#--disable-polkit\n").unwrap();
        assert!(PcscdAccess::look_below(root, None).asks_polkit);
        fs::write(root.join(PCSCD_OPTIONS), "PCSCD_ARGS=--disable-polkit\n").unwrap();
        assert!(!PcscdAccess::look_below(root, None).asks_polkit);
        // A file in its place is no socket.
        fs::remove_file(&socket).unwrap();
        fs::write(&socket, "").unwrap();
        assert_eq!(PcscdAccess::look_below(root, None).mode, None);
    }
}
