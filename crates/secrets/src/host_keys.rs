//! The keys of machines from the sections that `enroll` prints.

use std::path::{Path, PathBuf};

use nightlatch_console::failure::{EX_DATAERR, EX_NOINPUT, EX_USAGE, Failure};
use nightlatch_core::ini::{Ini, IniSection};
use nightlatch_core::key_id::KeyId;
use nightlatch_fleet::select;
use nightlatch_openpgp::PublicKey;

use crate::input;
use crate::known_hosts::{HostKeys, machine_name};

/// Limit on a file, in bytes. A section has a few kB.
const MAX_FILE: usize = 16 << 20;

/// Reads the machines of `files`, each a list of sections, or the lines `host_key_id` and `host_openpgp` alone. With
/// `names`, which may be patterns, only these, and each must fit a section.
///
/// # Errors
/// When a file cannot be read, a section has no keys or unusable ones, or a name fits none.
pub(crate) fn read(files: &[PathBuf], names: &[String]) -> Result<Vec<HostKeys>, Failure> {
    let mut found = Vec::new();
    for file in files {
        let text = text(file)?;
        found.extend(sections(file, &text, names)?);
    }
    let known: Vec<&str> = found.iter().map(|it| it.name.as_str()).collect();
    for name in names {
        if select::matching(&known, name)?.is_empty() {
            return Err(Failure::new(
                EX_DATAERR,
                format!("no section [{name}] is in the files of --host-key"),
            ));
        }
    }
    Ok(found)
}

fn text(file: &Path) -> Result<String, Failure> {
    let what = || format!("cannot read {}", file.display());
    let text = input::read(file, MAX_FILE)
        .map_err(|error| Failure::new(EX_NOINPUT, what()).because(error))?;
    let text = std::str::from_utf8(text.expose())
        .map_err(|error| Failure::new(EX_DATAERR, what()).because(error))?;
    let has_heading = text.lines().any(|line| line.starts_with('['));
    Ok(match has_heading {
        true => text.to_owned(),
        false => format!("{BARE}\n{text}"),
    })
}

/// The heading that is put before lines without one. Its name, a space, names no machine.
const BARE: &str = "[ ]";
const BARE_NAME: &str = " ";

fn sections(file: &Path, text: &str, names: &[String]) -> Result<Vec<HostKeys>, Failure> {
    let ini = Ini::parse(text).map_err(|errors| {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let what = format!("{}: {}", file.display(), errors.join("; "));
        Failure::new(EX_DATAERR, what)
    })?;
    let known: Vec<&str> = ini.sections().map(IniSection::name).collect();
    let mut chosen = Vec::new();
    for name in names {
        chosen.extend(select::matching(&known, name)?);
    }
    let mut found = Vec::new();
    for section in ini.sections() {
        let name = match (section.name(), names) {
            (BARE_NAME, [name]) if !select::is_pattern(name) => name.as_str(),
            (BARE_NAME, _) => {
                let what = format!("the lines in {} have no heading [NAME]", file.display());
                return Err(Failure::new(EX_USAGE, what)
                    .hint("say whose they are: --host NAME, one name alone"));
            }
            (name, _) => name,
        };
        let is_bare = section.name() == BARE_NAME;
        if names.is_empty() || is_bare || chosen.contains(&name) {
            found.push(keys(file, section, name)?);
        }
    }
    if found.is_empty() && names.is_empty() {
        let what = format!("{} has no section", file.display());
        return Err(Failure::new(EX_DATAERR, what).hint(HINT));
    }
    Ok(found)
}

const HINT: &str = "the keys of a machine are printed on it by: nightlatch enroll --host-key";

fn keys(file: &Path, section: &IniSection, name: &str) -> Result<HostKeys, Failure> {
    let bad = |what: String| {
        Failure::new(EX_DATAERR, format!("{}: [{name}]: {what}", file.display())).hint(HINT)
    };
    let value = |key: &str| {
        let value = section.value(key).filter(|value| !value.trim().is_empty());
        value.ok_or_else(|| bad(format!("expected a line {key} = ...")))
    };
    let host: KeyId = value("host_key_id")?
        .trim()
        .parse()
        .map_err(|error| bad(format!("host_key_id: {error}")))?;
    let openpgp = PublicKey::from_base64(value("host_openpgp")?)
        .map_err(|error| bad(format!("host_openpgp: {error}")))?;
    if !openpgp.can_encrypt() {
        return Err(bad(
            "host_openpgp: nothing can be encrypted to this key".to_owned()
        ));
    }
    Ok(HostKeys {
        name: machine_name(name).map_err(bad)?,
        host,
        openpgp,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::openpgp;

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("section");
        std::fs::write(&file, text).unwrap();
        (folder, file)
    }

    fn read_text(text: &str, names: &[&str]) -> Result<Vec<String>, String> {
        let (_folder, file) = file(text);
        let names: Vec<String> = names.iter().map(|it| (*it).to_owned()).collect();
        match read(&[file], &names) {
            Ok(keys) => Ok(keys.into_iter().map(|it| it.name.to_string()).collect()),
            Err(failure) => Err(failure.to_string()),
        }
    }

    fn lines() -> String {
        let (one, two) = openpgp()
            .to_base64()
            .map(|it| {
                let (one, two) = it.split_at(64);
                (one.to_owned(), two.to_owned())
            })
            .unwrap();
        let id = "5a".repeat(32);
        format!("host_key_id = {id}\nhost_openpgp = {one}\n    {two}\n")
    }

    #[test]
    fn sections_and_bare_lines_are_read() {
        let (a, b) = (lines(), lines());
        let both = format!("[a]\nhost = a\n{a}\n[b]\n{b}");
        assert_eq!(read_text(&both, &[]), Ok(vec!["a".into(), "b".into()]));
        assert_eq!(read_text(&both, &["b"]), Ok(vec!["b".into()]));
        assert_eq!(read_text(&a, &["web1"]), Ok(vec!["web1".into()]));
        assert!(read_text(&a, &[]).unwrap_err().contains("no heading"));
        assert_eq!(
            read_text(&both, &["[ab]"]),
            Ok(vec!["a".into(), "b".into()])
        );
        assert!(read_text(&both, &["c"]).unwrap_err().contains("[c]"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let good = lines();
        for (key, found) in [
            ("host_key_id", "host_key_id"),
            ("host_openpgp", "host_openpgp"),
        ] {
            let text = format!("[a]\n{}", good.replace(key, "other"));
            let error = read_text(&text, &[]).unwrap_err();
            assert!(
                error.contains(&format!("expected a line {found}")),
                "{error}"
            );
        }
        let text = format!("[a]\n{}", good.replace("5a5a", "5"));
        assert!(read_text(&text, &[]).unwrap_err().contains("host_key_id:"));
    }
}
