//! Folders of programs that others have made: plugins, their helpers, network hooks.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::plan::{ImagePlan, printable_path};
use nightlatch_console::failure::{EX_IOERR, Failure};
use nightlatch_sys::trusted::Executable;

/// Names that editors and package managers leave behind (plugin-runner(8mandos), FILES).
const LEFT_BEHIND: [&str; 5] = ["~", ".dpkg-new", ".dpkg-old", ".dpkg-bak", ".dpkg-divert"];

/// The name of our client among plugins.
pub(super) const CLIENT: &str = "mandos-client";

/// A file in one of the folders.
pub(super) struct CandidateFile {
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) about: Metadata,
}

impl CandidateFile {
    pub(super) fn is_executable(&self) -> bool {
        self.about.mode() & 0o111 != 0
    }

    /// The reason for leaving it out: somebody other than root can change it. The client would refuse it too.
    pub(super) fn distrust(&self) -> Option<String> {
        let user = rustix::process::geteuid().as_raw();
        let error = Executable::open(&self.path, user).err()?;
        Some(format!("left out {}: {error}", self.path.display()))
    }
}

/// The files of the first of `folders` (below `root`) that has any, in the order of their names. A
/// folder of Mandos's is remarked on.
pub(super) fn first_filled(
    plan: &mut ImagePlan,
    root: &Path,
    folders: [&str; 2],
) -> Result<Vec<CandidateFile>, Failure> {
    let [ours, mandos] = folders;
    let own = files(plan, &root.join(ours))?;
    if !own.is_empty() {
        return Ok(own);
    }
    let others = files(plan, &root.join(mandos))?;
    if !others.is_empty() {
        plan.remark(format!("/{ours} has none: taking those of /{mandos}"));
    }
    Ok(others)
}

fn files(plan: &mut ImagePlan, folder: &Path) -> Result<Vec<CandidateFile>, Failure> {
    let failed =
        |error| Failure::new(EX_IOERR, format!("cannot read {}", folder.display())).because(error);
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let names: Result<Vec<OsString>, _> = entries.map(|entry| Ok(entry?.file_name())).collect();
    let mut names = names.map_err(failed)?;
    names.sort();
    let mut found = Vec::new();
    for name in names {
        let path = folder.join(&name);
        let Some(name) = printable_path(Path::new(&name)) else {
            plan.remark(format!("left out {path:?}: expected a name that is text"));
            continue;
        };
        // A link that leads nowhere is told of, everything else that is no file is none of ours.
        match fs::metadata(&path) {
            Ok(about) if about.is_file() && is_kept(name) => found.push(CandidateFile {
                name: name.to_owned(),
                path,
                about,
            }),
            Ok(_) => {}
            Err(error) => plan.remark(format!("left out {}: {error}", path.display())),
        }
    }
    Ok(found)
}

fn is_kept(name: &str) -> bool {
    let in_hashes = name.len() > 1 && name.starts_with('#') && name.ends_with('#');
    let left_behind = LEFT_BEHIND.iter().any(|end| name.ends_with(end));
    !name.starts_with('.') && !in_hashes && !left_behind
}

/// Adds the plugins of the administrator, or their helpers, to the folder `place` of the image.
pub(super) fn add(
    plan: &mut ImagePlan,
    root: &Path,
    folders: [&str; 2],
    place: &str,
) -> Result<(), Failure> {
    let found = first_filled(plan, root, folders)?;
    if !found.is_empty() {
        plan.add_directory(place, 0o755);
    }
    for one in found {
        let shown = one.path.display();
        if !one.is_executable() {
            plan.remark(format!("left out {shown}: expected an executable file"));
        } else if let Some(why) = one.distrust() {
            plan.remark(why);
        } else {
            plan.add_program(format!("{place}/{}", one.name), one.path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_are_no_programs() {
        for bad in [".x", "#x#", "x~", "x.dpkg-old"] {
            assert!(!is_kept(bad), "{bad}");
        }
        for good in ["x", "#x", "x.dpkg", "mandos-client", "#"] {
            assert!(is_kept(good), "{good}");
        }
    }
}
