//! Helpers of the tests of all applets.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nightlatch_interop::process::RunningProgram;
use nightlatch_interop::programs::{Project, boot_client, stock_boot};
use tempfile::TempDir;

/// Both programs, for the tests that both must pass.
pub(crate) const BOTH: [Project; 2] = [Project::Ours, Project::Stock];

/// Our applet `name`.
pub(crate) fn applet(name: &str) -> Command {
    let mut command = Command::new(boot_client());
    command.arg(name);
    command
}

/// A plugin of either side, as a program.
pub(crate) fn plugin(project: Project, name: &str) -> Command {
    match project {
        Project::Ours => applet(name),
        Project::Stock => Command::new(stock_boot(&format!("plugins.d/{name}"))),
    }
}

/// Locked by tests that ask at a terminal, where nobody is asked while Plymouth runs, and by one that runs it
/// alone. A file, since each test has a process of its own.
fn screen() -> File {
    File::create(concat!(env!("CARGO_TARGET_TMPDIR"), "/screen")).unwrap()
}

/// No Plymouth of the tests runs as long as this is held.
#[must_use]
pub(crate) fn no_plymouth() -> File {
    let screen = screen();
    screen.lock_shared().unwrap();
    screen
}

/// Plymouth may run as long as this is held.
#[must_use]
pub(crate) fn plymouth_runs() -> File {
    let screen = screen();
    screen.lock().unwrap();
    screen
}

pub(crate) use nightlatch_test_support::is_root;

/// A file of the host that `unshare --fork` has made for a story.
pub(crate) fn inside(story: &RunningProgram, path: &str) -> PathBuf {
    let unshare = story.pid();
    let children = format!("/proc/{unshare}/task/{unshare}/children");
    let shell = std::fs::read_to_string(children).unwrap();
    Path::new("/proc")
        .join(shell.trim())
        .join("root")
        .join(path)
}

/// A directory of plugins.
pub(crate) struct Plugins {
    folder: TempDir,
}

impl Plugins {
    /// An empty one, beside a folder that every user can write to.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let plugins = Self { folder };
        for (path, mode) in [(".", 0o755), ("plugins.d", 0o755), ("open", 0o777)] {
            let path = plugins.folder.path().join(path);
            std::fs::create_dir_all(&path).unwrap();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        plugins
    }

    /// The directory itself.
    pub(crate) fn directory(&self) -> PathBuf {
        self.folder.path().join("plugins.d")
    }

    /// A path that plugins can write to.
    pub(crate) fn open(&self, name: &str) -> PathBuf {
        self.folder.path().join("open").join(name)
    }

    /// Adds a shell script.
    pub(crate) fn script(&self, name: &str, script: &str) -> &Self {
        let path = self.directory().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    /// Adds a link to a program.
    pub(crate) fn link(&self, name: &str, program: &Path) -> &Self {
        std::os::unix::fs::symlink(program, self.directory().join(name)).unwrap();
        self
    }

    /// A runner of these plugins.
    pub(crate) fn runner(&self, project: Project) -> Command {
        let mut command = match project {
            Project::Ours => applet("plugin-runner"),
            Project::Stock => Command::new(stock_boot("plugin-runner")),
        };
        command.arg("--plugin-dir").arg(self.directory());
        command.args(["--config-file", "/nonexistent"]);
        command
    }
}
