//! What goes into the image: every path with its mode, its owner and where it comes from.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::hooks;
use super::host::{self, Host};
use crate::failure::{EX_IOERR, EX_NOINPUT, Failure};
use crate::keys::{FILES, TRUSTED};

/// Where ours is in the image. The client looks there first.
pub(crate) const FOLDER: &str = "conf/conf.d/nightlatch";
/// The boot client in the image.
const PROGRAM: &str = "usr/bin/nightlatch-boot";
/// Where plugins, their helpers and network hooks are in the image: where Mandos has them, and programs
/// that were made for it look.
const PLUGINS: &str = "lib/mandos/plugins.d";
const HELPERS: &str = "lib/mandos/plugin-helpers";
pub(super) const HOOKS: &str = "lib/mandos/network-hooks.d";

/// The applets that a plugin runner starts, by the names that options of Mandos's users give them.
const APPLETS: [&str; 6] = [
    "askpass-fifo",
    "mandos-client",
    "password-prompt",
    "plymouth",
    "splashy",
    "usplash",
];

/// Whom plugins run as and keys belong to in the image: the owner of nothing (plugin-runner(8mandos),
/// `--userid`). It needs no entry in a passwd(5).
const NOBODY: u32 = 65534;

/// The first bytes of a program that has libraries (elf(5)).
const ELF: &[u8] = b"\x7fELF";

/// What a path in the image is.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Content {
    /// A folder.
    Folder,
    /// A symbolic link to this.
    Link(PathBuf),
    /// A copy of this file.
    File(PathBuf),
    /// A copy of this program, with the libraries that it needs: for the image's builder to find.
    Program(PathBuf),
    /// These lines. Never secret.
    Text(String),
}

/// A path in the image.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub(crate) struct Entry {
    /// From the image's root, without a slash in front.
    pub(crate) path: PathBuf,
    /// Its permissions. A link has none, and a program those that the image's builder gives it.
    pub(crate) mode: u32,
    /// Its owner and group, by number.
    pub(crate) owner: u32,
    /// What it is.
    pub(crate) content: Content,
}

/// All of it. Folders stand before what is in them.
#[derive(Debug, Serialize)]
pub(crate) struct Plan {
    /// Every path.
    pub(crate) entries: Vec<Entry>,
    /// Kernel modules beside the drivers of network interfaces, which every image with a network has.
    pub(crate) modules: Vec<String>,
    /// What the administrator should know.
    #[serde(skip)]
    pub(crate) doubts: Vec<String>,
}

impl Plan {
    /// What belongs into an image of this machine.
    pub(crate) fn of(host: &Host) -> Result<Self, Failure> {
        let mut plan = Self {
            entries: Vec::new(),
            modules: vec!["ipv6".to_owned()],
            doubts: Vec::new(),
        };
        plan.add_program(host)?;
        plan.add_configuration(host)?;
        for (place, folder, mode, owner) in [
            (host::PLUGINS, PLUGINS, 0o700, 0),
            // Helpers are started by plugins.
            (host::HELPERS, HELPERS, 0o700, NOBODY),
        ] {
            plan.add_folder(folder, mode, owner);
            for file in programs(&host.place(place))? {
                plan.add_executable(&file, folder);
            }
        }
        for applet in APPLETS {
            // A plugin of the administrator's own takes the place of ours.
            let path = Path::new(PLUGINS).join(applet);
            if plan.entry(&path).is_none() {
                plan.add(path, 0o777, Content::Link(Path::new("/").join(PROGRAM)));
            }
        }
        plan.add_folder(HOOKS, 0o755, 0);
        hooks::add(host, &mut plan)?;
        Ok(plan)
    }

    /// What the plan has at `path`.
    pub(crate) fn entry(&self, path: &Path) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.path == path)
    }

    fn add_program(&mut self, host: &Host) -> Result<(), Failure> {
        let program = host.program();
        if !program.is_file() {
            let what = format!("there is no boot client at {}", program.display());
            return Err(Failure::new(EX_NOINPUT, what).hint(
                "install the package nightlatch-client, or name the program with --program",
            ));
        }
        self.add(PROGRAM.into(), 0o755, Content::Program(program.to_owned()));
        Ok(())
    }

    fn add_configuration(&mut self, host: &Host) -> Result<(), Failure> {
        let keys = host.keys();
        if !keys.holds_any() {
            let what = format!("this machine has no keys in {}", keys.path().display());
            return Err(Failure::new(EX_NOINPUT, what)
                .hint("`nightlatch enroll DEVICE...` makes them and gives a disk a key"));
        }
        // Half a set is found out here and not in the initramfs.
        let set = keys.load()?;
        drop(set);
        self.add_folder(FOLDER, 0o700, NOBODY);
        let optional = Some(TRUSTED).filter(|name| keys.path().join(name).is_file());
        for name in FILES.into_iter().chain(optional) {
            self.entries.push(Entry {
                path: Path::new(FOLDER).join(name),
                mode: 0o400,
                owner: NOBODY,
                content: Content::File(keys.path().join(name)),
            });
        }
        let runner = host.place(host::RUNNER_CONF);
        if runner.is_file() {
            let path = Path::new(FOLDER).join("plugin-runner.conf");
            self.add(path, 0o444, Content::File(runner));
        }
        let settings = host.settings()?;
        let doubts = settings.warnings.iter().map(ToString::to_string);
        self.doubts.extend(doubts);
        let options = settings.value.client_options();
        if !options.is_empty() {
            let path = Path::new(FOLDER).join("client.options");
            self.add(path, 0o444, Content::Text(options.join("\n") + "\n"));
        }
        Ok(())
    }

    /// One of root's.
    pub(super) fn add(&mut self, path: PathBuf, mode: u32, content: Content) {
        self.entries.push(Entry {
            path,
            mode,
            owner: 0,
            content,
        });
    }

    fn add_folder(&mut self, path: &str, mode: u32, owner: u32) {
        self.entries.push(Entry {
            path: path.into(),
            mode,
            owner,
            content: Content::Folder,
        });
    }

    /// A program of the administrator's own, under its own name.
    pub(super) fn add_executable(&mut self, file: &Path, folder: &str) {
        let Some(name) = file.file_name() else {
            return;
        };
        let content = match is_elf(file) {
            true => Content::Program(file.to_owned()),
            false => Content::File(file.to_owned()),
        };
        self.add(Path::new(folder).join(name), 0o755, content);
    }
}

/// Whether a file is a program with libraries. What cannot be read is found out when it is copied.
pub(super) fn is_elf(file: &Path) -> bool {
    let mut start = [0; ELF.len()];
    fs::File::open(file)
        .and_then(|mut file| file.read_exact(&mut start))
        .is_ok_and(|()| start == ELF)
}

/// The executable files of a folder, by name; none where there is no folder. What an editor or a package
/// manager left behind is none.
pub(super) fn programs(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |error: io::Error| {
        Failure::new(EX_IOERR, format!("cannot read {}", folder.display())).because(error)
    };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let executable = fs::metadata(&path)
            .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0);
        if executable && name.is_some_and(is_a_name) {
            found.push(path);
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn is_a_name(name: &str) -> bool {
    const LEFT_BEHIND: [&str; 5] = ["~", ".dpkg-new", ".dpkg-old", ".dpkg-bak", ".dpkg-divert"];
    let in_hashes = name.len() > 1 && name.starts_with('#') && name.ends_with('#');
    // What stands in a list of tabs and lines has neither.
    let plain = !name.contains(|letter: char| letter.is_control());
    plain
        && !name.starts_with('.')
        && !in_hashes
        && !LEFT_BEHIND.iter().any(|end| name.ends_with(end))
}
