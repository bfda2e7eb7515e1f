//! The encrypted volumes of crypttab(5): does the password open each of them?

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use nightlatch_core::secret::Secret;

use super::report::Report;
use crate::enroll::cryptsetup;

/// Where a device is found by what stands in crypttab(5).
const TAGS: [(&str, &str); 4] = [
    ("UUID=", "dev/disk/by-uuid"),
    ("PARTUUID=", "dev/disk/by-partuuid"),
    ("LABEL=", "dev/disk/by-label"),
    ("PARTLABEL=", "dev/disk/by-partlabel"),
];

/// A line of crypttab(5).
#[derive(Clone, PartialEq, Eq, Debug)]
struct Volume {
    name: String,
    source: String,
    key: Option<String>,
    options: Vec<String>,
}

impl Volume {
    fn has(&self, option: &str) -> bool {
        self.options.iter().any(|given| given == option)
    }

    /// Whether its password is asked for, or read from a socket of ours.
    fn is_asked_for(&self) -> bool {
        let by_us = |key: &String| key.starts_with("/run/nightlatch/");
        self.key.as_ref().is_none_or(by_us)
    }
}

/// Tries the password on each volume.
pub(super) fn check(root: &Path, password: &Secret, report: &mut Report) {
    let file = root.join("etc/crypttab");
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) => {
            let said = format!("cannot read {}: {error}", file.display());
            return report.doubtful("volume", said, None);
        }
    };
    let volumes = read(&text);
    if volumes.is_empty() {
        let said = "there is none in /etc/crypttab: nothing asks for a password";
        report.doubtful("volume", said, None);
    }
    let mut opened = false;
    for volume in &volumes {
        opened |= check_one(root, volume, password, report);
    }
    if !opened && volumes.iter().any(Volume::is_asked_for) {
        let hint = Some("nightlatch enroll DEVICE gives a volume this machine's key".to_owned());
        report.bad("volume", "the password opens none of the volumes", hint);
    }
}

fn check_one(root: &Path, volume: &Volume, password: &Secret, report: &mut Report) -> bool {
    let name = &volume.name;
    if volume.has("noauto") {
        report.good("volume", format!("{name} is not opened at boot"));
        return false;
    }
    if !volume.is_asked_for() {
        report.good("volume", format!("{name} has a key file of its own"));
        return false;
    }
    let device = device(root, &volume.source);
    let mut arguments: Vec<&OsStr> = ["open", "--test-passphrase", "--key-file", "-"]
        .map(OsStr::new)
        .to_vec();
    let header = volume
        .options
        .iter()
        .find(|option| option.starts_with("header="));
    let header = header.map(|option| option.replacen("header=", "--header=", 1));
    arguments.extend(header.as_deref().map(OsStr::new));
    arguments.push(device.as_os_str());
    match cryptsetup::run(&arguments, Some(password), None) {
        Ok(_) => {
            report.good(
                "volume",
                format!("the password opens {name} on {}", device.display()),
            );
            true
        }
        Err(denied) if denied.is_wrong_passphrase() => {
            let hint = format!(
                "nightlatch enroll {} gives it this machine's key",
                device.display()
            );
            let said = format!("the password does not open {name}: a boot would ask for another");
            report.bad("volume", said, Some(hint));
            false
        }
        Err(denied) => {
            report.bad("volume", format!("cannot try {name}: {denied}"), None);
            false
        }
    }
}

/// What opens each of them. crypttab(5): fields with white space between, `#` begins a comment.
fn read(text: &str) -> Vec<Volume> {
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let volumes = lines.filter_map(|line| {
        let mut fields = line.split_whitespace();
        let (name, source) = (fields.next()?, fields.next()?);
        let key = fields.next().filter(|key| !["none", "-"].contains(key));
        let options = fields.next().unwrap_or_default();
        Some(Volume {
            name: name.to_owned(),
            source: source.to_owned(),
            key: key.map(str::to_owned),
            options: options.split(',').map(str::to_owned).collect(),
        })
    });
    volumes.collect()
}

fn device(root: &Path, source: &str) -> PathBuf {
    let tagged = TAGS.into_iter().find_map(|(tag, folder)| {
        let value = source.strip_prefix(tag)?.trim_matches('"');
        Some(root.join(folder).join(value))
    });
    tagged.unwrap_or_else(|| root.join(source.trim_start_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crypttab_is_read() {
        let text = "# name device key options\nroot UUID=\"ab-c\" none luks,initramfs\n\
                    data /dev/sdb1 /etc/keys/data luks\n\n\tswap LABEL=s - \nbad\n\
                    more /dev/sdc /run/nightlatch/key luks,noauto\n";
        let volumes = read(text);
        let names: Vec<&str> = volumes.iter().map(|volume| volume.name.as_str()).collect();
        assert_eq!(names, ["root", "data", "swap", "more"]);
        assert!(volumes[0].is_asked_for() && volumes[0].has("initramfs"));
        assert!(!volumes[1].is_asked_for() && volumes[2].is_asked_for());
        assert!(volumes[3].is_asked_for() && volumes[3].has("noauto"));
        let root = Path::new("/r");
        assert_eq!(
            device(root, &volumes[0].source),
            Path::new("/r/dev/disk/by-uuid/ab-c")
        );
        assert_eq!(device(root, "/dev/sdb1"), Path::new("/r/dev/sdb1"));
    }
}
