//! The two sockets of the agent, from systemd or made here. A file that is no socket, and the socket of an agent that answers, are
//! never replaced; at the end only what was made here is removed.

use std::fmt;
use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _,
};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nightlatch_console::failure::{EX_CANTCREAT, EX_OSERR, EX_USAGE, Failure};
use nightlatch_sys::inherited;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt,
};

use crate::cli::AgentOptions;

/// The names of the sockets in the unit (FileDescriptorName= of systemd.socket(5)).
const AGENT_NAME: &str = "agent";
const CONTROL_NAME: &str = "control";

/// Both sockets.
pub(crate) struct Sockets {
    pub(crate) agent: UnixListener,
    pub(crate) control: UnixListener,
    /// Those that were made here.
    pub(crate) made: Vec<MadeSocket>,
}

impl Sockets {
    pub(crate) fn open(options: &AgentOptions) -> Result<Self, Failure> {
        let mut passed = passed_sockets()?;
        let is_passed = |name| passed.iter().any(|(found, _)| found == name);
        if options.socket == options.control && !is_passed(AGENT_NAME) && !is_passed(CONTROL_NAME) {
            let shown = options.socket.display();
            let what = format!("--socket and --control name the same file: {shown}");
            return Err(Failure::new(EX_USAGE, what).hint("give each a file of its own"));
        }
        let mut made = Vec::new();
        let mut open = |name: &str, path: &Path| {
            if let Some(at) = passed.iter().position(|(found, _)| found == name) {
                return Ok(passed.swap_remove(at).1);
            }
            let (listener, socket) = bind(path).map_err(|fault| fault.failure(path))?;
            made.push(socket);
            Ok(listener)
        };
        let agent = open(AGENT_NAME, &options.socket)?;
        let control = open(CONTROL_NAME, &options.control)?;
        Ok(Self {
            agent,
            control,
            made,
        })
    }
}

/// A socket that was made here. Its drop removes it, unless another file has taken its place.
#[derive(Debug)]
pub(crate) struct MadeSocket {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Drop for MadeSocket {
    fn drop(&mut self) {
        let is_same = |it: Metadata| (it.dev(), it.ino()) == (self.device, self.inode);
        if fs::symlink_metadata(&self.path).is_ok_and(is_same) {
            // One that cannot be removed is replaced by the next run.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A path at which no socket can be made.
#[derive(Debug)]
enum BindFault {
    NoSocket(PathBuf),
    InUse,
    System(io::Error),
}

impl From<io::Error> for BindFault {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl From<Errno> for BindFault {
    fn from(error: Errno) -> Self {
        Self::System(error.into())
    }
}

impl fmt::Display for BindFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSocket(found) => write!(f, "{} exists and is no socket", found.display()),
            Self::InUse => f.write_str("another agent answers there"),
            Self::System(error) => error.fmt(f),
        }
    }
}

impl BindFault {
    fn failure(&self, path: &Path) -> Failure {
        let what = format!("cannot make the socket {}: {self}", path.display());
        Failure::new(EX_CANTCREAT, what).hint("name other files with --socket and --control")
    }
}

fn passed_sockets() -> Result<Vec<(String, UnixListener)>, Failure> {
    let failed = |what: &'static str| {
        move |error| Failure::new(EX_OSERR, format!("cannot {what}")).because(error)
    };
    let passed = sd_notify::listen_fds_with_names();
    let passed = passed.map_err(failed("read the sockets that systemd passes"))?;
    passed
        .map(|(number, name)| {
            let listener = inherited::duplicate(number).and_then(as_listener);
            let listener = listener.map_err(failed("use a socket that systemd passes"))?;
            Ok((name, listener))
        })
        .collect()
}

fn as_listener(socket: OwnedFd) -> io::Result<UnixListener> {
    let is_stream = sockopt::socket_type(&socket)? == SocketType::STREAM;
    if !is_stream || sockopt::socket_domain(&socket)? != AddressFamily::UNIX {
        let what = "it is a socket of another kind";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    Ok(socket.into())
}

/// Makes a socket, in place of one that another run has left behind.
fn bind(path: &Path) -> Result<(UnixListener, MadeSocket), BindFault> {
    if let Some(folder) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(folder)?;
    }
    if is_socket(path)? && is_answered(path)? {
        return Err(BindFault::InUse);
    }
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    if is_socket(&new)? {
        fs::remove_file(&new)?;
    }
    let listener = UnixListener::bind(&new)?;
    // Who may do what is decided by the kernel's word for who it is.
    fs::set_permissions(&new, Permissions::from_mode(0o666))?;
    let bound = fs::symlink_metadata(&new)?;
    fs::rename(&new, path)?;
    let made = MadeSocket {
        path: path.to_owned(),
        device: bound.dev(),
        inode: bound.ino(),
    };
    Ok((listener, made))
}

/// False when nothing is there. Anything but a socket may be somebody's file.
fn is_socket(path: &Path) -> Result<bool, BindFault> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => Ok(true),
        Ok(_) => Err(BindFault::NoSocket(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// True when a program listens at the socket.
fn is_answered(path: &Path) -> Result<bool, BindFault> {
    // A program that listens and does not accept must not keep this one waiting.
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match connect(&socket, &SocketAddrUnix::new(path)?) {
        Ok(()) | Err(Errno::AGAIN) => Ok(true),
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn options(socket: &Path, control: &Path) -> AgentOptions {
        AgentOptions {
            socket: socket.to_owned(),
            control: control.to_owned(),
            config: PathBuf::new(),
        }
    }

    fn refused(options: &AgentOptions) -> Failure {
        Sockets::open(options).err().expect("a failure")
    }

    #[test]
    fn a_socket_replaces_that_of_another_run_and_all_users_can_reach_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/agent");
        let (first, made) = bind(&path).unwrap();
        std::mem::forget(made);
        drop(first);
        let _second = bind(&path).unwrap();
        assert!(UnixStream::connect(&path).is_ok());
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o666);
        assert_eq!(fs::read_dir(folder.path().join("run")).unwrap().count(), 1);
    }

    #[test]
    fn the_sockets_of_an_agent_that_answers_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let [agent, control] = ["agent", "control"].map(|name| folder.path().join(name));
        let first = Sockets::open(&options(&agent, &control)).unwrap();
        let other = folder.path().join("other");
        for second in [options(&agent, &other), options(&other, &control)] {
            let failure = refused(&second);
            assert_eq!(failure.exit(), EX_CANTCREAT);
            let text = failure.to_string();
            assert!(text.contains("another agent answers there"), "{text}");
            assert!(!other.exists());
        }
        for path in [&agent, &control] {
            assert!(UnixStream::connect(path).is_ok(), "{path:?}");
        }
        drop(first);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_is_no_socket_is_neither_replaced_nor_removed() {
        let folder = tempfile::tempdir().unwrap();
        let [agent, control] = ["agent", "control"].map(|name| folder.path().join(name));
        for name in ["agent", "control", "agent.new", "control.new"] {
            let file = folder.path().join(name);
            fs::write(&file, "precious").unwrap();
            let failure = refused(&options(&agent, &control));
            assert_eq!(failure.exit(), EX_CANTCREAT);
            let expected = format!("{} exists and is no socket", file.display());
            assert!(failure.to_string().contains(&expected), "{failure}");
            assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
            fs::remove_file(&file).unwrap();
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{name}");
        }
        let failure = refused(&options(&agent, &agent));
        assert_eq!(failure.exit(), EX_USAGE);
    }

    #[test]
    fn a_socket_that_has_taken_the_place_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent");
        let (_listener, made) = bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        drop(made);
        assert!(UnixStream::connect(&path).is_ok());
    }
}
