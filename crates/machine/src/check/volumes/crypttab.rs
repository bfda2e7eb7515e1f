//! The volumes of a machine: those of crypttab(5), and those below its root file system that crypttab does not name.
//! Reads files of the machine and of sysfs; opens no volume.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::block_device::{BlockDevice, MAX_DEPTH};
use crate::file_system::{Mount, unescaped};

/// Folders of the links for the tags in crypttab(5).
const TAGS: [(&str, &str); 5] = [
    ("UUID=", "dev/disk/by-uuid"),
    ("PARTUUID=", "dev/disk/by-partuuid"),
    ("LABEL=", "dev/disk/by-label"),
    ("PARTLABEL=", "dev/disk/by-partlabel"),
    ("ID=", "dev/disk/by-id"),
];

/// Without them nothing starts.
const NEEDED: [&str; 2] = ["/", "/usr"];

/// By which options a volume is opened in the image: crypttab(5) of Debian, and of systemd.
const EARLY: [&str; 2] = ["initramfs", "x-initrd.attach"];

/// Options by which neither a password nor a key file opens a volume.
const OTHERWISE: [&str; 4] = ["keyscript", "tpm2-device", "fido2-device", "pkcs11-uri"];

/// Options for volumes that are not LUKS: a wrong password is not detected there.
const NO_LUKS: [&str; 4] = ["plain", "tcrypt", "tcrypt-hidden", "bitlk"];

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Volume {
    pub(crate) name: String,
    /// The device below it, as in crypttab.
    pub(crate) source: String,
    pub(crate) key: VolumeKey,
    options: Vec<String>,
    /// True when the root file system or that of /usr is on it.
    pub(crate) is_needed: bool,
}

/// The key of a volume.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum VolumeKey {
    /// A password that is asked for.
    Asked,
    /// The password, from our socket (nightlatch-boot(8), KEY-SOCKET).
    Socket,
    File(PathBuf),
    /// A new key at each boot, from this device.
    Random,
    /// Something else, by this option or on this device.
    Otherwise(String),
}

impl Volume {
    /// The value of an option, empty for one without.
    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().find_map(|option| {
            let (key, value) = option.split_once('=').unwrap_or((option, ""));
            (key == name).then_some(value)
        })
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.option(name).is_some()
    }

    /// True when the image should open it, before the real system starts.
    pub(crate) fn is_early(&self) -> bool {
        self.is_needed || EARLY.iter().any(|option| self.has(option))
    }

    /// By which option it is no LUKS volume.
    pub(crate) fn no_luks(&self) -> Option<&'static str> {
        NO_LUKS.into_iter().find(|option| self.has(option))
    }
}

/// All volumes of the machine whose files are below `root`, those of crypttab first and in its order.
pub(crate) fn volumes(root: &Path) -> io::Result<Vec<Volume>> {
    let mut volumes = match fs::read_to_string(root.join("etc/crypttab")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        text => read(&text?),
    };
    let needed = below_root(root);
    for volume in &mut volumes {
        volume.is_needed = needed.contains_key(&volume.name);
    }
    for (name, device) in needed {
        // The kernel's command line names it (systemd-cryptsetup-generator(8)).
        if !volumes.iter().any(|volume| volume.name == name) {
            volumes.push(Volume {
                name,
                source: format!("/dev/{device}"),
                key: VolumeKey::Asked,
                options: Vec::new(),
                is_needed: true,
            });
        }
    }
    Ok(volumes)
}

/// crypttab(5): fields with white space between, `#` begins a comment.
pub(crate) fn read(text: &str) -> Vec<Volume> {
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let volumes = lines.filter_map(|line| {
        let mut fields = line.split_whitespace().map(unescaped);
        let (name, source) = (fields.next()?, fields.next()?);
        let key = fields.next().unwrap_or_default();
        let options = fields.next().unwrap_or_default();
        let mut volume = Volume {
            name,
            source,
            key: VolumeKey::Asked,
            options: options.split(',').map(str::to_owned).collect(),
            is_needed: false,
        };
        volume.key = opened_by(&volume, &key);
        Some(volume)
    });
    volumes.collect()
}

fn opened_by(volume: &Volume, key: &str) -> VolumeKey {
    let otherwise = OTHERWISE.into_iter().find(|option| volume.has(option));
    match (otherwise, key) {
        (Some(option), _) => VolumeKey::Otherwise(format!("the option {option}")),
        (_, "" | "none" | "-") => VolumeKey::Asked,
        (_, "/dev/urandom" | "/dev/random" | "/dev/hw_random") => VolumeKey::Random,
        (_, key) if key.starts_with("/run/nightlatch/") => VolumeKey::Socket,
        (_, key) if !key.starts_with('/') || key.contains(':') => {
            VolumeKey::Otherwise(format!("a key on another device, {key}"))
        }
        (_, key) => VolumeKey::File(key.into()),
    }
}

/// The file that is the device of a volume.
pub(crate) fn device(root: &Path, source: &str) -> PathBuf {
    let tagged = TAGS.into_iter().find_map(|(tag, folder)| {
        let value = source.strip_prefix(tag)?.trim_matches('"');
        Some(root.join(folder).join(value))
    });
    tagged.unwrap_or_else(|| root.join(source.trim_start_matches('/')))
}

/// The encrypted volumes that the root file system and that of /usr lie on, and the device below each.
fn below_root(root: &Path) -> BTreeMap<String, String> {
    let mounts = Mount::all(root).into_iter();
    let needed = mounts.filter(|mount| NEEDED.iter().any(|place| mount.place == Path::new(place)));
    let mut found = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for device in needed.filter_map(|mount| mount.device(root)) {
        climb_down(&device, MAX_DEPTH, &mut seen, &mut found);
    }
    found
}

fn climb_down(
    device: &BlockDevice<'_>,
    depth: usize,
    seen: &mut BTreeSet<PathBuf>,
    found: &mut BTreeMap<String, String>,
) {
    if depth == 0 || !seen.insert(device.folder().to_owned()) {
        return;
    }
    if let (true, [below, ..]) = (device.encrypts(), &device.slaves()[..]) {
        found.insert(device.mapper_name(), below.clone());
    }
    for below in device.below() {
        climb_down(&below, depth - 1, seen, found);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::block_device::tests::{add, link};

    #[test]
    fn a_crypttab_is_read() {
        let text = "# name device key options\nroot UUID=\"ab-c\" none luks,initramfs\n\
                    data /dev/sdb1 /etc/keys/my\\040data luks\n\n\tswap LABEL=s - \nbad\n\
                    more /dev/sdc /run/nightlatch/key luks,noauto\n\
                    old /dev/sdd /dev/urandom swap,plain\ntpm /dev/sde none tpm2-device=auto\n\
                    usb /dev/sdf /key:LABEL=usb luks,key-slot=1\n";
        let volumes = read(text);
        let names: Vec<&str> = volumes.iter().map(|volume| volume.name.as_str()).collect();
        assert_eq!(names, ["root", "data", "swap", "more", "old", "tpm", "usb"]);
        let keys: Vec<&VolumeKey> = volumes.iter().map(|volume| &volume.key).collect();
        assert_eq!(
            keys[..5],
            [
                &VolumeKey::Asked,
                &VolumeKey::File("/etc/keys/my data".into()),
                &VolumeKey::Asked,
                &VolumeKey::Socket,
                &VolumeKey::Random,
            ]
        );
        assert!(
            keys[5..]
                .iter()
                .all(|key| matches!(key, VolumeKey::Otherwise(_)))
        );
        assert!(volumes[0].is_early() && !volumes[2].is_early());
        assert!(volumes[3].has("noauto"));
        assert_eq!(volumes[4].no_luks(), Some("plain"));
        assert_eq!(volumes[6].option("key-slot"), Some("1"));
        let root = Path::new("/r");
        assert_eq!(
            device(root, &volumes[0].source),
            Path::new("/r/dev/disk/by-uuid/ab-c")
        );
        assert_eq!(device(root, "/dev/sdb1"), Path::new("/r/dev/sdb1"));
    }

    /// A folder that stands in for sysfs: LVM on LUKS on a partition of RAID, and btrfs on LUKS.
    #[test]
    fn what_the_root_lies_on_is_found_through_all_layers() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        add(root, "dm-1", Some(["vg-root", "LVM-x"]), &["dm-0"]);
        link(root, "dm-1", "sys/dev/block/254:1");
        let luks = ["cryptroot", "CRYPT-LUKS2-y"];
        add(root, "dm-0", Some(luks), &["md0p1"]);
        add(root, "md0", None, &["sda"]);
        add(root, "md0/md0p1", None, &[]);
        add(root, "sda", None, &[]);
        add(root, "dm-2", Some(["user", "CRYPT-LUKS2-z"]), &["sdb"]);
        fs::create_dir_all(root.join("dev/mapper")).unwrap();
        fs::write(root.join("dev/dm-2"), "").unwrap();
        symlink("../dm-2", root.join("dev/mapper/user")).unwrap();
        fs::create_dir_all(root.join("proc/self")).unwrap();
        fs::write(
            root.join("proc/self/mountinfo"),
            "21 1 254:1 / / rw - ext4 /dev/mapper/vg-root rw\n\
             22 21 0:44 / /usr rw - btrfs /dev/mapper/user rw\n\
             23 21 0:5 / /proc rw - proc proc rw\n",
        )
        .unwrap();
        let expected = [("cryptroot", "md0p1"), ("user", "sdb")];
        let expected = expected.map(|(name, below)| (name.to_owned(), below.to_owned()));
        assert_eq!(below_root(root), BTreeMap::from(expected));
        // crypttab names one of them; the other is known by the kernel's command line alone.
        fs::create_dir(root.join("etc")).unwrap();
        fs::write(root.join("etc/crypttab"), "user UUID=1 none luks\n").unwrap();
        let volumes = volumes(root).unwrap();
        assert!(volumes.iter().all(Volume::is_early), "{volumes:?}");
        assert_eq!(volumes[1].source, "/dev/md0p1");
    }
}
