//! The host keys of this machine: whether they are of use to the agent, and to nobody else.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nightlatch_console::failure::Failure;
use nightlatch_console::report::{Level, Report};
use serde::Serialize;

use super::archive::{MemberKind, Members, ReadMode, digest};
use crate::agent;
use crate::host_keys::HostKeys;
use crate::keys::{FILES, KeyDirectory, SECRET, TLS_PRIVATE};

/// The subject of these findings.
const ABOUT: &str = "host key";

/// The field of the JSON document with what was found.
const FIELD: &str = "host_keys";

/// Permissions that nobody but the owner may have.
const OTHERS: u32 = 0o077;

/// The private files of the host keys, by what can be seen of a copy.
#[derive(Default, Debug)]
pub(super) struct PrivateHostKeys {
    sizes: BTreeSet<u64>,
    digests: BTreeSet<[u8; 32]>,
}

impl PrivateHostKeys {
    /// Those of the machine whose files are below `root`. What cannot be read has no copies that could be found.
    pub(super) fn read(root: &Path) -> Self {
        let directory = HostKeys::of(root).path().to_owned();
        let mut found = Self::default();
        for name in [SECRET, TLS_PRIVATE] {
            let file = directory.join(name);
            let (Ok(about), Ok(digest)) = (fs::metadata(&file), digest(&file)) else {
                continue;
            };
            found.sizes.insert(about.len());
            found.digests.insert(digest);
        }
        found
    }

    pub(super) fn is_empty(&self) -> bool {
        self.digests.is_empty()
    }

    /// The part of a file of an image that shows if it is a copy.
    pub(super) fn wanted(&self, size: u64) -> ReadMode {
        match self.sizes.contains(&size) {
            true => ReadMode::Digest,
            false => ReadMode::Presence,
        }
    }

    /// The paths of copies, under whatever names.
    fn copies(&self, members: &Members) -> impl Iterator<Item = String> {
        let is_copy = |what: &MemberKind| matches!(what, MemberKind::File(digest) if self.digests.contains(digest));
        let found = members
            .iter()
            .filter(move |(_, member)| is_copy(&member.what));
        found.map(|(path, _)| path.clone())
    }
}

/// The images that were examined for copies of the private host keys.
#[derive(Default, Debug)]
pub(super) struct ExaminedImages {
    number: usize,
    copies: Vec<CopyInImage>,
}

#[derive(Serialize, Debug)]
struct CopyInImage {
    image: PathBuf,
    path: String,
}

impl ExaminedImages {
    /// Adds an image that could be opened.
    pub(super) fn add(&mut self, image: &Path, members: &Members, secrets: &PrivateHostKeys) {
        self.number += 1;
        let copies = secrets.copies(members).map(|path| CopyInImage {
            image: image.to_owned(),
            path,
        });
        self.copies.extend(copies);
    }
}

/// The findings as JSON. What was not found out is `null`.
#[derive(Default, Serialize, Debug)]
struct HostKeyFindings<'i> {
    directory: PathBuf,
    present: bool,
    key_id: Option<String>,
    /// They belong together and are not the boot keys.
    matching: Option<bool>,
    /// Nobody but root can use them.
    private: Option<bool>,
    encrypted: Option<bool>,
    images_examined: usize,
    copies_in_images: &'i [CopyInImage],
}

/// Checks the host keys of the machine whose files are below `root`.
pub(super) fn check(
    root: &Path,
    images: &ExaminedImages,
    report: &mut Report,
) -> Result<(), Failure> {
    let host = HostKeys::of(root);
    let mut findings = HostKeyFindings {
        directory: host.path().to_owned(),
        present: host.exist(),
        ..HostKeyFindings::default()
    };
    if findings.present {
        findings.key_id = key_id(root, &host, report);
        findings.matching = Some(findings.key_id.is_some());
        findings.private = Some(is_private(&host, report));
        findings.encrypted = Some(is_encrypted(&host, report));
        findings.images_examined = images.number;
        findings.copies_in_images = &images.copies;
        copies(images, report);
    } else {
        absent(root, &host, report);
    }
    report.attach(FIELD, &findings)
}

fn absent(root: &Path, host: &HostKeys<'_>, report: &mut Report) {
    let message = format!(
        "there are none in {}: the server's checker alone shows that this machine is up",
        host.path().display()
    );
    // Without the agent they would do nothing.
    match agent::is_installed(root) {
        true => report.doubtful(
            ABOUT,
            message,
            Some("make them for the agent: nightlatch enroll --host-key".to_owned()),
        ),
        false => report.good(ABOUT, message),
    }
}

/// Their key id, where they can be used.
fn key_id(root: &Path, host: &HostKeys<'_>, report: &mut Report) -> Option<String> {
    let boot = KeyDirectory::place_under(root).key_id();
    let key_id = host.key_id().and_then(|key_id| {
        // A fault of the boot keys is reported with the images.
        boot.map_or(Ok(()), |boot| host.check_difference(key_id, boot))?;
        Ok(key_id)
    });
    match key_id {
        Ok(key_id) => {
            let place = host.path().display();
            let hint = format!("leave {place} out of backups: it is not in /etc for that reason");
            let message = format!("key id {key_id}, for host_key_id on the server");
            report.add(Level::Ok, ABOUT, message, Some(hint));
            Some(key_id.to_string())
        }
        Err(failure) => {
            report.bad(ABOUT, failure.to_string(), failure.hint_text());
            None
        }
    }
}

fn is_private(host: &HostKeys<'_>, report: &mut Report) -> bool {
    let files = FILES.iter().map(|name| host.path().join(name));
    let open: Vec<String> = std::iter::once(host.path().to_owned())
        .chain(files)
        .filter_map(|path| fault(&path))
        .collect();
    let place = host.path().display();
    if open.is_empty() {
        report.good(ABOUT, format!("only root can read {place}"));
        return true;
    }
    let message = format!(
        "{}: expected that only root can read {place} and its files",
        open.join(", ")
    );
    let hint = format!(
        "chown -R root: {place} && chmod -R go= {place}; where others can have read it: nightlatch rotate --host-key"
    );
    report.bad(ABOUT, message, Some(hint));
    false
}

/// The permissions of a file, where they are not as they should be. A missing file is reported with the key id.
fn fault(path: &Path) -> Option<String> {
    let shown = path.display();
    let about = match path.symlink_metadata() {
        Ok(about) => about,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => return Some(format!("{shown} cannot be examined: {error}")),
    };
    let mode = about.permissions().mode() & 0o7777;
    // A check runs as root.
    if about.uid() != rustix::process::geteuid().as_raw() {
        return Some(format!("{shown} belongs to user {}", about.uid()));
    }
    if about.is_symlink() {
        return Some(format!("{shown} is a symbolic link"));
    }
    (mode & OTHERS != 0).then(|| format!("{shown} has mode {mode:04o}"))
}

fn is_encrypted(host: &HostKeys<'_>, report: &mut Report) -> bool {
    match host.check_encryption() {
        Ok(()) => {
            let mount = host.mount();
            let on = mount.map_or_else(|| "?".to_owned(), |mount| mount.to_string());
            report.good(ABOUT, format!("on an encrypted file system, {on}"));
            true
        }
        Err(failure) => {
            let hint = "move the directory to an encrypted one, then nightlatch rotate --host-key; if it is encrypted in \
                        another way, as by ZFS or by the disk itself, this cannot be seen here";
            report.doubtful(ABOUT, failure.to_string(), Some(hint.to_owned()));
            false
        }
    }
}

fn copies(images: &ExaminedImages, report: &mut Report) {
    for copy in &images.copies {
        let message = format!(
            "{} has a copy of a private host key, as {}: whoever reads the image can prove that this machine is up",
            copy.image.display(),
            copy.path
        );
        let hint =
            "find out what puts it there, rebuild the image, then nightlatch rotate --host-key";
        report.bad(ABOUT, message, Some(hint.to_owned()));
    }
    let examined = match images.number {
        1 => "1 image was examined".to_owned(),
        number => format!("{number} images were examined"),
    };
    if images.copies.is_empty() {
        let message = format!("no boot image has a copy of a private host key: {examined}");
        match images.number {
            0 => report.doubtful(ABOUT, message, None),
            _ => report.good(ABOUT, message),
        }
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::check::archive::Member;

    fn checked(root: &Path, images: &ExaminedImages) -> (Report, serde_json::Value) {
        let mut report = Report::new(true);
        check(root, images, &mut report).unwrap();
        let document = serde_json::from_str(&report.json().unwrap()).unwrap();
        (report, document)
    }

    fn machine() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        HostKeys::of(folder.path()).make_missing("web1").unwrap();
        folder
    }

    #[test]
    fn a_machine_without_them_is_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let (report, document) = checked(folder.path(), &ExaminedImages::default());
        assert!(!report.is_bad());
        assert_eq!(document["host_keys"]["present"], false);
        assert_eq!(document["host_keys"]["encrypted"], serde_json::Value::Null);
    }

    #[test]
    fn keys_in_order_are_described() {
        let folder = machine();
        let root = folder.path();
        let id = HostKeys::of(root).key_id().unwrap().to_string();
        let mut images = ExaminedImages::default();
        images.add(
            Path::new("a"),
            &Members::new(),
            &PrivateHostKeys::read(root),
        );
        let (report, document) = checked(root, &images);
        assert!(!report.is_bad(), "{document}");
        let found = &document["host_keys"];
        assert_eq!(found["key_id"], id);
        assert_eq!(found["matching"], true);
        assert_eq!(found["private"], true);
        // Nothing here says what the folder lies on.
        assert_eq!(found["encrypted"], false);
        assert_eq!(found["images_examined"], 1);
    }

    #[test]
    fn keys_that_others_can_read_are_a_fault() {
        let folder = machine();
        let root = folder.path();
        let file = HostKeys::of(root).path().join(TLS_PRIVATE);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let (report, document) = checked(root, &ExaminedImages::default());
        assert!(
            report
                .reason()
                .unwrap()
                .contains("tls-privkey.pem has mode 0640")
        );
        assert_eq!(document["host_keys"]["private"], false);
    }

    #[test]
    fn keys_that_do_not_belong_together_or_are_the_boot_keys_are_a_fault() {
        let folder = machine();
        let root = folder.path();
        let boot = KeyDirectory::place_under(root);
        let host = HostKeys::of(root);
        let copy = KeyDirectory::new(host.path());
        boot.copy_from(&copy, crate::keys::Existing::Refuse)
            .unwrap();
        let (report, document) = checked(root, &ExaminedImages::default());
        assert!(report.reason().unwrap().contains("are the boot keys"));
        assert_eq!(document["host_keys"]["matching"], false);
        host.replace("web1").unwrap();
        let other = fs::read(boot.path().join("tls-pubkey.pem")).unwrap();
        fs::write(host.path().join("tls-pubkey.pem"), other).unwrap();
        let (report, _) = checked(root, &ExaminedImages::default());
        assert!(report.reason().unwrap().contains("cannot be used"));
    }

    #[test]
    fn a_copy_in_an_image_is_found_by_its_content() {
        let folder = machine();
        let root = folder.path();
        let secrets = PrivateHostKeys::read(root);
        let private = fs::read(HostKeys::of(root).path().join(TLS_PRIVATE)).unwrap();
        assert_eq!(secrets.wanted(private.len() as u64), ReadMode::Digest);
        assert_eq!(secrets.wanted(private.len() as u64 + 1), ReadMode::Presence);
        let member = |content: &[u8]| Member {
            mode: 0o600,
            owner: (0, 0),
            what: MemberKind::File(Sha256::digest(content).into()),
        };
        let members = Members::from([
            ("/etc/other".to_owned(), member(b"other")),
            ("/root/copy.pem".to_owned(), member(&private)),
        ]);
        let mut images = ExaminedImages::default();
        images.add(Path::new("/boot/initrd.img-6.1"), &members, &secrets);
        let (report, document) = checked(root, &images);
        let reason = report.reason().unwrap();
        assert!(
            reason.contains("/boot/initrd.img-6.1 has a copy"),
            "{reason}"
        );
        let copies = &document["host_keys"]["copies_in_images"];
        assert_eq!(copies[0]["path"], "/root/copy.pem");
        assert_eq!(copies.as_array().unwrap().len(), 1);
    }
}
