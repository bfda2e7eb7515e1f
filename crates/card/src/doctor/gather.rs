//! Gathers the facts for the doctor. Decides nothing; what cannot be read is not there.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nightlatch_console::failure::Failure;
use nightlatch_core::digits;
use nightlatch_core::settings::card::{self, CardSettings};

use super::facts::{AgentFault, ConfFacts, DoctorFacts, GnupgFacts, OwnedFile, ProcessFact};
use super::rules::CARD_PROGRAMS;
use crate::cli::{CONFIG, DoctorOptions};
use crate::commands;
use crate::pcscd_access::PcscdAccess;

/// The folders with the links of units that are enabled.
const ENABLED: [&str; 2] = [
    "etc/systemd/system/nightlatch-card.socket.wants",
    "etc/systemd/system/nightlatch-card.service.wants",
];

/// GnuPG's program for cards, in Debian's place and in that of others.
const SCDAEMON: [&str; 2] = ["usr/lib/gnupg/scdaemon", "usr/libexec/scdaemon"];

pub(super) fn facts(options: &DoctorOptions) -> DoctorFacts {
    let root = Path::new("/");
    let agent = commands::ask(&options.control.control);
    DoctorFacts {
        pcscd: PcscdAccess::look(),
        conf: conf(&options.config),
        agent: agent.map_err(|failure: Failure| AgentFault {
            text: failure.to_string(),
            hint: failure.hint_text(),
        }),
        agent_socket: options.socket.clone(),
        ssh_auth_sock: env::var_os("SSH_AUTH_SOCK").map(PathBuf::from),
        processes: processes(root),
        gnupg: gnupg_folders().iter().filter_map(|it| gnupg(it)).collect(),
        has_scdaemon: SCDAEMON.iter().any(|it| root.join(it).exists()),
        unlocks: unlocks(root),
    }
}

fn conf(path: &Path) -> ConfFacts {
    let settings = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && path == Path::new(CONFIG) => {
            Ok(CardSettings::default())
        }
        Err(error) => Err(format!("cannot read {}: {error}", path.display())),
        Ok(text) => match card::parse(&path.display().to_string(), &text) {
            Ok(parsed) => Ok(parsed.value),
            Err(errors) => Err(errors
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; ")),
        },
    };
    let files = [Some(path), path.parent()].into_iter().flatten();
    let owners = files.filter_map(|path| {
        let about = fs::metadata(path).ok()?;
        Some(OwnedFile {
            path: path.to_owned(),
            owner: about.uid(),
            mode: about.mode() & 0o7777,
        })
    });
    ConfFacts {
        path: path.to_owned(),
        settings,
        owners: owners.collect(),
    }
}

/// The processes with a name that the rules know.
fn processes(root: &Path) -> Vec<ProcessFact> {
    let entries = fs::read_dir(root.join("proc")).into_iter().flatten();
    let read = |entry: io::Result<fs::DirEntry>| {
        let folder = entry.ok()?.path();
        let id = digits::decimal(folder.file_name()?.to_str()?)?;
        let name = fs::read_to_string(folder.join("comm")).ok()?;
        let name = name.trim_end().to_owned();
        let is_known = CARD_PROGRAMS.contains(&name.as_str());
        let user = fs::metadata(&folder).ok()?.uid();
        is_known.then_some(ProcessFact { name, id, user })
    };
    entries.filter_map(read).collect()
}

/// GnuPG's folders of the caller and of root, whose jobs they are.
fn gnupg_folders() -> Vec<PathBuf> {
    let own = env::var_os("GNUPGHOME").map(PathBuf::from);
    let home = env::var_os("HOME").map(|home| Path::new(&home).join(".gnupg"));
    let mut folders: Vec<PathBuf> = own.or(home).into_iter().collect();
    folders.push(PathBuf::from("/root/.gnupg"));
    folders.sort();
    folders.dedup();
    folders
}

fn gnupg(folder: &Path) -> Option<GnupgFacts> {
    fs::metadata(folder).ok().filter(fs::Metadata::is_dir)?;
    let has = |file: &str, option: &str| {
        let text = fs::read_to_string(folder.join(file)).unwrap_or_default();
        // Dashes before an option are allowed in GnuPG's files.
        let mut words = text
            .lines()
            .filter_map(|line| line.split_whitespace().next());
        words.any(|word| word.trim_start_matches('-') == option)
    };
    Some(GnupgFacts {
        folder: folder.to_owned(),
        ssh_support: has("gpg-agent.conf", "enable-ssh-support"),
        disable_ccid: has("scdaemon.conf", "disable-ccid"),
    })
}

fn unlocks(root: &Path) -> Vec<String> {
    let instance = |name: &OsStr| {
        let name = name.to_str()?.strip_prefix("nightlatch-card-unlock@")?;
        Some(name.strip_suffix(".service")?.to_owned())
    };
    let folders = ENABLED.iter().flat_map(|it| fs::read_dir(root.join(it)));
    let names = folders.flatten().filter_map(Result::ok);
    let mut found: Vec<String> = names
        .filter_map(|entry| instance(&entry.file_name()))
        .collect();
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_processes_and_folders_of_gnupg_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for wants in ENABLED {
            let wants = root.join(wants);
            fs::create_dir_all(&wants).unwrap();
            for name in ["nightlatch-card-unlock@d276.service", "other.service"] {
                fs::write(wants.join(name), "").unwrap();
            }
        }
        assert_eq!(unlocks(root), ["d276"]);
        for (id, name) in [
            ("12", "scdaemon\n"),
            ("13", "sshd\n"),
            ("self", "scdaemon\n"),
        ] {
            let process = root.join("proc").join(id);
            fs::create_dir_all(&process).unwrap();
            fs::write(process.join("comm"), name).unwrap();
        }
        let found = processes(root);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].id, found[0].name.as_str()), (12, "scdaemon"));
        assert!(gnupg(&root.join("missing")).is_none());
        fs::write(root.join("gpg-agent.conf"), "#enable-ssh-support\n").unwrap();
        fs::write(root.join("scdaemon.conf"), "  --disable-ccid  # why\n").unwrap();
        let found = gnupg(root).unwrap();
        assert_eq!((found.ssh_support, found.disable_ccid), (false, true));
        fs::write(root.join("gpg-agent.conf"), "enable-ssh-support").unwrap();
        assert!(gnupg(root).unwrap().ssh_support);
    }

    #[test]
    fn a_file_that_is_wrong_is_told_with_all_its_faults() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("card.conf");
        let missing = conf(&path);
        assert!(missing.settings.unwrap_err().contains("cannot read"));
        assert_eq!(missing.owners.len(), 1);
        fs::write(&path, "[card]\ncard = 1\nkey = 2\n").unwrap();
        let wrong = conf(&path);
        let said = wrong.settings.unwrap_err();
        assert!(
            said.contains("card.conf:2") && said.contains("card.conf:3"),
            "{said}"
        );
        assert_eq!(wrong.owners.len(), 2);
    }
}
