//! Does the password open each volume that a boot asks it for, and does what else opens volumes open them?

mod crypttab;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use nightlatch_console::report::{Level, Report};
use nightlatch_core::secret::Secret;

pub(super) use crypttab::{Volume, volumes};
use crypttab::{VolumeKey, device};

use crate::enroll::cryptsetup::{self, CryptsetupError};

/// The boot of this machine, as far as it concerns volumes.
pub(super) struct BootVolumes {
    /// The volumes that each image opens.
    pub(super) opened: BTreeSet<String>,
    /// True when initramfs-tools makes the images. The password is then lost for volumes that the image does not open;
    /// systemd keeps it.
    pub(super) forgets: bool,
}

/// Tries each volume; with nothing where the password could not be fetched.
pub(super) fn check(
    root: &Path,
    volumes: &[Volume],
    boot: &BootVolumes,
    password: Option<&Secret>,
    report: &mut Report,
) {
    for volume in volumes {
        let (level, message, hint) = judge(root, volume, boot, password);
        let level = match level {
            // The real system goes on without it.
            Level::Failed if volume.has("nofail") && !volume.is_early() => Level::Warning,
            level => level,
        };
        report.add(level, "volume", format!("{}: {message}", volume.name), hint);
    }
    let is_asked = |volume: &Volume| matches!(volume.key, VolumeKey::Asked | VolumeKey::Socket);
    if !volumes.iter().any(is_asked) {
        let message =
            "no volume of /etc/crypttab or below / is opened by a password: nothing asks for one";
        report.doubtful("volume", message, None);
    }
}

type Judgement = (Level, String, Option<String>);

fn judge(root: &Path, volume: &Volume, boot: &BootVolumes, password: Option<&Secret>) -> Judgement {
    if volume.has("noauto") && !volume.is_early() {
        return (Level::Ok, "is not opened at boot".to_owned(), None);
    }
    if volume.key == VolumeKey::Random {
        return (Level::Ok, "has a new key at each boot".to_owned(), None);
    }
    if let VolumeKey::Otherwise(by) = &volume.key {
        let message = format!("is opened by {by}, which cannot be tried here");
        return (Level::Warning, message, None);
    }
    if let Some(option) = volume.no_luks() {
        let message =
            format!("no LUKS volume ({option}): nothing can tell whether its key is right");
        return (Level::Warning, message, None);
    }
    match (&volume.key, password) {
        (VolumeKey::File(file), _) => with_key_file(root, volume, file),
        (_, Some(password)) => with_password(root, volume, boot, password),
        (_, None) => (
            Level::Warning,
            "not tried without the password".to_owned(),
            None,
        ),
    }
}

fn with_password(root: &Path, volume: &Volume, boot: &BootVolumes, password: &Secret) -> Judgement {
    let device = device(root, &volume.source);
    let shown = device.display();
    match try_key(root, volume, "-".into(), Some(password)) {
        Err(denied) if denied.is_wrong_passphrase() => {
            let hint = format!("nightlatch enroll {shown} gives it this machine's key");
            let message =
                format!("the password does not open {shown}: a boot would wait for another");
            (Level::Failed, message, Some(hint))
        }
        Err(denied) => cannot_try(&denied),
        Ok(()) => {
            let is_late = !boot.opened.contains(&volume.name) && !volume.is_early();
            let message = format!("the password opens {shown}");
            if volume.key == VolumeKey::Asked && is_late && boot.forgets {
                let message = format!(
                    "{message}, but it is asked for after the image has ended, and nothing gives it then"
                );
                let hint = "add the option initramfs to its line in /etc/crypttab, and rebuild the \
                            images; or let it read the key socket (man nightlatch-boot)";
                return (Level::Failed, message, Some(hint.to_owned()));
            }
            (Level::Ok, message, None)
        }
    }
}

fn with_key_file(root: &Path, volume: &Volume, file: &Path) -> Judgement {
    let path = root.join(file.strip_prefix("/").unwrap_or(file));
    let shown = file.display();
    let about = match std::fs::metadata(&path) {
        Ok(about) => about,
        Err(error) => {
            let hint = "correct its line in /etc/crypttab".to_owned();
            let message = format!("its key file {shown} cannot be read: {error}");
            return (Level::Failed, message, Some(hint));
        }
    };
    if about.file_type().is_socket() {
        let message = format!("its key comes from the socket {shown}, which is not asked here");
        return (Level::Warning, message, None);
    }
    match try_key(root, volume, path.into_os_string(), None) {
        Err(denied) if denied.is_wrong_passphrase() => {
            let hint =
                "correct its line in /etc/crypttab, or add the key: man cryptsetup-luksAddKey";
            let message = format!("its key file {shown} does not open it");
            (Level::Failed, message, Some(hint.to_owned()))
        }
        Err(denied) => cannot_try(&denied),
        Ok(()) if about.permissions().mode() & 0o077 != 0 => {
            let message =
                format!("its key file {shown} opens it, but others than root can read the file");
            (Level::Warning, message, Some(format!("chmod go= {shown}")))
        }
        Ok(()) => (Level::Ok, format!("its key file {shown} opens it"), None),
    }
}

fn cannot_try(denied: &CryptsetupError) -> Judgement {
    let hint = "is the device there? correct the line in /etc/crypttab".to_owned();
    (
        Level::Failed,
        format!("cannot be tried: {denied}"),
        Some(hint),
    )
}

/// Runs cryptsetup(8), which opens nothing by this.
fn try_key(
    root: &Path,
    volume: &Volume,
    key_file: OsString,
    password: Option<&Secret>,
) -> Result<(), CryptsetupError> {
    let mut arguments: Vec<OsString> = ["open", "--test-passphrase", "--key-file"]
        .map(OsString::from)
        .to_vec();
    arguments.push(key_file);
    for (option, long) in [("key-slot", "--key-slot"), ("keyslot", "--key-slot")] {
        if let Some(slot) = volume.option(option) {
            arguments.push(format!("{long}={slot}").into());
        }
    }
    if password.is_none() {
        for (option, long) in [
            ("keyfile-offset", "--keyfile-offset"),
            ("keyfile-size", "--keyfile-size"),
        ] {
            if let Some(bytes) = volume.option(option) {
                arguments.push(format!("{long}={bytes}").into());
            }
        }
    }
    if let Some(header) = volume.option("header") {
        let header = root.join(header.trim_start_matches('/'));
        arguments.push(format!("--header={}", header.display()).into());
    }
    arguments.push(device(root, &volume.source).into_os_string());
    let arguments: Vec<_> = arguments.iter().map(OsString::as_os_str).collect();
    cryptsetup::run(&arguments, password, None).map(drop)
}
