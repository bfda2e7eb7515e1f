//! The boot images of all kernels that are installed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nightlatch_core::chain::chain;
use sha2::{Digest, Sha256};

use super::archive;
use super::compare::{self, Difference, differences};
use super::report::Report;
use crate::image::Plan;
use crate::keys::Directory;

/// What an image of a kernel is called, by what makes it: initramfs-tools, dracut, mkinitcpio, others.
fn names_of(kernel: &str) -> [String; 4] {
    [
        format!("initrd.img-{kernel}"),
        format!("initramfs-{kernel}.img"),
        format!("initrd-{kernel}"),
        format!("initramfs-{}.img", kernel.trim_start_matches("vmlinuz-")),
    ]
}

/// Says of each image whether a boot with it would work.
pub(super) fn check(root: &Path, plan: &Plan, report: &mut Report) {
    let boot = root.join("boot");
    let kernels = kernels(root);
    if kernels.is_empty() {
        let hint = Some("is /boot mounted? expected kernels as /boot/vmlinuz-VERSION".to_owned());
        return report.bad("image", "there is no kernel in /boot", hint);
    }
    for kernel in kernels {
        let found = names_of(&kernel)
            .into_iter()
            .map(|name| boot.join(name))
            .find(|path| path.is_file());
        match found {
            Some(image) => check_one(&image, plan, report),
            None => report.bad(
                "image",
                format!("the kernel {kernel} has no image in /boot"),
                Some(rebuild(root)),
            ),
        }
    }
    if let Ok(keys) = Directory::default_place().load() {
        report.good("keys", format!("key id {}", keys.tls.key_id()));
    }
}

/// The versions of the kernels that can be booted.
fn kernels(root: &Path) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(root.join("boot")) else {
        return BTreeSet::new();
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names
        .filter_map(|name| name.strip_prefix("vmlinuz-").map(str::to_owned))
        .collect()
}

/// What makes all images anew here.
fn rebuild(root: &Path) -> String {
    let has = |program: &str| root.join("usr/sbin").join(program).exists();
    match () {
        () if has("update-initramfs") => "update-initramfs -u -k all",
        () if root.join("usr/bin/mkinitcpio").exists() => "mkinitcpio -P",
        () => "dracut --regenerate-all --force",
    }
    .to_owned()
}

fn check_one(image: &Path, plan: &Plan, report: &mut Report) {
    let name = image.display();
    let before = report.failures();
    match fs::metadata(image).map(|file| file.permissions().mode()) {
        Ok(mode) if mode & 0o044 != 0 => {
            let hint = Some(format!("chmod go= {name}, and see what makes it so"));
            report.bad(
                "image",
                format!("{name} can be read by everybody, and holds keys"),
                hint,
            );
        }
        Ok(_) => {}
        Err(error) => return report.bad("image", format!("{name}: {error}"), None),
    }
    let wanted = |path: &str| compare::is_wanted(plan, path);
    let members = match archive::open(image, wanted) {
        Ok(members) => members,
        Err(error) => {
            let hint = Some(rebuild(Path::new("/")));
            return report.bad("image", format!("{name} {}", chain(&error)), hint);
        }
    };
    match differences(plan, &members, digest, digest_of_text) {
        Ok(found) => tell(image, plan, &found, report),
        Err(error) => report.bad("image", format!("cannot compare {name}: {error}"), None),
    }
    if report.failures() == before {
        report.good(
            "image",
            format!("{name} holds this machine's keys and the client that is installed"),
        );
    }
}

fn tell(image: &Path, plan: &Plan, found: &[Difference], report: &mut Report) {
    let name = image.display();
    let hint = || Some(rebuild(Path::new("/")));
    let all_missing = plan
        .files
        .iter()
        .all(|file| found.contains(&Difference::Missing(file.path.clone())));
    if all_missing {
        return report.bad("image", format!("{name} has nothing of Nightlatch"), hint());
    }
    for difference in found {
        match difference {
            Difference::Missing(path) => {
                report.bad("image", format!("{name} lacks {path}"), hint())
            }
            Difference::Other(path) => {
                let said = format!("{name} has another {path} than this machine");
                report.bad("image", said, hint());
            }
            Difference::OtherProgram(path) if is_newer_than_program(image, plan, path) => {
                let said = format!("{name} has its own {path}: stripped, perhaps");
                report.doubtful("image", said, None);
            }
            Difference::OtherProgram(path) => {
                let said = format!("{name} has an older {path} than is installed");
                report.doubtful("image", said, hint());
            }
            Difference::Permissions(path) => {
                let said =
                    format!("{path} in {name} has not the owner and the mode that it should");
                report.bad("image", said, hint());
            }
            Difference::Superfluous(path) => {
                let said = format!("{name} has {path}, which is no part of it any more");
                report.doubtful("image", said, hint());
            }
            Difference::Forbidden(path) => {
                let hint = Some("no hook of ours puts it there; find out what does".to_owned());
                report.bad("image", format!("{name} has {path}, a server's file"), hint);
            }
        }
    }
}

fn is_newer_than_program(image: &Path, plan: &Plan, path: &str) -> bool {
    let program = plan.programs.iter().find(|program| program.path == path);
    let changed = |path: &PathBuf| fs::metadata(path).and_then(|file| file.modified());
    let source = program.map(|program| changed(&program.source));
    match (changed(&image.to_owned()), source) {
        (Ok(image), Some(Ok(program))) => image > program,
        _ => false,
    }
}

fn digest(file: &Path) -> io::Result<[u8; 32]> {
    let mut digest = Sha256::new();
    io::copy(&mut File::open(file)?, &mut digest)?;
    Ok(digest.finalize().into())
}

fn digest_of_text(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}
