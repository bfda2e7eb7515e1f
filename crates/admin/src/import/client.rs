//! A stock client: its keys, and what goes into its image beside them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::files::{self, below, make_folder, put_in_place, write_new};
use super::report::Report;
use crate::failure::{EX_IOERR, Failure};
use crate::keys::{Directory, Existing};

/// Where mandos-keygen(8) makes keys, today and before.
const KEYS: [&str; 2] = ["/etc/keys/mandos", "/etc/mandos/keys"];
/// Where ours are.
const OUR_KEYS: &str = "/etc/nightlatch/keys";

/// Options of plugins and of their runner (plugin-runner(8mandos)); read here as they are.
const RUNNER_CONF: &str = "/etc/mandos/plugin-runner.conf";

/// Folders of programs: Mandos's, ours, and the mode of ours where it is made. Plugins are what sees the
/// password.
const PROGRAMS: [(&str, &str, u32); 3] = [
    (
        "/etc/mandos/network-hooks.d",
        "/etc/nightlatch/network-hooks.d",
        0o755,
    ),
    ("/etc/mandos/plugins.d", "/etc/nightlatch/plugins.d", 0o700),
    (
        "/etc/mandos/plugin-helpers",
        "/etc/nightlatch/plugin-helpers",
        0o700,
    ),
];

/// The folder of all that is ours.
const OUR_FOLDER: &str = "/etc/nightlatch";

/// Parameters for key exchanges that TLS 1.3 has not.
const DH_PARAMETERS: &str = "dhparams.pem";

/// What is to be done.
pub(crate) struct ClientPlan {
    keys: Directory,
    our_keys: Directory,
    copies: Vec<CopiedFile>,
}

/// A file that is copied as it is.
struct CopiedFile {
    from: PathBuf,
    folder: PathBuf,
    folder_mode: u32,
}

impl CopiedFile {
    fn place(&self) -> Option<PathBuf> {
        Some(self.folder.join(self.from.file_name()?))
    }

    fn carry_out(&self) -> Result<(), Failure> {
        let Some(place) = self.place() else {
            return Ok(());
        };
        make_folder(&self.folder, self.folder_mode)?;
        let failed = |error| {
            Failure::new(EX_IOERR, format!("cannot read {}", self.from.display())).because(error)
        };
        let mode = fs::metadata(&self.from).map_err(failed)?.mode() & 0o755;
        // Its name begins with a dot: neither a runner nor a hook's caller would start it.
        let new = self.folder.join(".import-mandos");
        let _ = fs::remove_file(&new);
        write_new(&new, mode, &files::read(&self.from)?)?;
        put_in_place(&new, &place)
    }
}

/// The keys of a stock client below `from`.
fn keys(from: &Path) -> Option<Directory> {
    KEYS.into_iter()
        .map(|place| Directory::new(&below(from, place.as_ref())))
        .find(Directory::holds_any)
}

impl ClientPlan {
    /// Reads everything and tells it; changes nothing. `None` where there is no client.
    pub(crate) fn new(
        from: &Path,
        to: &Path,
        report: &mut Report,
    ) -> Result<Option<Self>, Failure> {
        let Some(keys) = keys(from) else {
            return Ok(None);
        };
        report.heading(format_args!("Mandos client in {}", from.display()));
        let set = keys.read_set()?;
        let our_keys = Directory::new(&below(to, OUR_KEYS.as_ref()));
        report.takes(keys.path(), our_keys.path());
        report.detail(format_args!("key id {}", set.tls.key_id()));
        if keys.path().join(DH_PARAMETERS).exists() {
            let file = keys.path().join(DH_PARAMETERS);
            report.not_taken(format_args!(
                "{}: TLS 1.3 has no use for it",
                file.display()
            ));
        }
        let copies = copies(from, to)?;
        for copy in &copies {
            report.takes(&copy.from, &copy.folder);
        }
        Ok(Some(Self {
            keys,
            our_keys,
            copies,
        }))
    }

    /// What would be overwritten.
    pub(crate) fn in_the_way(&self) -> Vec<PathBuf> {
        let places = self.copies.iter().filter_map(CopiedFile::place);
        let places = places.filter(|place| place.symlink_metadata().is_ok());
        let keys = self.our_keys.path().to_owned();
        let keys = Some(keys).filter(|_| self.our_keys.holds_any());
        keys.into_iter().chain(places).collect()
    }

    /// Does it.
    pub(crate) fn carry_out(&self, force: bool) -> Result<(), Failure> {
        let existing = if force {
            Existing::Replace
        } else {
            Existing::Refuse
        };
        self.our_keys.copy_from(&self.keys, existing)?;
        self.copies.iter().try_for_each(CopiedFile::carry_out)
    }
}

/// All that is copied from below `from` to below `to`.
fn copies(from: &Path, to: &Path) -> Result<Vec<CopiedFile>, Failure> {
    let mut copies = Vec::new();
    for (theirs, ours, folder_mode) in PROGRAMS {
        for file in regular_files(&below(from, theirs.as_ref()))? {
            copies.push(CopiedFile {
                from: file,
                folder: below(to, ours.as_ref()),
                folder_mode,
            });
        }
    }
    let conf = below(from, RUNNER_CONF.as_ref());
    if conf.exists() {
        copies.push(CopiedFile {
            from: conf,
            folder: below(to, OUR_FOLDER.as_ref()),
            folder_mode: 0o755,
        });
    }
    Ok(copies)
}

/// The regular files in a folder, by name; none where there is no folder.
fn regular_files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry
            .map_err(|error| {
                Failure::new(EX_IOERR, format!("cannot read {}", folder.display())).because(error)
            })?
            .path();
        if path.is_file() {
            found.push(path);
        }
    }
    found.sort_unstable();
    Ok(found)
}
