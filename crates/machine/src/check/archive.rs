//! Opens a boot image: archives of the kernel's format, one after the other, the last one mostly
//! compressed (the kernel's documentation of "initramfs buffer format"). What compresses on this machine
//! decompresses too: the programs that the image was made with are run for it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use cpio::newc;
use nightlatch_core::digits;
use sha2::{Digest, Sha256};

/// The bits of a member's mode with its kind (cpio(5)).
const KIND: u32 = 0o170_000;
const LINK: u32 = 0o120_000;
const REGULAR: u32 = 0o100_000;

/// A link says less than this (`PATH_MAX`), and a list that is read is not longer.
const MAX_TEXT: u64 = 64 * 1024;

/// Larger than any image that a machine could load, unpacked: what decompresses without end ends here.
const MAX_UNPACKED: u64 = 8 << 30;

/// The content of an image, by path from `/`.
pub type Members = BTreeMap<String, Member>;

/// One thing in an image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Permission bits, without the type of file.
    pub mode: u32,
    /// User and group.
    pub owner: (u32, u32),
    /// The kind of member, with its content.
    pub what: MemberKind,
}

impl Member {
    /// True for a file, read or not.
    pub fn is_file(&self) -> bool {
        matches!(
            self.what,
            MemberKind::File(_) | MemberKind::Text(_) | MemberKind::Unread
        )
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MemberKind {
    /// A file of which the digest was asked for: its SHA-256, as it may be a key.
    File([u8; 32]),
    /// A file of which the text was asked for.
    Text(String),
    /// A file that nobody asked for.
    Unread,
    Link(String),
    /// A folder, a device, or another special file.
    Other,
}

/// The part of a file that the caller needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadMode {
    /// That it is there.
    Presence,
    /// The SHA-256 of its content.
    Digest,
    /// Its content: no secret, and no longer than a list of a person.
    Text,
}

/// An image that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
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

/// Reads an image; of each file, by its path and its size in bytes, what `want` asks for.
pub(super) fn open(
    image: &Path,
    want: impl Fn(&str, u64) -> ReadMode,
) -> Result<Members, ArchiveError> {
    let mut file = BufReader::new(File::open(image)?);
    let mut members = Members::new();
    loop {
        let start = skip_zeros(&mut file)?;
        if start.is_empty() {
            return Ok(members);
        }
        if start.starts_with(CPIO) {
            read_archive(&mut file, &want, &mut members)?;
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
        read_compressed(rest, program, &want, &mut members)?;
        return Ok(members);
    }
}

/// The SHA-256 of a file of the machine, to be compared with that of a member.
pub(super) fn digest(file: &Path) -> io::Result<[u8; 32]> {
    let mut digest = Sha256::new();
    io::copy(&mut File::open(file)?, &mut digest)?;
    Ok(digest.finalize().into())
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
    want: &impl Fn(&str, u64) -> ReadMode,
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
    let result = read_output(&mut child, want, members);
    // It may complain of what follows the archive, which the kernel would read on its own.
    let _ = child.kill();
    let _ = child.wait();
    result.map_err(failed)
}

fn read_output(
    child: &mut Child,
    want: &impl Fn(&str, u64) -> ReadMode,
    members: &mut Members,
) -> io::Result<()> {
    let output = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let output = BufReader::with_capacity(1 << 16, output.take(MAX_UNPACKED));
    match read_unpacked(output, want, members)? {
        // What is cut off or broken may come out as nothing at all.
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// Reads archives with nothing but zeros between them up to the end; how many there were.
///
/// # Errors
/// When one is cut off or none.
pub fn read_unpacked(
    mut from: impl BufRead,
    want: &impl Fn(&str, u64) -> ReadMode,
    members: &mut Members,
) -> io::Result<usize> {
    let mut archives = 0;
    loop {
        let here = from.fill_buf()?;
        if here.is_empty() {
            return Ok(archives);
        }
        let zeros = here.iter().take_while(|byte| **byte == 0).count();
        if zeros == 0 {
            read_archive(&mut from, want, members)?;
            archives += 1;
        }
        from.consume(zeros);
    }
}

/// Reads one archive up to its trailer.
fn read_archive(
    mut from: &mut impl Read,
    want: &impl Fn(&str, u64) -> ReadMode,
    members: &mut Members,
) -> io::Result<()> {
    let mut shared = SharedFiles::new();
    loop {
        let header = read_header(from)?;
        let mut reader = newc::Reader::new(Cursor::new(header).chain(from))?;
        if reader.entry().is_trailer() {
            reader.finish()?;
            return Ok(());
        }
        let path = normal(reader.entry().name());
        let size = u64::from(reader.entry().file_size());
        let mut member = read_member(&mut reader, want(&path, size))?;
        if member.is_file() && reader.entry().nlink() > 1 {
            settle(&mut shared, reader.entry(), &path, &mut member, members);
        }
        // A later one replaces an earlier one, as it does for the kernel.
        members.insert(path, member);
        from = reader.finish()?.into_inner().1;
    }
}

/// Bytes of a member's header: six for the format, then numbers of eight hexadecimal digits each.
const HEADER: usize = 110;
const NUMBERS: usize = 6;
/// The length of the name among them.
const NAME_LENGTH: std::ops::Range<usize> = 94..102;

/// Reads a header, which the reader of archives then reads: it would make room for a name of any length before
/// it sees that there is none.
fn read_header(from: &mut impl Read) -> io::Result<[u8; HEADER]> {
    let mut header = [0; HEADER];
    from.read_exact(&mut header)?;
    if !header[NUMBERS..].iter().all(u8::is_ascii_hexdigit) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "expected hexadecimal digits in the header of a file",
        ));
    }
    match digits::hex(&header[NAME_LENGTH]).map(|bytes| u64::from(u32::from_be_bytes(bytes))) {
        Some(length) if length <= MAX_TEXT => Ok(header),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("expected a name of at most {MAX_TEXT} bytes"),
        )),
    }
}

fn read_member<R: Read>(reader: &mut newc::Reader<R>, want: ReadMode) -> io::Result<Member> {
    let entry = reader.entry();
    let (mode, owner, links) = (entry.mode(), (entry.uid(), entry.gid()), entry.nlink());
    let what = match (mode & KIND, want) {
        (LINK, _) => MemberKind::Link(text(reader)?),
        (REGULAR, ReadMode::Text) => MemberKind::Text(text(reader)?),
        // Of a file with several names another one may be asked for.
        (REGULAR, ReadMode::Presence) if links < 2 => MemberKind::Unread,
        (REGULAR, _) => {
            let mut digest = Sha256::new();
            io::copy(reader, &mut digest)?;
            MemberKind::File(digest.finalize().into())
        }
        _ => MemberKind::Other,
    };
    Ok(Member {
        mode: mode & 0o7777,
        owner,
        what,
    })
}

fn text(reader: &mut impl Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    reader.take(MAX_TEXT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Files with several names, by device and inode: their names, and what is in them as soon as it came.
type SharedFiles = BTreeMap<(u32, u32, u32), (Vec<String>, Option<MemberKind>)>;

/// Of several names of one file only one comes with what is in it: mostly the last, as cpio(1) has it.
fn settle(
    shared: &mut SharedFiles,
    entry: &newc::Entry,
    path: &str,
    member: &mut Member,
    members: &mut Members,
) {
    let file = (entry.dev_major(), entry.dev_minor(), entry.ino());
    let (names, known) = shared.entry(file).or_default();
    if entry.file_size() == 0 {
        names.push(path.to_owned());
        if let Some(what) = known {
            member.what = what.clone();
        }
        return;
    }
    *known = Some(member.what.clone());
    for name in names {
        if let Some(earlier) = members.get_mut(name) {
            earlier.what = member.what.clone();
        }
    }
}

/// A path from `/`, up to a zero byte, where it ends for the kernel. The folders that are links into /usr in an image of today are those in /usr.
pub(super) fn normal(name: &str) -> String {
    let name = name.split('\0').next().unwrap_or_default();
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
        open(&image, |path, _| match path {
            path if path.starts_with("/usr/lib/mandos") => ReadMode::Digest,
            "/list" => ReadMode::Text,
            _ => ReadMode::Presence,
        })
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
            ("list", 0o100644, b"a\nb\n"),
        ]);
        for program in ["zstd", "gzip", "xz"] {
            let mut image = early.clone();
            image.resize(image.len().next_multiple_of(512), 0);
            image.extend(piped(program, &main));
            let members = read(&image).unwrap();
            assert_eq!(members.len(), 5, "{program}: {members:?}");
            let key = &members["/usr/lib/mandos/key"];
            assert_eq!((key.mode, key.owner), (0o400, (7, 8)));
            let digest: [u8; 32] = Sha256::digest(b"secret").into();
            assert_eq!(key.what, MemberKind::File(digest));
            assert_eq!(members["/etc/other"].what, MemberKind::Unread);
            assert_eq!(members["/list"].what, MemberKind::Text("a\nb\n".into()));
            assert_eq!(members["/usr/bin"].what, MemberKind::Link("usr/bin".into()));
        }
        assert_eq!(read(&main).unwrap().len(), 4, "nothing is compressed");
    }

    /// cpio(1) writes what is in a file with its last name, other programs with its first.
    #[test]
    fn each_name_of_a_file_has_what_is_in_it() {
        let file = |name: &str, content: &[u8], bytes: &mut Vec<u8>| {
            let builder = newc::Builder::new(name).mode(0o100_644).ino(9).nlink(3);
            let mut writer = builder.write(bytes, content.len() as u32);
            writer.write_all(content).unwrap();
            writer.finish().unwrap();
        };
        let names = ["lib/mandos/a", "etc/b", "lib/mandos/c"];
        for full in names {
            let mut bytes = Vec::new();
            for name in names {
                let content: &[u8] = if name == full { b"hook" } else { b"" };
                file(name, content, &mut bytes);
            }
            newc::trailer(&mut bytes).unwrap();
            let members = read(&bytes).unwrap();
            let hook = MemberKind::File(Sha256::digest(b"hook").into());
            for name in ["/usr/lib/mandos/a", "/usr/lib/mandos/c"] {
                assert_eq!(members[name].what, hook, "{name}, with it in {full}");
            }
        }
    }

    #[test]
    fn a_name_ends_where_it_ends_for_the_kernel() {
        let members = read(&archive(&[("list\0other", 0o100644, b"x")])).unwrap();
        assert_eq!(members["/list"].what, MemberKind::Text("x".into()));
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
        // A name without an end takes no memory.
        let mut long = archive(&[("a", 0o100644, b"")]);
        long[NAME_LENGTH].copy_from_slice(b"ffffffff");
        assert!(matches!(read(&long), Err(ArchiveError::Read(_))));
    }
}
