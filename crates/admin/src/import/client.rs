//! A stock client: its keys and network hooks, and what its options mean here.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::files::{self, below, make_folder, put_in_place, write_new};
use super::report::Report;
use crate::failure::{EX_IOERR, Failure};
use crate::keys::{Directory, Existing};

/// Where mandos-keygen(8) makes keys, today and before.
const KEYS: [&str; 2] = ["/etc/keys/mandos", "/etc/mandos/keys"];
const RUNNER_CONF: &str = "/etc/mandos/plugin-runner.conf";
const HOOKS: &str = "/etc/mandos/network-hooks.d";
/// Programs of the administrator's own that a plugin runner would start.
const PLUGINS: [&str; 2] = ["/etc/mandos/plugins.d", "/etc/mandos/plugin-helpers"];

/// Ours.
const OUR_KEYS: &str = "/etc/nightlatch/keys";
const OUR_HOOKS: &str = "/etc/nightlatch/network-hooks.d";

/// Parameters for key exchanges that TLS 1.3 has not.
const DH_PARAMETERS: &str = "dhparams.pem";

/// What is to be done.
pub(crate) struct ClientPlan {
    keys: Directory,
    our_keys: Directory,
    hooks: Vec<PathBuf>,
    our_hooks: PathBuf,
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
        let (hooks, our_hooks) = (
            regular_files(&below(from, HOOKS.as_ref()))?,
            below(to, OUR_HOOKS.as_ref()),
        );
        for hook in &hooks {
            report.takes(hook, &our_hooks);
        }
        if !hooks.is_empty() {
            report.detail(format_args!(
                "to be used with nightlatch-boot client --network-hook-dir {OUR_HOOKS}"
            ));
        }
        runner_options(&below(from, RUNNER_CONF.as_ref()), report)?;
        for folder in PLUGINS {
            for plugin in regular_files(&below(from, folder.as_ref()))? {
                report.not_taken(format_args!(
                    "{}: nothing here runs plugins",
                    plugin.display()
                ));
            }
        }
        Ok(Some(Self {
            keys,
            our_keys,
            hooks,
            our_hooks,
        }))
    }

    /// What would be overwritten.
    pub(crate) fn in_the_way(&self) -> Vec<PathBuf> {
        let hooks = self.hooks.iter().filter_map(|hook| self.place_of(hook));
        let hooks = hooks.filter(|place| place.symlink_metadata().is_ok());
        let keys = self.our_keys.path().to_owned();
        let keys = Some(keys).filter(|_| self.our_keys.holds_any());
        keys.into_iter().chain(hooks).collect()
    }

    /// Does it.
    pub(crate) fn carry_out(&self, force: bool) -> Result<(), Failure> {
        let existing = if force {
            Existing::Replace
        } else {
            Existing::Refuse
        };
        self.our_keys.copy_from(&self.keys, existing)?;
        if !self.hooks.is_empty() {
            make_folder(&self.our_hooks, 0o755)?;
        }
        for hook in &self.hooks {
            let Some(place) = self.place_of(hook) else {
                continue;
            };
            let failed = |error| {
                Failure::new(EX_IOERR, format!("cannot read {}", hook.display())).because(error)
            };
            let mode = fs::metadata(hook).map_err(failed)?.mode() & 0o755;
            let new = self.our_hooks.join(".import-mandos");
            let _ = fs::remove_file(&new);
            write_new(&new, mode, &files::read(hook)?)?;
            put_in_place(&new, &place)?;
        }
        Ok(())
    }

    fn place_of(&self, hook: &Path) -> Option<PathBuf> {
        Some(self.our_hooks.join(hook.file_name()?))
    }
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

/// Tells what became of each option of plugin-runner(8mandos): white space separates them, and `#`
/// begins a comment.
fn runner_options(file: &Path, report: &mut Report) -> Result<(), Failure> {
    if !file.exists() {
        return Ok(());
    }
    let bytes = files::read(file)?;
    let text = String::from_utf8_lossy(&bytes);
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default();
        for option in line.split_whitespace() {
            let place = format!("{}:{number}: {option}", file.display());
            report.not_taken(match for_the_client(option) {
                Some(options) => format!("{place}: start nightlatch-boot client with {options}"),
                None => format!("{place}: nothing here runs plugins"),
            });
        }
    }
    Ok(())
}

/// The options that the boot client gets by an option of the plugin runner, as words.
fn for_the_client(option: &str) -> Option<String> {
    let options = option
        .strip_prefix("--options-for=mandos-client:")
        .or_else(|| option.strip_prefix("-omandos-client:"))
        .or_else(|| option.strip_prefix("--global-options="))
        .or_else(|| option.strip_prefix("-g"))?;
    Some(options.replace(',', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_the_boot_client_are_found_in_those_of_the_runner() {
        let connect = "--options-for=mandos-client:--connect=[::1]:4711,--retry=5";
        assert_eq!(
            for_the_client(connect).as_deref(),
            Some("--connect=[::1]:4711 --retry=5")
        );
        assert_eq!(for_the_client("-g--debug").as_deref(), Some("--debug"));
        assert_eq!(for_the_client("--disable=plymouth"), None);
        assert_eq!(for_the_client("--options-for=plymouth:--prompt=x"), None);
    }
}
