//! Opens a boot image: archives of the kernel's format, one after the other, the last one mostly
//! compressed (the kernel's documentation of "initramfs buffer format"). What compresses on this machine
//! decompresses too: the programs that the image was made with are run for it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use cpio::newc;
use sha2::{Digest, Sha256};

/// What a member's mode says of its kind (cpio(5)).
const KIND: u32 = 0o170000;
const LINK: u32 = 0o120000;
const REGULAR: u32 = 0o100000;

/// A link says less than this.
const MAX_TARGET: u64 = 4096;

/// What is in an image, by path from `/`. Of files, what was asked for is read and the rest passed over.
pub(super) type Members = BTreeMap<String, Member>;

/// One thing in an image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Member {
    /// Permissions.
    pub(super) mode: u32,
    /// User and group.
    pub(super) owner: (u32, u32),
    /// What it is.
    pub(super) what: What,
    /// Whether it is a file, read or not.
    pub(super) is_file: bool,
}

/// What a member is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum What {
    /// A file that was asked for, by its SHA-256: it may be a key.
    File([u8; 32]),
    /// A link to this.
    Link(String),
    /// Anything else.
    Other,
}

/// Why an image cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum ArchiveError {
    /// Reading failed, or it is cut off or none.
    #[error("cannot be read")]
    Read(#[from] io::Error),
    /// It begins with nothing that is known.
    #[error("is compressed by nothing that is known here")]
    Unknown,
    /// The program that decompresses it is not there or failed.
    #[error("cannot be decompressed by {0}")]
    Decompress(&'static str, #[source] io::Error),
}

/// By which bytes a compressed archive begins, and which program undoes it.
const COMPRESSED: [(&[u8], &str); 6] = [
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x1f\x8b", "gzip"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x02\x21\x4c\x18", "lz4"),
    (b"BZh", "bzip2"),
    (b"\x5d\0\0", "lzma"),
];

const CPIO: &[u8] = b"0707";

/// Reads an image; the contents of those files whose path `wanted` accepts.
pub(super) fn open(image: &Path, wanted: impl Fn(&str) -> bool) -> Result<Members, ArchiveError> {
    let mut file = BufReader::new(File::open(image)?);
    let mut members = Members::new();
    loop {
        let start = skip_zeros(&mut file)?;
        if start.is_empty() {
            return Ok(members);
        }
        if start.starts_with(CPIO) {
            read_archive(&mut file, &wanted, &mut members)?;
            continue;
        }
        let known = COMPRESSED
            .iter()
            .find(|(magic, _)| start.starts_with(magic));
        let (_, program) = known.ok_or(ArchiveError::Unknown)?;
        // The program reads the file itself, from here to its end.
        let here = file.stream_position()?;
        let mut rest = file.into_inner();
        rest.seek(SeekFrom::Start(here))?;
        read_compressed(rest, program, &wanted, &mut members)?;
        return Ok(members);
    }
}

/// Passes over what fills the space between two archives; the bytes that come then.
fn skip_zeros(file: &mut BufReader<File>) -> io::Result<Vec<u8>> {
    loop {
        let here = file.fill_buf()?;
        let zeros = here.iter().take_while(|byte| **byte == 0).count();
        if zeros < here.len() || here.is_empty() {
            file.consume(zeros);
            // Enough for every magic: a buffer is filled anew only when it is empty.
            let position = file.stream_position()?;
            file.seek(SeekFrom::Start(position))?;
            return Ok(file.fill_buf()?.iter().take(8).copied().collect());
        }
        file.consume(zeros);
    }
}

fn read_compressed(
    file: File,
    program: &'static str,
    wanted: &impl Fn(&str) -> bool,
    members: &mut Members,
) -> Result<(), ArchiveError> {
    let failed = |error| ArchiveError::Decompress(program, error);
    let mut child = Command::new(program)
        .args(["-d", "-c"])
        .stdin(file)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let result = read_output(&mut child, wanted, members);
    // It may complain of what follows the archive, which the kernel would read on its own.
    let _ = child.kill();
    let _ = child.wait();
    result.map_err(failed)
}

fn read_output(
    child: &mut Child,
    wanted: &impl Fn(&str) -> bool,
    members: &mut Members,
) -> io::Result<()> {
    let output = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let mut output = BufReader::with_capacity(1 << 16, output);
    let mut archives = 0;
    loop {
        // Between two archives there may be zeros here too.
        let here = output.fill_buf()?;
        let zeros = here.iter().take_while(|byte| **byte == 0).count();
        if here.is_empty() {
            // What is cut off or broken may come out as nothing at all.
            let any = archives > 0;
            return any.then_some(()).ok_or(io::ErrorKind::UnexpectedEof.into());
        }
        if zeros == 0 {
            read_archive(&mut output, wanted, members)?;
            archives += 1;
        }
        output.consume(zeros);
    }
}

/// Reads one archive up to its trailer.
fn read_archive(
    mut from: &mut impl Read,
    wanted: &impl Fn(&str) -> bool,
    members: &mut Members,
) -> io::Result<()> {
    loop {
        let mut reader = newc::Reader::new(from)?;
        let entry = reader.entry();
        if entry.is_trailer() {
            reader.finish()?;
            return Ok(());
        }
        let path = normal(entry.name());
        let (mode, owner) = (entry.mode(), (entry.uid(), entry.gid()));
        let what = match mode & KIND {
            LINK => {
                let mut target = String::new();
                (&mut reader).take(MAX_TARGET).read_to_string(&mut target)?;
                What::Link(target)
            }
            REGULAR if wanted(&path) => {
                let mut digest = Sha256::new();
                io::copy(&mut reader, &mut digest)?;
                What::File(digest.finalize().into())
            }
            _ => What::Other,
        };
        let member = Member {
            mode: mode & 0o7777,
            owner,
            what,
            is_file: mode & KIND == REGULAR,
        };
        // A later one replaces an earlier one, as it does for the kernel.
        members.insert(path, member);
        from = reader.finish()?;
    }
}

/// A path from `/`. The folders that are links into /usr in an image of today are those in /usr.
pub(super) fn normal(name: &str) -> String {
    let name = name.trim_start_matches("./").trim_matches('/');
    let first = name.split('/').next().unwrap_or_default();
    match first {
        "bin" | "sbin" | "lib" | "lib32" | "lib64" => format!("/usr/{name}"),
        _ => format!("/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn archive(members: &[(&str, u32, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, mode, content) in members {
            let builder = newc::Builder::new(name).mode(*mode).uid(7).gid(8);
            let mut writer = builder.write(&mut bytes, content.len() as u32);
            writer.write_all(content).unwrap();
            writer.finish().unwrap();
        }
        newc::trailer(&mut bytes).unwrap();
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Members, ArchiveError> {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        std::fs::write(&image, bytes).unwrap();
        open(&image, |path| path.starts_with("/usr/lib/mandos"))
    }

    fn piped(program: &str, bytes: &[u8]) -> Vec<u8> {
        let mut child = Command::new(program)
            .arg("-c")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        child.wait_with_output().unwrap().stdout
    }

    #[test]
    fn archives_one_after_the_other_are_one_image() {
        let early = archive(&[("kernel/x86/microcode/a", 0o100644, b"code")]);
        let main = archive(&[
            ("lib/mandos/key", 0o100400, b"secret"),
            ("etc/other", 0o100644, b"other"),
            ("bin", 0o120777, b"usr/bin"),
        ]);
        for program in ["zstd", "gzip", "xz"] {
            let mut image = early.clone();
            image.resize(image.len().next_multiple_of(512), 0);
            image.extend(piped(program, &main));
            let members = read(&image).unwrap();
            assert_eq!(members.len(), 4, "{program}: {members:?}");
            let key = &members["/usr/lib/mandos/key"];
            assert_eq!((key.mode, key.owner), (0o400, (7, 8)));
            let digest: [u8; 32] = Sha256::digest(b"secret").into();
            assert_eq!(key.what, What::File(digest));
            assert_eq!(members["/etc/other"].what, What::Other);
            assert_eq!(members["/usr/bin"].what, What::Link("usr/bin".into()));
        }
        assert_eq!(read(&main).unwrap().len(), 3, "nothing is compressed");
    }

    #[test]
    fn what_is_no_image_is_said_so() {
        assert!(matches!(read(b"hello"), Err(ArchiveError::Unknown)));
        let whole = piped("zstd", &archive(&[("a", 0o100644, &[7; 9999])]));
        let cut = &whole[..whole.len() / 2];
        assert!(matches!(
            read(cut),
            Err(ArchiveError::Decompress("zstd", _))
        ));
        assert!(matches!(read(b"070701000"), Err(ArchiveError::Read(_))));
    }
}
