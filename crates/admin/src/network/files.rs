//! Which files of the host describe its network, and in which order they are read.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::found::{Found, Place, Weight};
use super::{ifupdown, netplan, networkd, networkmanager};
use crate::import::files::{below, read_whole};

/// More than anybody writes by hand.
const MAX_BYTES: usize = 1 << 20;
/// How deep `source` lines may go: who includes a file in itself is told so.
const MAX_DEPTH: usize = 16;

/// Everything that the files below `root` say. They are read in the order in which one that describes a
/// link already goes before one that does so again.
pub(super) fn all(root: &Path) -> Vec<Found> {
    let mut reader = Files {
        root,
        found: Found::default(),
    };
    let has_netplan = reader.netplan();
    let mut all = vec![std::mem::take(&mut reader.found)];
    reader.networkd(has_netplan);
    all.push(std::mem::take(&mut reader.found));
    reader.network_manager(has_netplan);
    all.push(std::mem::take(&mut reader.found));
    reader.ifupdown();
    all.push(reader.found);
    all
}

struct Files<'r> {
    root: &'r Path,
    found: Found,
}

/// A file's name for people, and its text, which may hold secrets.
type Text = (Arc<str>, Zeroizing<String>);

impl Files<'_> {
    /// Netplan's files are merged in the order of their names; of one name the first folder's counts
    /// (netplan-generate(8)). Tells whether there are any.
    fn netplan(&mut self) -> bool {
        let folders = [
            "/run/netplan",
            "/etc/netplan",
            "/lib/netplan",
            "/usr/lib/netplan",
        ];
        let names = self.by_name(&folders, |name| name.ends_with(".yaml"));
        let texts: Vec<Text> = names
            .into_values()
            .filter_map(|it| self.text(&it))
            .collect();
        let files: Vec<(Arc<str>, &str)> = borrowed(&texts);
        self.found.extend(netplan::read(&files));
        !files.is_empty()
    }

    /// Of one name the first folder's file counts, and drop-ins of all folders (systemd.network(5)).
    fn networkd(&mut self, netplan: bool) {
        let folders = [
            "/etc/systemd/network",
            "/run/systemd/network",
            "/usr/local/lib/systemd/network",
            "/usr/lib/systemd/network",
            "/lib/systemd/network",
        ];
        let is_ours = |name: &str| {
            let kind = name.rsplit_once('.').map(|(_, kind)| kind);
            let generated = netplan && name.contains("-netplan-");
            matches!(kind, Some("netdev" | "network" | "link")) && !generated
        };
        let mut texts: Vec<(String, Text)> = Vec::new();
        for (name, file) in self.by_name(&folders, is_ours) {
            let Some(text) = self.text(&file) else {
                continue;
            };
            // An empty file, or a link to /dev/null, takes those of other folders away.
            if text.1.trim().is_empty() {
                continue;
            }
            texts.push((name.clone(), text));
            let drop_ins = folders.map(|folder| format!("{folder}/{name}.d"));
            let drop_ins: Vec<&str> = drop_ins.iter().map(String::as_str).collect();
            for part in self
                .by_name(&drop_ins, |name| name.ends_with(".conf"))
                .into_values()
            {
                texts.extend(self.text(&part).map(|text| (name.clone(), text)));
            }
        }
        let files: Vec<(Arc<str>, &str, &str)> = texts
            .iter()
            .map(|(name, (file, text))| (Arc::clone(file), name.as_str(), text.as_str()))
            .collect();
        self.found.extend(networkd::read(&files));
    }

    fn network_manager(&mut self, netplan: bool) {
        let folders = [
            "/etc/NetworkManager/system-connections",
            "/run/NetworkManager/system-connections",
            "/usr/lib/NetworkManager/system-connections",
        ];
        let is_ours = |name: &str| {
            let left_over = name.starts_with('.') || name.ends_with('~') || name.contains(".dpkg-");
            let generated = netplan && name.starts_with("netplan-");
            !left_over && !generated
        };
        let names = self.by_name(&folders, is_ours);
        let texts: Vec<Text> = names
            .into_values()
            .filter_map(|it| self.text(&it))
            .collect();
        self.found.extend(networkmanager::read(&borrowed(&texts)));
    }

    fn ifupdown(&mut self) {
        let mut texts = Vec::new();
        self.include(Path::new("/etc/network/interfaces"), &mut texts, 0);
        self.found.extend(ifupdown::read(&borrowed(&texts)));
    }

    /// A file with those that it includes, each where it is included (interfaces(5)).
    fn include(&mut self, path: &Path, texts: &mut Vec<Text>, depth: usize) {
        let Some((file, text)) = self.text(path) else {
            return;
        };
        let lines = ifupdown::lines(&text);
        texts.push((Arc::clone(&file), text));
        for line in lines {
            let place = Place::new(&file, line.line);
            let folder = path.parent().unwrap_or(Path::new("/"));
            let included = match line.word.as_str() {
                "source" => self.matching(&folder.join(&line.rest)),
                "source-directory" => {
                    let all = self.matching(&folder.join(&line.rest).join("*"));
                    all.into_iter().filter(|path| is_run_parts(path)).collect()
                }
                _ => continue,
            };
            if depth >= MAX_DEPTH {
                let what = format!("{}: expected no file that includes itself", line.word);
                self.found.remark(&place, Weight::Matters, what);
                continue;
            }
            for path in included {
                self.include(&path, texts, depth + 1);
            }
        }
    }

    /// The files that a pattern means, as paths of that machine.
    fn matching(&self, pattern: &Path) -> Vec<PathBuf> {
        let root = glob::Pattern::escape(&self.root.to_string_lossy());
        let pattern = below(Path::new(&root), pattern);
        let found = glob::glob(&pattern.to_string_lossy());
        let found = found.into_iter().flatten().filter_map(Result::ok);
        let found = found.filter(|path| path.is_file());
        found
            .map(|path| Path::new("/").join(path.strip_prefix(self.root).unwrap_or(&path)))
            .collect()
    }

    /// The files of some folders by their names, of one name that of the first folder.
    fn by_name(
        &self,
        folders: &[&str],
        wanted: impl Fn(&str) -> bool,
    ) -> BTreeMap<String, PathBuf> {
        let mut names = BTreeMap::new();
        for folder in folders {
            let entries = std::fs::read_dir(below(self.root, Path::new(folder)));
            let entries = entries.into_iter().flatten().filter_map(Result::ok);
            for name in entries.filter_map(|entry| entry.file_name().into_string().ok()) {
                let path = Path::new(folder).join(&name);
                let is_folder = below(self.root, &path).is_dir();
                if wanted(&name) && !is_folder {
                    names.entry(name).or_insert(path);
                }
            }
        }
        names
    }

    /// A file's text; what cannot be read is noted, what does not exist is nothing.
    fn text(&mut self, path: &Path) -> Option<Text> {
        let file: Arc<str> = path.to_string_lossy().into();
        let place = Place::new(&file, 1);
        let bytes = match read_whole(&below(self.root, path)) {
            Ok(bytes) => bytes,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    let what = match error.kind() {
                        io::ErrorKind::PermissionDenied => "only root can read it".to_owned(),
                        _ => format!("cannot be read: {error}"),
                    };
                    self.found.remark(&place, Weight::Matters, what);
                }
                return None;
            }
        };
        if bytes.len() > MAX_BYTES {
            let what = format!("expected at most {MAX_BYTES} bytes");
            self.found.remark(&place, Weight::Matters, what);
            return None;
        }
        match std::str::from_utf8(&bytes) {
            Ok(text) => Some((file, Zeroizing::new(text.to_owned()))),
            Err(_) => {
                self.found
                    .remark(&place, Weight::Matters, "expected UTF-8 text");
                None
            }
        }
    }
}

fn borrowed(texts: &[Text]) -> Vec<(Arc<str>, &str)> {
    let texts = texts.iter();
    texts
        .map(|(file, text)| (Arc::clone(file), text.as_str()))
        .collect()
}

/// The names that `source-directory` takes (interfaces(5)).
fn is_run_parts(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    !name.is_empty()
        && name
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(b))
}
