//! Finds the files with clients in a configuration directory, and leaves out others in `clients.d`.
//!
//! Editors and package managers put files of their own beside those that they change. None of them has
//! clients, and none is a reason not to serve.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{CLIENTS_FILE, CLIENTS_FOLDER, ConfigFault};

/// Its target may be on a file system that is not mounted yet.
const DANGLING: &str = "a link that leads nowhere";

/// Files that are named when they are left out: a directory full of backups must not fill the log.
const NAMED: usize = 20;

/// The files with clients, and the files left out.
#[derive(Debug, Default)]
pub(super) struct ClientFiles {
    /// `clients.conf`, if there is one.
    pub(super) main: Option<PathBuf>,
    /// The files of `clients.d`, by name.
    pub(super) more: Vec<PathBuf>,
    /// The files of `clients.d` that are left out, a line each.
    pub(super) left_out: Vec<String>,
    /// True when a link is left out whose target may exist later.
    pub(super) is_dangling: bool,
}

/// Finds the files with clients in `folder`.
pub(super) fn client_files(folder: &Path) -> Result<ClientFiles, ConfigFault> {
    let mut files = ClientFiles::default();
    let main = folder.join(CLIENTS_FILE);
    // A dangling link is not the same as no file: its target may be back soon.
    match fs::symlink_metadata(&main) {
        Ok(_) => files.main = Some(main),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(ConfigFault::Unreadable { path: main, source }),
    }
    let more = folder.join(CLIENTS_FOLDER);
    let unreadable = |source| ConfigFault::Unreadable {
        path: more.clone(),
        source,
    };
    let entries = match fs::read_dir(&more) {
        Ok(entries) => entries,
        // A dangling link is a directory that may be back soon.
        Err(error)
            if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(&more).is_err() =>
        {
            return Ok(files);
        }
        Err(error) => return Err(unreadable(error)),
    };
    let mut left_out = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        match why_left_out(&path) {
            None => files.more.push(path),
            Some(why) => left_out.push((path, why)),
        }
    }
    files.more.sort_unstable();
    left_out.sort_unstable();
    files.is_dangling = left_out.iter().any(|(_, why)| *why == DANGLING);
    files.left_out = lines(&more, &left_out);
    Ok(files)
}

fn lines(folder: &Path, left_out: &[(PathBuf, &str)]) -> Vec<String> {
    let named = left_out.iter().take(NAMED);
    let mut lines: Vec<String> = named
        .map(|(path, why)| format!("{}: left out: {why}", path.display()))
        .collect();
    if let Some(more) = left_out.len().checked_sub(NAMED).filter(|more| *more > 0) {
        lines.push(format!(
            "{}: {more} more files are left out",
            folder.display()
        ));
    }
    lines
}

/// The reason to leave this entry of `clients.d` out, if there is one.
fn why_left_out(path: &Path) -> Option<&'static str> {
    let name = path.file_name().unwrap_or_default();
    if name.as_bytes().starts_with(b".") {
        return Some("a hidden file, such as an editor's lock or swap file");
    }
    if name.as_bytes().starts_with(b"#") || name.as_bytes().starts_with(b"~") {
        return Some("an editor's backup");
    }
    if path.extension() != Some(OsStr::new("conf")) {
        return Some("its name does not end in .conf");
    }
    match fs::metadata(path) {
        Ok(data) if data.is_file() => None,
        Ok(data) if data.is_dir() => Some("a folder"),
        Ok(_) => Some("neither a file nor a link to one"),
        Err(error) if is_dangling(path, &error) => Some(DANGLING),
        // Reading it reports the error.
        Err(_) => None,
    }
}

/// True for a link without a target; not for one into a directory that the server may not enter.
fn is_dangling(path: &Path, error: &io::Error) -> bool {
    error.kind() != io::ErrorKind::PermissionDenied
        && fs::symlink_metadata(path).is_ok_and(|data| data.is_symlink())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(CLIENTS_FOLDER)).unwrap();
        for name in names {
            fs::write(folder.path().join(CLIENTS_FOLDER).join(name), "").unwrap();
        }
        folder
    }

    fn found(folder: &Path) -> Vec<String> {
        let files = client_files(folder).unwrap();
        let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        files.more.iter().map(name).collect()
    }

    #[test]
    fn leftovers_of_editors_and_packages_are_left_out() {
        let leftovers = [
            ".#web1.conf",
            "#web1.conf#",
            "#web1.conf",
            "web1.conf~",
            ".web1.conf.swp",
            ".web1.conf",
            "web1.conf.dpkg-old",
            "web1.conf.dpkg-new",
            "web1.conf.rpmnew",
            "web1.conf.rpmsave",
            "web1.conf.bak",
            "web1.conf.ucf-dist",
            "~$web1.conf",
            "4913",
        ];
        let folder = folder(&leftovers);
        let inside = folder.path().join(CLIENTS_FOLDER);
        fs::write(inside.join("web1.conf"), "").unwrap();
        fs::create_dir(inside.join("old.conf")).unwrap();
        symlink("/nonexistent/web2.conf", inside.join("web2.conf")).unwrap();
        symlink("web3.conf", inside.join("web3.conf")).unwrap();
        symlink("web1.conf/under", inside.join("web4.conf")).unwrap();
        symlink("/dev/null", inside.join("web5.conf")).unwrap();
        symlink("web1.conf", inside.join("web6.conf")).unwrap();
        assert_eq!(found(folder.path()), ["web1.conf", "web6.conf"]);
        let left_out = client_files(folder.path()).unwrap().left_out;
        assert_eq!(left_out.len(), leftovers.len() + 5, "{left_out:#?}");
        assert!(
            left_out
                .iter()
                .any(|it| it.contains("web2.conf: left out: a link that leads nowhere"))
        );
    }

    #[test]
    fn a_folder_full_of_backups_does_not_fill_the_log() {
        let names: Vec<String> = (0..500).map(|number| format!("{number}.bak")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let left_out = client_files(folder(&names).path()).unwrap().left_out;
        assert_eq!(left_out.len(), NAMED + 1);
        assert!(left_out[NAMED].ends_with("480 more files are left out"));
    }

    #[test]
    fn a_dangling_link_is_not_the_same_as_no_file() {
        let folder = tempfile::tempdir().unwrap();
        symlink("/nonexistent/clients", folder.path().join(CLIENTS_FILE)).unwrap();
        assert!(client_files(folder.path()).unwrap().main.is_some());
        symlink("/nonexistent/d", folder.path().join(CLIENTS_FOLDER)).unwrap();
        assert!(client_files(folder.path()).is_err());
    }
}
