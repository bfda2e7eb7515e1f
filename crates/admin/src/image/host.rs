//! The machine whose image is made: where its files are, ours or else Mandos's.

use std::fs;
use std::path::{Path, PathBuf};

use nightlatch_core::chain::chain;
use nightlatch_core::settings::machine::{self, MachineSettings};
use nightlatch_core::settings::{Parsed, text};

use crate::failure::{EX_CONFIG, Failure};
use crate::import::files::{below, read};
use crate::keys::Directory;

/// The boot client, where packages put it.
const PROGRAM: &str = "/usr/sbin/nightlatch-boot";

/// The administrator's settings.
const SETTINGS: &str = "/etc/nightlatch/client.conf";

/// Where one kind of file is: ours, and Mandos's for a machine that has only those.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    ours: &'static str,
    mandos: &'static str,
}

pub(super) const RUNNER_CONF: Place = Place {
    ours: "/etc/nightlatch/plugin-runner.conf",
    mandos: "/etc/mandos/plugin-runner.conf",
};
pub(super) const PLUGINS: Place = Place {
    ours: "/etc/nightlatch/plugins.d",
    mandos: "/etc/mandos/plugins.d",
};
pub(super) const HELPERS: Place = Place {
    ours: "/etc/nightlatch/plugin-helpers",
    mandos: "/etc/mandos/plugin-helpers",
};
pub(super) const HOOKS: Place = Place {
    ours: "/etc/nightlatch/network-hooks.d",
    mandos: "/etc/mandos/network-hooks.d",
};

/// A machine, by the root of its file system.
#[derive(Debug)]
pub(crate) struct Host {
    root: PathBuf,
    program: PathBuf,
}

impl Host {
    /// The machine whose root is `root`, with its own boot client unless `program` is another.
    pub(crate) fn new(root: &Path, program: Option<&Path>) -> Self {
        let own = below(root, PROGRAM.as_ref());
        Self {
            root: root.to_owned(),
            program: program.map_or(own, Path::to_owned),
        }
    }

    /// `path`, which is absolute on that machine, as it is found from here.
    pub(super) fn find(&self, path: &Path) -> PathBuf {
        below(&self.root, path)
    }

    /// The boot client.
    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    /// The machine's keys. They need not exist.
    pub(super) fn keys(&self) -> Directory {
        Directory::default_under(&self.root)
    }

    /// The administrator's settings, and what is doubtful about them.
    pub(crate) fn settings(&self) -> Result<Parsed<MachineSettings>, Failure> {
        let file = self.find(SETTINGS.as_ref());
        if file.symlink_metadata().is_err() {
            return Ok(Parsed {
                value: MachineSettings::default(),
                warnings: Vec::new(),
            });
        }
        let name = file.display().to_string();
        let bytes = read(&file)?;
        let faults = match text(&name, &bytes).map_err(|error| vec![error]) {
            Ok(text) => match machine::parse(&name, text) {
                Ok(parsed) => return Ok(parsed),
                Err(faults) => faults,
            },
            Err(faults) => faults,
        };
        let told: Vec<String> = faults.iter().map(|fault| chain(fault)).collect();
        Err(Failure::new(EX_CONFIG, told.join("\n  ")))
    }

    /// Where this kind of file is; ours also when there is none.
    pub(super) fn place(&self, place: Place) -> PathBuf {
        let (ours, mandos) = (
            self.find(place.ours.as_ref()),
            self.find(place.mandos.as_ref()),
        );
        match is_filled(&ours) || !is_filled(&mandos) {
            true => ours,
            false => mandos,
        }
    }
}

/// A file, or a folder with something in it: our package makes empty folders.
fn is_filled(path: &Path) -> bool {
    match fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_some(),
        Err(_) => path.is_file(),
    }
}
