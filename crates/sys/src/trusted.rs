//! Files that only their owner and root can have put into their place: programs that are run with privileges,
//! folders of such programs, and files that decide whom a program trusts.
//!
//! A path is followed from `/` one name at a time, by descriptors. Every folder and link on the way is checked: a user
//! who can change one of them decides what is at the end.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, openat, readlinkat};
use rustix::io::Errno;

use crate::identity::leave_open;

/// As many links as the kernel follows in one path (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// Write permission of the group and of all users. An access control list that lets another user write has the bit of
/// the group set (acl(5)).
const WRITABLE: u32 = 0o022;

/// In a folder with this bit only the owner of a file can take it away.
const STICKY: u32 = 0o1000;

/// A path is not trusted.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// It cannot be looked at.
    #[error("cannot look at {0}")]
    Look(PathBuf, #[source] io::Error),
    /// Somebody else owns it, or a folder or link on the way to it.
    #[error("{p} belongs to user {owner}: expected `chown -h {wanted} {p}`", p = path.display())]
    Owner {
        /// The file, folder or link.
        path: PathBuf,
        /// User id of its owner.
        owner: u32,
        /// The only owner allowed, besides root.
        wanted: u32,
    },
    /// Others can change it, or a folder on the way to it.
    #[error("others can write to {p}, which has the mode {mode:04o}: expected `chmod go-w {p}`", p = path.display())]
    Writable {
        /// The file or folder.
        path: PathBuf,
        /// Permission bits of its mode.
        mode: u32,
    },
    /// It is of another kind.
    #[error("{0} is not {1}")]
    Kind(PathBuf, &'static str),
    /// It is longer than any that is meant.
    #[error("{p} is longer than {limit} bytes", p = path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The most that is read.
        limit: u64,
    },
}

/// The end of a path.
struct ResolvedPath {
    about: Stat,
    /// The folder that it is in and its name there, unless it is a folder itself.
    name: Option<(OwnedFd, OsString)>,
}

/// A program that is run by the descriptor of the folder that it was found in.
#[derive(Debug)]
pub struct Executable {
    folder: OwnedFd,
    name: OsString,
    file: File,
    path: PathBuf,
}

impl Executable {
    /// The program at the absolute path `path`. Root or `user` must own it and everything on the way to it, and no
    /// other user may be able to write there.
    ///
    /// # Errors
    /// When that is not so, it is no executable file, or it cannot be read.
    pub fn open(path: &Path, user: u32) -> Result<Self, TrustError> {
        let ResolvedPath { about, name } = follow(path, user)?;
        let is_file = FileType::from_raw_mode(about.st_mode) == FileType::RegularFile;
        let (true, Some((folder, name))) = (is_file && about.st_mode & 0o111 != 0, name) else {
            return Err(TrustError::Kind(path.to_owned(), "an executable file"));
        };
        let looked = |error: Errno| TrustError::Look(path.to_owned(), error.into());
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(&folder, &name, flags, Mode::empty()).map_err(looked)?;
        // Those who can replace a file in between are trusted, but the new one was not checked.
        if !is_same(&about, &fstat(&file).map_err(looked)?) {
            return Err(TrustError::Kind(path.to_owned(), "the file that it was"));
        }
        Ok(Self {
            folder,
            name,
            file: file.into(),
            path: path.to_owned(),
        })
    }

    /// Starts it; `self` must outlive the start. The process gets the program's name: it is run by the descriptor of
    /// its folder, and found in it once more.
    pub fn command(&self) -> Command {
        self.command_by(self.folder.as_raw_fd(), Some(&self.name))
    }

    /// As [`command`](Self::command), for a user who may have no right to search the folder. The process gets a number
    /// as its name.
    pub fn command_for_others(&self) -> Command {
        self.command_by(self.file.as_raw_fd(), None)
    }

    fn command_by(&self, descriptor: RawFd, name: Option<&OsString>) -> Command {
        // By /proc and not by /dev/fd, which an initramfs may lack.
        let mut place = PathBuf::from(format!("/proc/self/fd/{descriptor}"));
        place.extend(name);
        let mut command = Command::new(place);
        command.arg0(&self.path);
        if self.is_script() {
            // Its interpreter opens it again.
            leave_open(&mut command, descriptor);
        }
        command
    }

    fn is_script(&self) -> bool {
        let mut start = [0; 2];
        self.file.read_exact_at(&mut start, 0).is_ok() && start == *b"#!"
    }

    /// True when it is the file that `other` refers to.
    pub fn is(&self, other: impl AsFd) -> io::Result<bool> {
        Ok(is_same(&fstat(&self.file)?, &fstat(other)?))
    }
}

/// Makes sure that `path` is a folder to which only root and `user` can add files. One with the sticky bit is refused:
/// every user can add to it.
///
/// # Errors
/// When that is not so, or it cannot be read.
pub fn check_folder(path: &Path, user: u32) -> Result<(), TrustError> {
    let about = follow(path, user)?.about;
    match FileType::from_raw_mode(about.st_mode) {
        FileType::Directory => check_writers(path, &about),
        _ => Err(TrustError::Kind(path.to_owned(), "a folder")),
    }
}

/// Reads a file that only root and `user` can write to, or replace.
///
/// # Errors
/// When that is not so, it is no regular file, has more than `limit` bytes, or cannot be read.
pub fn read_file(path: &Path, user: u32, limit: u64) -> Result<Vec<u8>, TrustError> {
    let ResolvedPath { about, name } = follow(path, user)?;
    let is_file = FileType::from_raw_mode(about.st_mode) == FileType::RegularFile;
    let (true, Some((folder, name))) = (is_file, name) else {
        return Err(TrustError::Kind(path.to_owned(), "a regular file"));
    };
    let looked = |error: Errno| TrustError::Look(path.to_owned(), error.into());
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(&folder, &name, flags, Mode::empty()).map_err(looked)?;
    // One that was replaced in between is as good, if it is checked too.
    let about = fstat(&file).map_err(looked)?;
    check_owner(path, &about, user)?;
    check_writers(path, &about)?;
    if FileType::from_raw_mode(about.st_mode) != FileType::RegularFile {
        return Err(TrustError::Kind(path.to_owned(), "a regular file"));
    }
    let mut content = Vec::new();
    let read = File::from(file)
        .take(limit.saturating_add(1))
        .read_to_end(&mut content);
    match read {
        Err(error) => Err(TrustError::Look(path.to_owned(), error)),
        Ok(length) if length as u64 > limit => Err(TrustError::TooLong {
            path: path.to_owned(),
            limit,
        }),
        Ok(_) => Ok(content),
    }
}

fn is_same(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

fn check_owner(path: &Path, about: &Stat, user: u32) -> Result<(), TrustError> {
    match [0, user].contains(&about.st_uid) {
        true => Ok(()),
        false => Err(TrustError::Owner {
            path: path.to_owned(),
            owner: about.st_uid,
            wanted: user,
        }),
    }
}

fn check_writers(path: &Path, about: &Stat) -> Result<(), TrustError> {
    match about.st_mode & WRITABLE == 0 {
        true => Ok(()),
        false => Err(TrustError::Writable {
            path: path.to_owned(),
            mode: about.st_mode & 0o7777,
        }),
    }
}

/// Follows `path`, and checks all that it leads through and what it leads to, but for the writers of a folder at
/// its end that has the sticky bit.
fn follow(path: &Path, user: u32) -> Result<ResolvedPath, TrustError> {
    let absolute =
        std::path::absolute(path).map_err(|error| TrustError::Look(path.to_owned(), error))?;
    let mut walk = PathWalk::new(&absolute, user)?;
    while walk.step()? {}
    walk.end(path)
}

/// A path on its way.
struct PathWalk {
    user: u32,
    /// The folders that lead to where it is, the root first, and what each is called.
    folders: Vec<(OwnedFd, PathBuf)>,
    rest: VecDeque<OsString>,
    links: usize,
    /// The end of the path, when that is not a folder.
    last: Option<ResolvedPath>,
}

impl PathWalk {
    fn new(path: &Path, user: u32) -> Result<Self, TrustError> {
        let slash = PathBuf::from("/");
        let looked = |error: Errno| TrustError::Look("/".into(), error.into());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(&slash, flags, Mode::empty()).map_err(looked)?;
        let about = fstat(&root).map_err(looked)?;
        check_owner(&slash, &about, user)?;
        if about.st_mode & STICKY == 0 {
            check_writers(&slash, &about)?;
        }
        Ok(Self {
            user,
            folders: vec![(root, slash)],
            rest: names(path).collect(),
            links: 0,
            last: None,
        })
    }

    /// Follows the next name. False when there was none.
    fn step(&mut self) -> Result<bool, TrustError> {
        let Some(name) = self.rest.pop_front() else {
            return Ok(false);
        };
        if name == ".." {
            // A folder is left again; the root is above itself.
            if self.folders.len() > 1 {
                self.folders.pop();
            }
            return Ok(true);
        }
        // There is always the root.
        let Some((folder, here)) = self.folders.last() else {
            return Ok(false);
        };
        let path = here.join(&name);
        let looked = |error: Errno| TrustError::Look(path.clone(), error.into());
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(folder, &name, flags, Mode::empty()).map_err(looked)?;
        let about = fstat(&file).map_err(looked)?;
        check_owner(&path, &about, self.user)?;
        match FileType::from_raw_mode(about.st_mode) {
            FileType::Symlink => {
                self.links += 1;
                if self.links > MAX_LINKS {
                    return Err(looked(Errno::LOOP));
                }
                let target = readlinkat(&file, "", Vec::new()).map_err(looked)?;
                self.turn(&PathBuf::from(OsString::from_vec(target.into_bytes())));
            }
            FileType::Directory => {
                if about.st_mode & STICKY == 0 {
                    check_writers(&path, &about)?;
                }
                self.folders.push((file, path));
            }
            _ if !self.rest.is_empty() => return Err(looked(Errno::NOTDIR)),
            _ => {
                check_writers(&path, &about)?;
                let folder = folder.try_clone();
                let folder = folder.map_err(|error| TrustError::Look(path.clone(), error))?;
                self.last = Some(ResolvedPath {
                    about,
                    name: Some((folder, name)),
                });
            }
        }
        Ok(true)
    }

    fn turn(&mut self, target: &Path) {
        if target.is_absolute() {
            self.folders.truncate(1);
        }
        for name in names(target).rev() {
            self.rest.push_front(name);
        }
    }

    fn end(mut self, path: &Path) -> Result<ResolvedPath, TrustError> {
        if let Some(place) = self.last {
            return Ok(place);
        }
        let looked = |error: Errno| TrustError::Look(path.to_owned(), error.into());
        let (folder, _) = self.folders.pop().ok_or_else(|| looked(Errno::NOENT))?;
        let about = fstat(&folder).map_err(looked)?;
        Ok(ResolvedPath { about, name: None })
    }
}

fn names(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use tempfile::TempDir;

    fn myself() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    /// A folder with the program `bin/tool` in it, which prints by what name the kernel knows it.
    fn folder() -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).unwrap();
        fs::set_permissions(&bin, Permissions::from_mode(0o755)).unwrap();
        fs::copy("/bin/cat", bin.join("tool")).unwrap();
        folder
    }

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn what_is_ours_runs_under_its_own_name() {
        let folder = folder();
        // Also in a folder like /tmp, from which others cannot take what is ours.
        mode(folder.path(), 0o1777);
        let path = folder.path().join("bin/../bin/./tool");
        let tool = Executable::open(&path, myself()).unwrap();
        let output = tool.command().arg("/proc/self/comm").output().unwrap();
        assert_eq!(output.stdout, b"tool\n");
        assert!(
            tool.is(File::open(folder.path().join("bin/tool")).unwrap())
                .unwrap()
        );
        assert!(!tool.is(File::open("/bin/cat").unwrap()).unwrap());
        check_folder(&folder.path().join("bin"), myself()).unwrap();
        assert!(matches!(
            check_folder(folder.path(), myself()),
            Err(TrustError::Writable { .. })
        ));
    }

    #[test]
    fn a_script_is_found_by_its_interpreter() {
        let folder = folder();
        let path = folder.path().join("bin/script");
        fs::write(&path, "#!/bin/sh\nread line < \"$0\"; echo \"$1 $line\"\n").unwrap();
        mode(&path, 0o755);
        let script = Executable::open(&path, myself()).unwrap();
        for mut command in [script.command(), script.command_for_others()] {
            let output = command.arg("one").output().unwrap();
            assert_eq!(output.stdout, b"one #!/bin/sh\n");
        }
    }

    #[test]
    fn what_others_can_write_to_is_refused_wherever_on_the_way_it_is() {
        for (part, bits) in [
            ("bin/tool", 0o775),
            ("bin/tool", 0o757),
            ("bin", 0o775),
            ("bin", 0o757),
            (".", 0o777),
        ] {
            let folder = folder();
            mode(&folder.path().join(part), bits);
            let opened = Executable::open(&folder.path().join("bin/tool"), myself());
            let error = opened.unwrap_err();
            assert!(
                matches!(error, TrustError::Writable { .. }),
                "{part}: {error}"
            );
        }
    }

    #[test]
    fn a_link_is_followed_and_counts_with_its_folder() {
        let folder = folder();
        let at = |name: &str| folder.path().join(name);
        symlink("bin", at("sbin")).unwrap();
        symlink(at("sbin/../sbin/tool"), at("link")).unwrap();
        Executable::open(&at("link"), myself()).unwrap();
        fs::create_dir(at("open")).unwrap();
        symlink(at("bin/tool"), at("open/link")).unwrap();
        mode(&at("open"), 0o777);
        assert!(Executable::open(&at("open/link"), myself()).is_err());
        symlink("loop", at("loop")).unwrap();
        assert!(Executable::open(&at("loop"), myself()).is_err());
        symlink("open/link", at("indirect")).unwrap();
        assert!(Executable::open(&at("indirect"), myself()).is_err());
    }

    #[test]
    fn only_an_executable_file_is_a_program() {
        let folder = folder();
        let at = |name: &str| folder.path().join(name);
        mode(&at("bin/tool"), 0o644);
        for bad in ["bin/tool", "bin", "bin/none", "bin/tool/x", "bin/tool/.."] {
            assert!(Executable::open(&at(bad), myself()).is_err(), "{bad}");
        }
        assert!(check_folder(&at("bin/tool"), myself()).is_err());
    }

    #[test]
    fn a_file_is_read_if_nobody_else_can_have_written_it() {
        let folder = folder();
        let path = folder.path().join("bin/list");
        fs::write(&path, "text").unwrap();
        mode(&path, 0o644);
        assert_eq!(read_file(&path, myself(), 4).unwrap(), b"text");
        let long = read_file(&path, myself(), 3).unwrap_err();
        assert!(matches!(long, TrustError::TooLong { .. }), "{long}");
        symlink("bin/list", folder.path().join("link")).unwrap();
        assert!(read_file(&folder.path().join("link"), myself(), 4).is_ok());
        mode(&path, 0o664);
        let open = read_file(&path, myself(), 4).unwrap_err();
        assert!(matches!(open, TrustError::Writable { .. }), "{open}");
        mode(&path, 0o644);
        mode(&folder.path().join("bin"), 0o777);
        assert!(read_file(&path, myself(), 4).is_err());
        for odd in ["bin", "none", "bin/none"] {
            assert!(read_file(&folder.path().join(odd), myself(), 4).is_err());
        }
    }

    #[test]
    fn what_belongs_to_another_is_refused() {
        if !nightlatch_test_support::is_root() {
            return;
        }
        for part in ["bin/tool", "bin", "."] {
            let folder = folder();
            chown(folder.path().join(part), Some(65534), None).unwrap();
            let path = folder.path().join("bin/tool");
            let error = Executable::open(&path, 0).unwrap_err();
            assert!(
                matches!(error, TrustError::Owner { owner: 65534, .. }),
                "{error}"
            );
            Executable::open(&path, 65534).unwrap();
        }
        let folder = folder();
        let link = folder.path().join("link");
        symlink("bin/tool", &link).unwrap();
        std::os::unix::fs::lchown(&link, Some(65534), None).unwrap();
        assert!(Executable::open(&link, 0).is_err());
    }
}
