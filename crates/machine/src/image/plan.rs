//! The plan: pure data, no content of any key.

use std::path::{Path, PathBuf};

use crate::accounts::Owner;

/// Our folder in an image. Only the program, and what plugins expect, are elsewhere.
pub(crate) const FOLDER: &str = "/conf/conf.d/nightlatch";

/// Our part of a boot image.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct ImagePlan {
    /// Folders that need a mode or an owner of their own, outer ones first.
    pub(crate) directories: Vec<PlannedDirectory>,
    /// Files that are written as they are.
    pub(crate) files: Vec<PlannedFile>,
    pub(crate) links: Vec<PlannedLink>,
    /// Programs, to be copied with the shared libraries they need.
    pub(crate) programs: Vec<Program>,
    /// Kernel modules to be loaded before the network is used.
    pub(crate) modules: Vec<String>,
    /// Notes for the administrator: what was left out, and what was taken from elsewhere.
    pub(crate) remarks: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PlannedDirectory {
    /// Absolute path in the image.
    pub(crate) path: String,
    pub(crate) mode: u32,
    pub(crate) owner: Owner,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PlannedFile {
    /// Absolute path in the image.
    pub(crate) path: String,
    pub(crate) source: FileSource,
    pub(crate) mode: u32,
    pub(crate) owner: Owner,
}

/// The content of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum FileSource {
    /// The same as in this file of the machine.
    Copy(PathBuf),
    /// A text made for the image. Never a key.
    Text(String),
}

/// A symbolic link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PlannedLink {
    /// Absolute path in the image.
    pub(crate) path: String,
    pub(crate) target: String,
}

/// A program, or anything else that may need shared libraries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Program {
    /// Absolute path in the image.
    pub(crate) path: String,
    /// Path on the machine.
    pub(crate) source: PathBuf,
}

impl ImagePlan {
    /// Adds a text of ours, for everybody in the image to read, in [`FOLDER`].
    pub(crate) fn add_text(&mut self, name: &str, text: String) {
        self.files.push(PlannedFile {
            path: format!("{FOLDER}/{name}"),
            source: FileSource::Text(text),
            mode: 0o644,
            owner: Owner::ROOT,
        });
    }

    /// Adds a folder of root's.
    pub(crate) fn add_directory(&mut self, path: &str, mode: u32) {
        self.directories.push(PlannedDirectory {
            path: path.to_owned(),
            mode,
            owner: Owner::ROOT,
        });
    }

    /// Adds a program, unless something is to be there already.
    pub(crate) fn add_program(&mut self, path: String, source: PathBuf) {
        if !self.has(&path) {
            self.programs.push(Program { path, source });
        }
    }

    /// Adds a kernel module once.
    pub(crate) fn add_module(&mut self, name: &str) {
        if !self.modules.iter().any(|known| known == name) {
            self.modules.push(name.to_owned());
        }
    }

    /// Adds a remark.
    pub(crate) fn remark(&mut self, text: impl Into<String>) {
        self.remarks.push(text.into());
    }

    /// True when the plan has something at this path of the image.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.files.iter().any(|file| file.path == path)
            || self.links.iter().any(|link| link.path == path)
            || self.programs.iter().any(|program| program.path == path)
    }
}

/// A path of the machine as a path of the image, where it can be said in a line to a shell's script.
pub(crate) fn printable_path(path: &Path) -> Option<&str> {
    path.to_str()
        .filter(|path| !path.contains(char::is_control))
}
