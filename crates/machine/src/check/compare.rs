//! Compares the content of an image with the plan. Pure, but for reading the files of the plan, which the caller does.

use std::collections::BTreeSet;
use std::path::Path;

use nightlatch_core::remembered_servers;

use super::archive::{Member, MemberKind, Members, ReadMode, normal};
use super::systems::System;
use crate::image::{FOLDER, FileSource, ImagePlan};
use crate::keys::FILES;

/// Folders of which nothing may be in an image: the server's configuration and state.
const FORBIDDEN: [&str; 4] = [
    "/etc/nightlatch",
    "/etc/mandos",
    "/var/lib/nightlatch",
    "/var/lib/mandos",
];

/// Folders whose programs a boot runs.
const RUN: [&str; 3] = [
    "/usr/lib/mandos/plugins.d",
    "/usr/lib/mandos/plugin-helpers",
    "/usr/lib/mandos/network-hooks.d",
];

/// Folder of the keys in an image with Mandos's client.
const MANDOS: &str = "/conf/conf.d/mandos";

/// The volumes that the scripts of initramfs-tools open (`cryptsetup-initramfs`).
const VOLUMES: &str = "/cryptroot/crypttab";

/// Kernel modules are below it.
const MODULES: &str = "/usr/lib/modules/";

/// The content that an image of one kernel should have.
#[derive(Debug)]
pub(super) struct Expected<'m> {
    /// Files, programs and links of ours, with those of the image's system.
    pub(super) plan: &'m ImagePlan,
    /// Kernel modules that are not built into the kernel, by names with `_`.
    pub(super) modules: BTreeSet<String>,
    /// The volumes that a boot opens before the real system begins.
    pub(super) volumes: &'m [String],
}

/// A difference between an image and the plan.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Difference {
    /// It lacks this.
    Missing(String),
    /// Its content is another one.
    Other(String),
    /// The program is another one: an older one, or one that the image's builder changed.
    OtherProgram(String),
    /// Others than its owner can do more with it, or it has another owner.
    Permissions(String),
    /// It lacks this, and so nothing starts the client.
    NotStarted(String),
    /// It boots by nothing that is known here.
    UnknownSystem,
    /// It lacks this kernel module.
    Module(String),
    /// It does not open this volume.
    Volume(String),
    /// Something among the keys that is none of this machine's: another machine's, perhaps.
    Stranger(String),
    /// Nobody asked for this: a hook that was removed since.
    Superfluous(String),
    /// It belongs into no image.
    Forbidden(String),
}

/// The part of the file at this path that a comparison with `plan` needs.
pub(super) fn wanted(plan: &ImagePlan, path: &str) -> ReadMode {
    let files = plan.files.iter().map(|file| &file.path);
    let programs = plan.programs.iter().map(|program| &program.path);
    match path {
        VOLUMES => ReadMode::Text,
        _ if mandos_key(path).is_some() => ReadMode::Digest,
        _ if files.chain(programs).any(|planned| normal(planned) == path) => ReadMode::Digest,
        _ => ReadMode::Presence,
    }
}

/// All differences. `digest` is the SHA-256 of one of the machine's files.
pub(super) fn differences<E>(
    expected: &Expected<'_>,
    members: &Members,
    mut digest: impl FnMut(&Path) -> Result<[u8; 32], E>,
    digest_of_text: impl Fn(&str) -> [u8; 32],
) -> Result<Vec<Difference>, E> {
    let plan = expected.plan;
    let mut found = Vec::new();
    for file in plan.files.iter().filter(|file| !is_hint(&file.path)) {
        let Some(member) = members.get(&normal(&file.path)) else {
            found.push(Difference::Missing(file.path.clone()));
            continue;
        };
        let content = match &file.source {
            FileSource::Copy(source) => digest(source)?,
            FileSource::Text(text) => digest_of_text(text),
        };
        if member.what != MemberKind::File(content) {
            found.push(Difference::Other(file.path.clone()));
        }
        let owner = (file.owner.user, file.owner.group);
        if member.owner != owner || member.mode & !file.mode != 0 {
            found.push(Difference::Permissions(file.path.clone()));
        }
        let name = file.path.strip_prefix(FOLDER).unwrap_or_default();
        let stock = members.get(&format!("{MANDOS}{name}"));
        if stock.is_some_and(|stock| is_file_but(stock, content)) && !name.is_empty() {
            found.push(Difference::Stranger(format!("{MANDOS}{name}")));
        }
    }
    for program in &plan.programs {
        match members.get(&normal(&program.path)) {
            None => found.push(Difference::Missing(program.path.clone())),
            Some(member) if member.what != MemberKind::File(digest(&program.source)?) => {
                found.push(Difference::OtherProgram(program.path.clone()));
            }
            Some(_) => {}
        }
    }
    let missing = |path: &&String| !members.contains_key(&normal(path));
    let links = plan.links.iter().map(|link| &link.path).filter(missing);
    found.extend(links.cloned().map(Difference::Missing));
    found.extend(unable(expected, members));
    found.extend(superfluous(plan, members));
    found.sort();
    Ok(found)
}

/// Reasons for which the client would not be started, or lacks something outside its own files.
fn unable(expected: &Expected<'_>, members: &Members) -> Vec<Difference> {
    let mut found = Vec::new();
    let system = System::of(members);
    match system.map(System::starter) {
        None => found.push(Difference::UnknownSystem),
        Some(starter) if !members.contains_key(starter) => {
            found.push(Difference::NotStarted(starter.to_owned()));
        }
        Some(_) => {}
    }
    let present: BTreeSet<String> = members.keys().filter_map(|path| module(path)).collect();
    let lacking = expected.modules.difference(&present).cloned();
    found.extend(lacking.map(Difference::Module));
    if system == Some(System::InitramfsTools) {
        let opened = opened(members);
        let closed = expected.volumes.iter();
        let closed = closed.filter(|name| !opened.contains(*name));
        found.extend(closed.cloned().map(Difference::Volume));
    }
    found
}

/// The volumes that the scripts of initramfs-tools open; none where they are not.
pub(super) fn opened(members: &Members) -> BTreeSet<String> {
    let list = match members.get(VOLUMES).map(|member| &member.what) {
        Some(MemberKind::Text(list)) => list.as_str(),
        _ => "",
    };
    let names = list
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    names.map(str::to_owned).collect()
}

fn module(path: &str) -> Option<String> {
    module_name(path.strip_prefix(MODULES)?)
}

/// The name of the kernel module in the file at this path, with `_` as the kernel has it.
pub(super) fn module_name(path: &str) -> Option<String> {
    let name = path.rsplit('/').next()?;
    let (name, rest) = name.split_once(".ko")?;
    // It may be compressed.
    (rest.is_empty() || rest.starts_with('.')).then(|| name.replace('-', "_"))
}

fn is_file_but(member: &Member, content: [u8; 32]) -> bool {
    member.is_file() && member.what != MemberKind::File(content)
}

fn mandos_key(path: &str) -> Option<&str> {
    let name = path.strip_prefix(MANDOS)?.strip_prefix('/')?;
    FILES.contains(&name).then_some(name)
}

fn superfluous<'m>(
    plan: &'m ImagePlan,
    members: &'m Members,
) -> impl Iterator<Item = Difference> + 'm {
    let files = plan.files.iter().map(|file| &file.path);
    let programs = plan.programs.iter().map(|program| &program.path);
    let links = plan.links.iter().map(|link| &link.path);
    let planned: BTreeSet<String> = files
        .chain(programs)
        .chain(links)
        .map(|path| normal(path))
        .collect();
    let own: BTreeSet<String> = plan.programs.iter().map(|one| normal(&one.path)).collect();
    // Where systemd is not, the boot system links more names to our program.
    let is_link_to_own = move |member: &Member| matches!(&member.what, MemberKind::Link(to) if own.contains(&normal(to)));
    members.iter().filter_map(move |(path, member)| {
        if !is_something(member) || planned.contains(path) || is_hint(path) {
            return None;
        }
        if FORBIDDEN.iter().any(|folder| is_below(path, folder)) {
            return Some(Difference::Forbidden(path.clone()));
        }
        if is_below(path, FOLDER) {
            return Some(Difference::Stranger(path.clone()));
        }
        let is_run = RUN.iter().any(|folder| is_below(path, folder));
        (is_run && !is_link_to_own(member)).then(|| Difference::Superfluous(path.clone()))
    })
}

/// True for the file of remembered servers: an image with an older one, or without it, boots as well.
fn is_hint(path: &str) -> bool {
    let name = path
        .strip_prefix(FOLDER)
        .and_then(|it| it.strip_prefix('/'));
    name == Some(remembered_servers::FILE)
}

/// Folders are none.
fn is_something(member: &Member) -> bool {
    member.is_file() || matches!(member.what, MemberKind::Link(_))
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::path::PathBuf;

    use super::*;
    use crate::accounts::Owner;
    use crate::image::{PlannedFile, PlannedLink, Program};

    const KEY: &str = "/conf/conf.d/nightlatch/seckey.txt";
    const CLIENT: &str = "/usr/bin/nightlatch-boot";
    const START: &str = "/scripts/init-premount/nightlatch";
    const DRIVER: &str = "/usr/lib/modules/6.1/kernel/drivers/net/virtio-net.ko.xz";
    const PLUGIN: &str = "/lib/mandos/plugins.d/mandos-client";

    fn plan() -> ImagePlan {
        ImagePlan {
            files: vec![PlannedFile {
                path: KEY.into(),
                source: FileSource::Copy("/keys/seckey.txt".into()),
                mode: 0o400,
                owner: Owner { user: 9, group: 9 },
            }],
            programs: vec![Program {
                path: CLIENT.into(),
                source: PathBuf::from("/usr/sbin/nightlatch-boot"),
            }],
            links: vec![PlannedLink {
                path: PLUGIN.into(),
                target: CLIENT.into(),
            }],
            ..ImagePlan::default()
        }
    }

    fn file(mode: u32, owner: u32, content: u8) -> Member {
        Member {
            mode,
            owner: (owner, owner),
            what: MemberKind::File([content; 32]),
        }
    }

    /// An image as the plan wants it: the key is all ones, the client all twos.
    fn image() -> Members {
        let link = Member {
            what: MemberKind::Link(CLIENT.into()),
            ..file(0o777, 0, 0)
        };
        let volumes = Member {
            what: MemberKind::Text("root UUID=1 none luks\ndata UUID=2 none\n".into()),
            ..file(0o644, 0, 0)
        };
        Members::from([
            (KEY.to_owned(), file(0o400, 9, 1)),
            (CLIENT.to_owned(), file(0o755, 0, 2)),
            (normal(PLUGIN), link),
            ("/etc/passwd".to_owned(), file(0o644, 0, 0)),
            ("/conf/initramfs.conf".to_owned(), file(0o644, 0, 0)),
            (START.to_owned(), file(0o755, 0, 0)),
            (VOLUMES.to_owned(), volumes),
            (DRIVER.to_owned(), file(0o644, 0, 0)),
        ])
    }

    fn compared(members: &Members) -> Vec<Difference> {
        let digest = |path: &Path| {
            let key = path.ends_with("seckey.txt");
            Ok::<_, Infallible>(if key { [1; 32] } else { [2; 32] })
        };
        let expected = Expected {
            plan: &plan(),
            modules: BTreeSet::from(["virtio_net".to_owned()]),
            volumes: &["data".to_owned(), "root".to_owned()],
        };
        differences(&expected, members, digest, |_| [0; 32]).unwrap()
    }

    #[test]
    fn an_image_as_planned_has_no_difference() {
        assert_eq!(compared(&image()), []);
    }

    #[test]
    fn each_difference_is_found() {
        let changed = |path: &str, member: Option<Member>| {
            let mut members = image();
            match member {
                Some(member) => members.insert(path.to_owned(), member),
                None => members.remove(path),
            };
            compared(&members)
        };
        let named = |path: &str| path.to_owned();
        assert_eq!(
            changed(KEY, Some(file(0o400, 9, 7))),
            [Difference::Other(named(KEY))]
        );
        for weak in [file(0o404, 9, 1), file(0o400, 0, 1)] {
            assert_eq!(
                changed(KEY, Some(weak)),
                [Difference::Permissions(named(KEY))]
            );
        }
        assert_eq!(changed(KEY, None), [Difference::Missing(named(KEY))]);
        assert_eq!(
            changed(CLIENT, Some(file(0o755, 0, 9))),
            [Difference::OtherProgram(named(CLIENT))]
        );
        assert_eq!(
            changed(&normal(PLUGIN), None),
            [Difference::Missing(named(PLUGIN))]
        );
        let another = "/conf/conf.d/nightlatch/other.pem";
        assert_eq!(
            changed(another, Some(file(0o400, 9, 3))),
            [Difference::Stranger(named(another))]
        );
        let remembered = "/conf/conf.d/nightlatch/remembered-servers";
        assert_eq!(changed(remembered, Some(file(0o644, 0, 3))), []);
        let mandos = "/conf/conf.d/mandos/seckey.txt";
        assert_eq!(changed(mandos, Some(file(0o400, 9, 1))), []);
        assert_eq!(
            changed(mandos, Some(file(0o400, 9, 3))),
            [Difference::Stranger(named(mandos))]
        );
        assert_eq!(changed(START, None), [Difference::NotStarted(named(START))]);
        assert_eq!(
            changed("/conf/initramfs.conf", None),
            [Difference::UnknownSystem]
        );
        assert_eq!(
            changed(DRIVER, None),
            [Difference::Module(named("virtio_net"))]
        );
        let one = Member {
            what: MemberKind::Text("root UUID=1 none luks\n".into()),
            ..file(0o644, 0, 0)
        };
        assert_eq!(
            changed(VOLUMES, Some(one)),
            [Difference::Volume(named("data"))]
        );
        assert_eq!(changed(VOLUMES, None).len(), 2);
        let server = "/etc/nightlatch/clients.conf";
        assert_eq!(
            changed(server, Some(file(0o600, 0, 3))),
            [Difference::Forbidden(named(server))]
        );
        let hook = "/usr/lib/mandos/network-hooks.d/old";
        assert_eq!(
            changed(hook, Some(file(0o755, 0, 3))),
            [Difference::Superfluous(named(hook))]
        );
    }
}
