//! Files of this machine that decide about its next boot, wherever its image is made: client.conf, the options of the
//! plugin runner, and the program for the image. Only reads.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nightlatch_console::failure::{EX_CONFIG, EX_IOERR, EX_UNAVAILABLE, Failure, note};
use nightlatch_core::connect::Target;
use nightlatch_core::remembered_servers;
use nightlatch_core::settings::machine::{self, MachineSettings};
use nightlatch_core::settings::{SettingsError, text};

use rustix::fs::OFlags;

use crate::accounts::{self, NOBODY};

/// The machine's settings.
pub(crate) const CLIENT_CONF: &str = "etc/nightlatch/client.conf";

/// The program for the image, on the machine.
const PROGRAM: &str = "nightlatch-boot";

/// Folders of the program when it is not beside this one.
const PROGRAM_FOLDERS: [&str; 2] = ["usr/sbin", "usr/local/sbin"];

/// The settings of the plugin runner, on the machine and in the image.
pub(crate) const RUNNER_CONF: &str = "plugin-runner.conf";

/// True when initramfs-tools makes the images of the machine below `root`.
pub(crate) fn has_initramfs_tools(root: &Path) -> bool {
    root.join("usr/sbin/update-initramfs").exists()
}

/// Reads client.conf, adds its warnings to `remarks`, and prints its faults.
///
/// # Errors
/// When it cannot be read or has faults.
pub(crate) fn settings(root: &Path, remarks: &mut Vec<String>) -> Result<MachineSettings, Failure> {
    let path = root.join(CLIENT_CONF);
    let Some(bytes) = read(&path)? else {
        return Ok(MachineSettings::default());
    };
    let file = path.display().to_string();
    let parsed = text(&file, &bytes)
        .map_err(|error| vec![error])
        .and_then(|text| machine::parse(&file, text));
    let parsed = parsed.map_err(|errors: Vec<SettingsError>| {
        errors.iter().for_each(note);
        Failure::new(EX_CONFIG, format!("{file} cannot be used"))
            .hint("correct the faults above; man 5 client.conf explains it")
    })?;
    for warning in &parsed.warnings {
        remarks.push(warning.to_string());
    }
    Ok(parsed.value)
}

/// The options of the plugin runner, as the image has them.
pub(crate) fn runner_options(root: &Path, remarks: &mut Vec<String>) -> Result<String, Failure> {
    let owner = accounts::owner(root);
    let mut runner = String::new();
    if owner != NOBODY {
        runner = format!("--userid={}\n--groupid={}\n", owner.user, owner.group);
    }
    let [ours, mandos] =
        ["etc/nightlatch", "etc/mandos"].map(|folder| root.join(folder).join(RUNNER_CONF));
    let (path, bytes) = match read(&ours)? {
        Some(bytes) => (ours, Some(bytes)),
        None => (mandos.clone(), read(&mandos)?),
    };
    if let Some(bytes) = bytes {
        let text = String::from_utf8(bytes)
            .map_err(|error| cannot_read(&path, io::Error::other(error)))?;
        if path == mandos && has_content(&text) {
            let shown = path.display();
            remarks.push(format!(
                "/etc/nightlatch/{RUNNER_CONF} is missing: taking {shown}"
            ));
        }
        if has_content(&text) {
            runner.push_str(&text);
        }
    }
    Ok(runner)
}

/// The program for the image: the one that was installed with this one.
pub(crate) fn program(root: &Path) -> Result<PathBuf, Failure> {
    let own = std::env::current_exe()
        .ok()
        .filter(|_| root == Path::new("/"));
    let beside = own.as_deref().and_then(Path::parent).map(PathBuf::from);
    let folders = PROGRAM_FOLDERS.map(|folder| root.join(folder));
    let mut places = beside.into_iter().chain(folders);
    places
        .find_map(|folder| Some(folder.join(PROGRAM)).filter(|program| program.is_file()))
        .ok_or_else(|| {
            Failure::new(
                EX_UNAVAILABLE,
                format!("{PROGRAM} is not installed on this machine"),
            )
            .hint("install the package nightlatch-client")
        })
}

/// The servers that the agent remembers in the file at `path`; none without it. The file is the agent's: whatever is there
/// in its place is not waited for, and no link is followed.
pub(crate) fn remembered_servers(path: &Path) -> io::Result<Vec<Target>> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened?,
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("expected a file"));
    }
    let mut bytes = Vec::new();
    let limit = u64::try_from(remembered_servers::MAX_BYTES).unwrap_or(u64::MAX);
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(remembered_servers::parse(&String::from_utf8_lossy(&bytes)))
}

/// The text of a file; none when it does not exist.
fn read(path: &Path) -> Result<Option<Vec<u8>>, Failure> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(cannot_read(path, error)),
    }
}

fn cannot_read(path: &Path, error: io::Error) -> Failure {
    Failure::new(EX_IOERR, format!("cannot read {}", path.display())).because(error)
}

/// True when there is anything but comments.
fn has_content(text: &str) -> bool {
    let lines = text.lines().filter_map(|line| line.split('#').next());
    lines.into_iter().any(|line| !line.trim().is_empty())
}
