//! The content of an image: its archive in cpio's "newc" form (cpio(5)), as the kernel reads it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::process::Command;

/// The magic number of a zstd frame (RFC 8878, 3.1.1).
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The fixed part of a member's header: a magic number and 13 fields of eight digits.
const HEADER: usize = 6 + 13 * 8;

/// The kind of a file, in its mode (inode(7)), and three kinds.
const KIND: u32 = 0o170_000;
const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// One file in an image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CpioEntry {
    /// Kind and permissions, as in stat(2).
    pub mode: u32,
    /// Its user's number.
    pub user: u32,
    /// Its group's number.
    pub group: u32,
    /// The content of a file, or the target of a link.
    pub content: Vec<u8>,
}

impl fmt::Display for CpioEntry {
    /// Kind, permissions, numbers of user and group.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.mode & KIND {
            FOLDER => 'd',
            LINK => 'l',
            FILE => '-',
            _ => '?',
        };
        let permissions = self.mode & 0o7777;
        write!(f, "{kind}{permissions:04o} {}:{}", self.user, self.group)
    }
}

/// All files of an image that zstd(1) has compressed, by name.
pub fn read(image: &Path) -> BTreeMap<String, CpioEntry> {
    let bytes = std::fs::read(image).unwrap();
    // Microcode may stand before, in clear.
    let (mut entries, rest) = archive(&bytes);
    let start = rest.windows(4).position(|window| window == ZSTD);
    let start = start.expect("expected an archive compressed by zstd");
    let packed = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(packed.path(), &rest[start..]).unwrap();
    let mut zstd = Command::new("zstd");
    let unpacked = zstd.arg("-dcq").arg(packed.path()).output().unwrap();
    assert!(unpacked.status.success(), "zstd cannot unpack the image");
    entries.extend(archive(&unpacked.stdout).0);
    entries
}

/// The members of an archive, and what follows it. What is no archive has none.
fn archive(bytes: &[u8]) -> (BTreeMap<String, CpioEntry>, &[u8]) {
    let mut entries = BTreeMap::new();
    let mut names_of: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    let mut rest = bytes;
    while rest.starts_with(b"070701") {
        let field = |index: usize| {
            let text = std::str::from_utf8(&rest[6 + index * 8..][..8]).unwrap();
            u32::from_str_radix(text, 16).unwrap()
        };
        let [inode, mode, user, group, links] = [0, 1, 2, 3, 4].map(field);
        let [size, name_size] = [6, 11].map(|index| usize::try_from(field(index)).unwrap());
        let name = std::str::from_utf8(&rest[HEADER..][..name_size - 1]).unwrap();
        let start = (HEADER + name_size).next_multiple_of(4);
        let entry = CpioEntry {
            mode,
            user,
            group,
            content: rest[start..][..size].to_vec(),
        };
        rest = &rest[(start + size).next_multiple_of(4).min(rest.len())..];
        if name == "TRAILER!!!" {
            break;
        }
        entries.insert(name.to_owned(), entry.clone());
        // Of several names of one file only the last comes with what is in it.
        if links > 1 && mode & KIND == FILE {
            let names = names_of.entry(inode).or_default();
            names.push(name.to_owned());
            if !entry.content.is_empty() {
                entries.extend(names.iter().map(|name| (name.clone(), entry.clone())));
            }
        }
    }
    (entries, rest)
}

/// The entries that `after` has and `before` lacks or has with other content, a line each. Only names that `counts`
/// accepts.
pub fn difference(
    before: &BTreeMap<String, CpioEntry>,
    after: &BTreeMap<String, CpioEntry>,
    counts: impl Fn(&str) -> bool,
) -> String {
    let mut text = String::new();
    for (name, entry) in after.iter().filter(|(name, _)| counts(name)) {
        if before.get(name) == Some(entry) {
            continue;
        }
        text.push_str(&format!("{entry} {name}"));
        if entry.mode & KIND == LINK {
            text.push_str(&format!(" -> {}", String::from_utf8_lossy(&entry.content)));
        }
        text.push('\n');
    }
    for name in before.keys().filter(|name| counts(name)) {
        if !after.contains_key(name) {
            text.push_str(&format!("gone: {name}\n"));
        }
    }
    text
}
