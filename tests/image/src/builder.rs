//! Makes images in a guest's root file system, with our programs and hooks in it.

use std::path::{Path, PathBuf};
use std::process::Command;

use nightlatch_interop::programs::{boot_client, ours};
use tempfile::TempDir;

/// A host of its own: the guest's files below a layer in memory, with all that `make install` would bring.
/// `$1` is the guest, `$2` this repository, `$3` a folder for what comes out, `$4` and `$5` our programs.
const ENTER: &str = "
work=$3/work; mkdir $work
mount -t tmpfs none $work
mkdir $work/upper $work/inner $work/root
mount -t overlay none -o lowerdir=$1,upperdir=$work/upper,workdir=$work/inner $work/root
cd $work/root
for folder in dev sys; do mount --rbind /$folder $folder; done
mount -t proc none proc
mount -t tmpfs none run
mkdir out; mount --bind $3 out
install -m 0755 $4 usr/bin/nightlatch
install -m 0755 $5 usr/sbin/nightlatch-boot
cp -r $2/dist/initramfs-tools/. usr/share/initramfs-tools/
cp -r $2/dist/dracut/. usr/lib/dracut/modules.d/
echo 'root_crypt UUID=6a1f6a0e-6d0b-4c5a-9d3f-2b7d8a1c0001 none luks,initramfs' > etc/crypttab
echo '/dev/mapper/root_crypt / ext4 defaults 0 1' > etc/fstab
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot . sh -euc \"$6\"
";

/// A new image.
#[derive(Debug)]
pub struct BuiltImage {
    folder: TempDir,
    /// The output of the program that made it.
    pub log: String,
}

impl BuiltImage {
    /// The file that the script has put into /out.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Runs `script` in the guest with the release of Debian called `suite`. `$kernel` is its kernel's version.
pub fn build_image(suite: &str, script: &str) -> BuiltImage {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut guest = Command::new(repository.join("scripts/guest-root"));
    let guest = guest.arg(suite).output().unwrap();
    assert!(guest.status.success(), "{guest:?}");
    let guest = String::from_utf8(guest.stdout).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut build = Command::new("unshare");
    build
        .args(["--mount", "--propagation", "private"])
        .args(["--pid", "--fork", "--kill-child"])
        .args(["bash", "-euc", ENTER, "build", guest.trim()])
        .args([repository.as_path(), folder.path()])
        .args([ours("nightlatch"), boot_client()])
        .arg(format!("kernel=$(basename /lib/modules/*)\n{script}"));
    let output = build.output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{log}");
    BuiltImage { folder, log }
}
