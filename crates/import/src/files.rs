//! Reading what is taken over, and putting files in place. Reads below `--from`, writes below `--to`,
//! never the other way round.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use nightlatch_console::failure::{EX_CANTCREAT, EX_IOERR, EX_NOINPUT, Failure};
use zeroize::Zeroizing;

/// A file of more than this is none of a server's. 100,000 clients take some 250 MB.
const MAX_FILE: u64 = 1 << 30;

/// `path`, which is absolute, as it is found when `root` is the root of its file system.
pub(crate) fn below(root: &Path, path: &Path) -> PathBuf {
    let inside = path
        .components()
        .filter(|part| !matches!(part, Component::RootDir | Component::Prefix(_)));
    root.join(inside.collect::<PathBuf>())
}

/// Reads a whole file, which may hold secrets.
pub(crate) fn read(file: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    read_whole(file).map_err(|error| {
        let exit = match error.kind() {
            io::ErrorKind::NotFound => EX_NOINPUT,
            _ => EX_IOERR,
        };
        Failure::new(exit, format!("cannot read {}", file.display())).because(error)
    })
}

/// Like [`read`], for callers that decide on the error themselves.
pub(crate) fn read_whole(file: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let opened = File::open(file)?;
    // With room for all of it from the start, no copy is left behind by a growing buffer.
    let length = opened.metadata()?.len().min(MAX_FILE);
    let room = usize::try_from(length).unwrap_or(0) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    opened.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

/// True when the file at `place` has settings. A configuration of comments alone, as the sample that a package
/// installs, has none; a file that cannot be read may have some.
pub(crate) fn holds_settings(place: &Path) -> bool {
    place.symlink_metadata().is_ok()
        && read_whole(place).map_or(true, |text| {
            !has_no_content(&String::from_utf8_lossy(&text))
        })
}

fn has_no_content(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim_end);
    lines.all(|line| line.is_empty() || line.starts_with(['#', ';']) || line == "[DEFAULT]")
}

/// The failure to make something.
pub(crate) fn cannot_make(path: &Path) -> impl FnOnce(io::Error) -> Failure {
    let what = format!("cannot make {}", path.display());
    move |error| Failure::new(EX_CANTCREAT, what).because(error)
}

/// Makes a folder and what it is in. Only the last one gets `mode`.
pub(crate) fn make_folder(folder: &Path, mode: u32) -> Result<(), Failure> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent).map_err(cannot_make(parent))?;
    }
    DirBuilder::new()
        .mode(mode)
        .create(folder)
        .map_err(cannot_make(folder))
}

/// Writes a file that must not be there, and sees it onto the disk.
pub(crate) fn write_new(file: &Path, mode: u32, content: &[u8]) -> Result<(), Failure> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(file)
        .and_then(|mut opened| {
            opened.write_all(content)?;
            opened.sync_all()
        })
        .map_err(cannot_make(file))
}

/// Puts a finished file in its place. One that is there keeps a numbered name (`clients.conf.~1~`).
pub(crate) fn put_in_place(new: &Path, place: &Path) -> Result<(), Failure> {
    let put = || {
        back_up(place)?;
        fs::rename(new, place)?;
        match place.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    };
    put().map_err(cannot_make(place))
}

fn back_up(place: &Path) -> io::Result<()> {
    if place.symlink_metadata().is_err() {
        return Ok(());
    }
    for number in 1_u32.. {
        let mut name = place.as_os_str().to_owned();
        name.push(format!(".~{number}~"));
        // A link, unlike a rename, takes no place that is taken.
        match fs::hard_link(place, PathBuf::from(name)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            linked => return linked,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_found_below_its_root() {
        for (root, path, expected) in [
            ("/mnt", "/etc/mandos", "/mnt/etc/mandos"),
            ("/", "/etc/mandos", "/etc/mandos"),
            ("disk", "/a/../b", "disk/a/../b"),
        ] {
            assert_eq!(below(root.as_ref(), path.as_ref()), PathBuf::from(expected));
        }
    }

    #[test]
    fn what_is_replaced_keeps_a_name() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("f");
        for content in ["1", "2", "3"] {
            let new = folder.path().join("new");
            write_new(&new, 0o600, content.as_bytes()).unwrap();
            put_in_place(&new, &place).unwrap();
        }
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(
            (read("f"), read("f.~1~"), read("f.~2~")),
            ("3".into(), "1".into(), "2".into())
        );
        assert!(write_new(&place, 0o600, b"4").is_err());
    }
}
