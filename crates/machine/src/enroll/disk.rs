//! One LUKS2 disk: what its header says, and the few things that are done to it.
//!
//! The header is not authenticated: it is read as data of unknown origin.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use nightlatch_console::failure::{
    EX_CANTCREAT, EX_DATAERR, EX_NOINPUT, EX_SOFTWARE, EX_UNAVAILABLE, Failure,
};
use nightlatch_core::digits;
use nightlatch_core::secret::Secret;
use serde::Deserialize;

use super::cryptsetup::{self, CryptsetupError};
use super::token::{self, Enrolment, NewToken};

/// First bytes of both versions of the format (LUKS2 On-Disk Format Specification, 2.1).
const MAGIC: &[u8; 6] = b"LUKS\xba\xbe";
/// Offset of the big-endian version number.
const VERSION_AT: usize = 6;
/// Offsets of the UUID, which is padded with zero bytes.
const UUID_AT: std::ops::Range<usize> = 168..208;

/// The fewest iterations that LUKS2 allows for PBKDF2: enough for a key that cannot be guessed.
const FEWEST_ITERATIONS: &str = "1000";

/// The key derivation of a key slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kdf {
    /// As little as the format allows: for random keys.
    Cheap,
    /// As cryptsetup(8) does by itself: for what a person thought of.
    Usual,
}

/// A device or file with a LUKS2 header that may get another key.
#[derive(Debug)]
pub(super) struct Disk {
    /// As the administrator wrote it: for messages.
    given: PathBuf,
    /// Without links, never beginning with a dash.
    path: PathBuf,
    /// The file or device that has the header, where it is not at the beginning of the disk. As `path`.
    header: Option<PathBuf>,
    uuid: String,
}

/// Key slots that a header can have (LUKS2 On-Disk Format Specification, 3.2).
const MOST_SLOTS: usize = 32;

impl Disk {
    /// Looks at the header, at the beginning of the disk or in `header`, and refuses what must not be served a
    /// password automatically.
    pub(super) fn inspect(given: &Path, header: Option<&Path>) -> Result<Self, Failure> {
        let unreadable = |path: &Path| {
            let what = format!("cannot read {}", path.display());
            move |error: io::Error| Failure::new(EX_NOINPUT, what).because(error)
        };
        let path = given.canonicalize().map_err(unreadable(given))?;
        let real_header = header.map(Path::canonicalize).transpose();
        let at_header = header.unwrap_or(given);
        let shown = at_header.display();
        let real_header = real_header.map_err(unreadable(at_header))?;
        let mut start = [0; UUID_AT.end];
        let opened = File::open(real_header.as_deref().unwrap_or(&path));
        match opened.and_then(|mut file| file.read_exact(&mut start)) {
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                return Err(unreadable(at_header)(error));
            }
            _ => {}
        }
        if !start.starts_with(MAGIC) {
            return Err(Failure::new(EX_DATAERR, format!("{shown} is no LUKS device"))
                .hint("give the device that holds the encryption, not what is opened from it (lsblk --fs shows crypto_LUKS), and --header where its header is elsewhere"));
        }
        if start[VERSION_AT..VERSION_AT + 2] != [0, 2] {
            return Err(Failure::new(
                EX_DATAERR,
                format!("{shown} has a LUKS header of another version, expected LUKS2"),
            )
            .hint(format!(
                "save its header (cryptsetup luksHeaderBackup) and convert it while it is closed: cryptsetup convert --type luks2 {shown}"
            )));
        }
        let disk = Self {
            given: given.to_owned(),
            uuid: uuid(&start[UUID_AT]).ok_or_else(|| {
                Failure::new(
                    EX_DATAERR,
                    format!("the header of {shown} has no proper UUID"),
                )
                .hint(format!(
                    "give it one: cryptsetup luksUUID {shown} --uuid UUID"
                ))
            })?,
            path,
            header: real_header,
        };
        disk.metadata()?.check(&disk)?;
        Ok(disk)
    }

    /// True for the same device.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.path == other.path
    }

    /// The arguments by which cryptsetup(8) finds it; they end a command line.
    fn place(&self) -> Vec<&OsStr> {
        let header = self.header.as_deref();
        let option = header.map(|header| [OsStr::new("--header"), header.as_os_str()]);
        let option = option.into_iter().flatten();
        option.chain([self.path.as_os_str()]).collect()
    }

    /// Fails when there is no room for one more key.
    pub(super) fn has_free_slot(&self) -> Result<(), Failure> {
        if self.slots()?.len() < MOST_SLOTS {
            return Ok(());
        }
        Err(
            Failure::new(EX_UNAVAILABLE, format!("{self} has no free key slot"))
                .hint(self.how_to_free()),
        )
    }

    fn how_to_free(&self) -> String {
        format!(
            "cryptsetup luksDump {self} shows the key slots, cryptsetup luksKillSlot {self} NUMBER empties one"
        )
    }

    /// The UUID in the header: letters, digits and dashes.
    pub(super) fn uuid(&self) -> &str {
        &self.uuid
    }

    /// The key slots that are in use.
    pub(super) fn slots(&self) -> Result<BTreeSet<u32>, Failure> {
        let slots = self.metadata()?.keyslots;
        Ok(slots
            .keys()
            .filter_map(|slot| digits::decimal(slot))
            .collect())
    }

    /// Those key slots that open the disk. One that is unbound holds a key that no part of the disk is encrypted with.
    pub(super) fn opening_slots(&self) -> Result<BTreeSet<u32>, Failure> {
        Ok(self.metadata()?.opening_slots())
    }

    /// True when `password` opens the disk, by any key slot or by this one.
    pub(super) fn opens(&self, password: &Secret, slot: Option<u32>) -> Result<bool, Failure> {
        let slot = slot.map(|slot| slot.to_string());
        let mut arguments = vec![
            OsStr::new("open"),
            OsStr::new("--test-passphrase"),
            OsStr::new("--type=luks2"),
            OsStr::new("--key-file=-"),
        ];
        if let Some(slot) = &slot {
            arguments.extend([OsStr::new("--key-slot"), OsStr::new(slot)]);
        }
        arguments.extend(self.place());
        match cryptsetup::run(&arguments, Some(password), None) {
            Ok(_) => Ok(true),
            Err(denied @ CryptsetupError::Failed { .. }) if denied.is_wrong_passphrase() => {
                Ok(false)
            }
            Err(denied) => Err(denied.failure(&format!("cannot test a passphrase of {self}"))),
        }
    }

    /// Saves the header to a new file that only its owner can read.
    pub(super) fn save_header(&self, file: &Path) -> Result<(), Failure> {
        if file.symlink_metadata().is_ok() {
            return Err(
                Failure::new(EX_CANTCREAT, format!("{} exists already", file.display()))
                    .hint("give another --header-backup"),
            );
        }
        let what = format!("cannot save the header of {self} to {}", file.display());
        // cryptsetup makes it with O_EXCL and mode 0400.
        let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        let mut arguments = vec![
            OsStr::new("luksHeaderBackup"),
            OsStr::new("--header-backup-file"),
            absolute.as_os_str(),
        ];
        arguments.extend(self.place());
        cryptsetup::run(&arguments, None, None).map_err(|denied| denied.failure(&what))?;
        File::open(file)
            .and_then(|saved| saved.sync_all())
            .map_err(|error| Failure::new(EX_CANTCREAT, what).because(error))
    }

    /// Adds `password` to a free key slot.
    pub(super) fn add_key(
        &self,
        opener: &Secret,
        password: &Secret,
        kdf: Kdf,
    ) -> Result<(), Failure> {
        let mut arguments = vec![OsStr::new("luksAddKey"), OsStr::new("--key-file=-")];
        if kdf == Kdf::Cheap {
            arguments.extend(
                [
                    "--pbkdf",
                    "pbkdf2",
                    "--pbkdf-force-iterations",
                    FEWEST_ITERATIONS,
                ]
                .map(OsStr::new),
            );
        }
        arguments.extend(self.place());
        let what = format!("cannot add a key to {self}");
        match cryptsetup::run(&arguments, Some(opener), Some(password)) {
            Ok(_) => Ok(()),
            Err(denied) if denied.is_lack_of_room() => {
                Err(denied.failure(&what).hint(self.how_to_free()))
            }
            Err(denied) => Err(denied.failure(&what)),
        }
    }

    /// Empties a key slot. Never the last one that opens the disk: then nothing would open the disk any more.
    pub(super) fn remove_slot(&self, slot: u32) -> Result<(), Failure> {
        let what = format!("cannot remove key slot {slot} of {self}");
        if self.opening_slots()?.iter().all(|other| *other == slot) {
            return Err(
                Failure::new(EX_UNAVAILABLE, format!("{what}: no other opens it")).hint(format!(
                    "add a passphrase that opens the disk first: cryptsetup luksAddKey {self}"
                )),
            );
        }
        let slot = slot.to_string();
        let mut arguments = vec![OsStr::new("luksKillSlot")];
        arguments.extend(self.place());
        arguments.push(OsStr::new(&slot));
        cryptsetup::run(&arguments, None, None)
            .map(drop)
            .map_err(|denied| denied.failure(&what))
    }

    /// The enrolments in the header, oldest first.
    pub(super) fn enrolments(&self) -> Result<Vec<Enrolment>, Failure> {
        Ok(token::enrolments(&self.metadata()?.tokens))
    }

    /// Writes into the header that a key slot is ours.
    pub(super) fn mark(&self, token: &NewToken<'_>) -> Result<(), Failure> {
        let what = format!("cannot mark the new key slot of {self}");
        let json = token
            .to_json()
            .map_err(|error| Failure::new(EX_SOFTWARE, what.clone()).because(error))?;
        let mut arguments = vec![OsStr::new("token"), OsStr::new("import")];
        arguments.extend(self.place());
        // It is no secret, but goes the same way.
        cryptsetup::run(&arguments, Some(&Secret::new(json)), None)
            .map(drop)
            .map_err(|denied| denied.failure(&what))
    }

    /// Removes what an enrolment left: its key slots, then the token that says that they are its.
    pub(super) fn remove(&self, enrolment: &Enrolment) -> Result<(), Failure> {
        self.remove_slots(enrolment)?;
        self.remove_token(enrolment.token)
    }

    /// Removes the key slots of an enrolment, those that are still there.
    pub(super) fn remove_slots(&self, enrolment: &Enrolment) -> Result<(), Failure> {
        let there = self.slots()?;
        let mut slots = enrolment.slots.iter().filter(|slot| there.contains(slot));
        slots.try_for_each(|slot| self.remove_slot(*slot))
    }

    pub(super) fn remove_token(&self, token: u32) -> Result<(), Failure> {
        let number = token.to_string();
        let mut arguments = vec![
            OsStr::new("token"),
            OsStr::new("remove"),
            OsStr::new("--token-id"),
            OsStr::new(&number),
        ];
        arguments.extend(self.place());
        cryptsetup::run(&arguments, None, None)
            .map(drop)
            .map_err(|denied| denied.failure(&format!("cannot remove token {token} of {self}")))
    }

    fn metadata(&self) -> Result<Metadata, Failure> {
        let what = format!("cannot read the LUKS2 header of {self}");
        let mut arguments = vec![OsStr::new("luksDump"), OsStr::new("--dump-json-metadata")];
        arguments.extend(self.place());
        let json =
            cryptsetup::run(&arguments, None, None).map_err(|denied| denied.failure(&what))?;
        serde_json::from_slice(&json).map_err(|error| Failure::new(EX_DATAERR, what).because(error))
    }
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.given.display().fmt(f)
    }
}

/// A UUID that can be part of a file name.
fn uuid(field: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(field).ok()?.trim_end_matches('\0');
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (!text.is_empty() && text.bytes().all(plain)).then(|| text.to_owned())
}

/// The part of the header's JSON that decides (LUKS2 On-Disk Format Specification, 3).
#[derive(Deserialize, Debug)]
struct Metadata {
    keyslots: BTreeMap<String, Keyslot>,
    segments: BTreeMap<String, Segment>,
    #[serde(default)]
    digests: BTreeMap<String, Digest>,
    #[serde(default)]
    tokens: token::Tokens,
    config: Config,
}

#[derive(Deserialize, Debug)]
struct Keyslot {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    area: Area,
}

#[derive(Deserialize, Debug, Default)]
struct Area {
    encryption: Option<String>,
}

#[derive(Deserialize, Debug)]
struct Segment {
    encryption: Option<String>,
}

/// The key slots of a key, and the segments that it encrypts.
#[derive(Deserialize, Debug)]
struct Digest {
    keyslots: Vec<String>,
    segments: Vec<String>,
}

#[derive(Deserialize, Debug)]
struct Config {
    #[serde(default)]
    requirements: Requirements,
}

#[derive(Deserialize, Debug, Default)]
struct Requirements {
    #[serde(default)]
    mandatory: Vec<String>,
}

impl Metadata {
    fn opening_slots(&self) -> BTreeSet<u32> {
        self.digests
            .values()
            .filter(|digest| !digest.segments.is_empty())
            .flat_map(|digest| &digest.keyslots)
            .filter(|slot| self.keyslots.contains_key(*slot))
            .filter_map(|slot| digits::decimal(slot))
            .collect()
    }

    /// Refuses a disk that encrypts nothing (CVE-2025-59054: any password opens it, and anybody can
    /// have written it) or that is being encrypted anew (CVE-2021-4122).
    fn check(&self, disk: &Disk) -> Result<(), Failure> {
        let ciphers = self
            .segments
            .values()
            .map(|segment| &segment.encryption)
            .chain(self.keyslots.values().map(|slot| &slot.area.encryption));
        if ciphers.flatten().any(|cipher| is_null(cipher)) {
            return Err(Failure::new(
                EX_DATAERR,
                format!("{disk} has a null cipher: it encrypts nothing"),
            )
            .hint("find out who made it so; cryptsetup reencrypt can encrypt it"));
        }
        let pending = self.keyslots.values().any(|slot| slot.kind == "reencrypt")
            || self
                .config
                .requirements
                .mandatory
                .iter()
                .any(|name| name.contains("reencrypt"));
        if pending {
            return Err(Failure::new(
                EX_DATAERR,
                format!("{disk} is in the middle of being reencrypted"),
            )
            .hint(format!(
                "finish that first: cryptsetup reencrypt --resume-only {disk}"
            )));
        }
        Ok(())
    }
}

fn is_null(cipher: &str) -> bool {
    cipher.contains("cipher_null") || cipher == "null"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str) -> Result<(), String> {
        let disk = Disk {
            given: "/dev/sda3".into(),
            path: "/dev/sda3".into(),
            header: None,
            uuid: "1".to_owned(),
        };
        let metadata: Metadata = serde_json::from_str(json).unwrap();
        metadata.check(&disk).map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_null_cipher_is_refused_wherever_it_stands() {
        for cipher in ["cipher_null-ecb", "capi:ecb(cipher_null)-plain", "null"] {
            let segment = format!(
                r#"{{"keyslots":{{}},"segments":{{"0":{{"encryption":"{cipher}"}}}},"config":{{}}}}"#
            );
            assert!(
                check(&segment).unwrap_err().contains("null cipher"),
                "{cipher}"
            );
            let slot = format!(
                r#"{{"keyslots":{{"0":{{"type":"luks2","area":{{"encryption":"{cipher}"}}}}}},
                     "segments":{{}},"config":{{}}}}"#
            );
            assert!(
                check(&slot).unwrap_err().contains("null cipher"),
                "{cipher}"
            );
        }
    }

    #[test]
    fn a_pending_reencryption_is_refused() {
        let json = r#"{"keyslots":{},"segments":{"0":{"encryption":"aes-xts-plain64"}},
                       "config":{"requirements":{"mandatory":["online-reencrypt-v2"]}}}"#;
        assert!(check(json).unwrap_err().contains("reencrypted"));
        let json = r#"{"keyslots":{"1":{"type":"reencrypt","area":{"type":"checksum"}}},
                       "segments":{},"config":{}}"#;
        assert!(check(json).unwrap_err().contains("reencrypted"));
    }

    #[test]
    fn a_uuid_cannot_lead_out_of_a_directory() {
        let mut field = [0; 40];
        field[..4].copy_from_slice(b"ab-1");
        assert_eq!(uuid(&field).as_deref(), Some("ab-1"));
        field[..4].copy_from_slice(b"../x");
        assert_eq!(uuid(&field), None);
        assert_eq!(uuid(&[0; 40]), None);
    }
}
