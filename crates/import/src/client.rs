//! A stock client: its keys, and what goes into its image beside them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nightlatch_console::failure::{EX_IOERR, Failure};
use nightlatch_core::key_id::KeyId;

use super::files::{self, below, make_folder, put_in_place, write_new};
use super::report::ImportReport;

/// Key folders of mandos-keygen(8), of today and of earlier versions.
const KEYS: [&str; 2] = ["/etc/keys/mandos", "/etc/mandos/keys"];
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

/// Folders with the keys of a client. What they consist of is known to the crate of the machine.
pub trait KeyFolders {
    /// True when at least one key file is in `folder`.
    fn holds_any(&self, folder: &Path) -> bool;

    /// The key id of the keys in `folder`, which are only read.
    ///
    /// # Errors
    /// When they cannot be read or do not belong together.
    fn key_id(&self, folder: &Path) -> Result<KeyId, Failure>;

    /// Copies the keys in `from` to `to`. Keys that are there already are an error, or replaced with `replace`.
    ///
    /// # Errors
    /// When a file cannot be read or made.
    fn copy(&self, from: &Path, to: &Path, replace: bool) -> Result<(), Failure>;
}

/// The steps of the import of a client.
pub(crate) struct ClientPlan {
    keys: PathBuf,
    our_keys: PathBuf,
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
fn keys(from: &Path, key_folders: &dyn KeyFolders) -> Option<PathBuf> {
    KEYS.into_iter()
        .map(|place| below(from, place.as_ref()))
        .find(|folder| key_folders.holds_any(folder))
}

impl ClientPlan {
    /// Reads everything and tells it; changes nothing. `None` where there is no client.
    pub(crate) fn new(
        from: &Path,
        to: &Path,
        key_folders: &dyn KeyFolders,
        report: &mut ImportReport,
    ) -> Result<Option<Self>, Failure> {
        let Some(keys) = keys(from, key_folders) else {
            return Ok(None);
        };
        report.heading(format_args!("Mandos client in {}", from.display()));
        let key_id = key_folders.key_id(&keys)?;
        let our_keys = below(to, OUR_KEYS.as_ref());
        report.takes(&keys, &our_keys);
        report.detail(format_args!("key id {key_id}"));
        if keys.join(DH_PARAMETERS).exists() {
            let file = keys.join(DH_PARAMETERS);
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

    /// Files and folders that the import would overwrite.
    pub(crate) fn in_the_way(&self, key_folders: &dyn KeyFolders) -> Vec<PathBuf> {
        let places = self.copies.iter().filter_map(CopiedFile::place);
        let places = places.filter(|place| place.symlink_metadata().is_ok());
        let keys = Some(self.our_keys.clone()).filter(|folder| key_folders.holds_any(folder));
        keys.into_iter().chain(places).collect()
    }

    pub(crate) fn carry_out(
        &self,
        key_folders: &dyn KeyFolders,
        force: bool,
    ) -> Result<(), Failure> {
        key_folders.copy(&self.keys, &self.our_keys, force)?;
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
