//! What an image holds against what it should hold. Pure, but for reading the files of the plan, which
//! the caller does.

use std::path::Path;

use super::archive::{Member, Members, What, normal};
use crate::image::{FOLDER, Plan, Source};

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

/// How an image differs.
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
    /// Nobody asked for this: a key of another machine, a hook that was removed since.
    Superfluous(String),
    /// It belongs into no image.
    Forbidden(String),
}

/// Whether the contents of this path are needed to compare.
pub(super) fn is_wanted(plan: &Plan, path: &str) -> bool {
    let files = plan.files.iter().map(|file| &file.path);
    let programs = plan.programs.iter().map(|program| &program.path);
    files.chain(programs).any(|planned| normal(planned) == path)
}

/// All differences. `digest` is the SHA-256 of one of the machine's files.
pub(super) fn differences<E>(
    plan: &Plan,
    members: &Members,
    mut digest: impl FnMut(&Path) -> Result<[u8; 32], E>,
    digest_of_text: impl Fn(&str) -> [u8; 32],
) -> Result<Vec<Difference>, E> {
    let mut found = Vec::new();
    for file in &plan.files {
        let Some(member) = members.get(&normal(&file.path)) else {
            found.push(Difference::Missing(file.path.clone()));
            continue;
        };
        let expected = match &file.source {
            Source::Copy(source) => digest(source)?,
            Source::Text(text) => digest_of_text(text),
        };
        if member.what != What::File(expected) {
            found.push(Difference::Other(file.path.clone()));
        }
        let owner = (file.owner.user, file.owner.group);
        if member.owner != owner || member.mode & !file.mode != 0 {
            found.push(Difference::Permissions(file.path.clone()));
        }
    }
    for program in &plan.programs {
        match members.get(&normal(&program.path)) {
            None => found.push(Difference::Missing(program.path.clone())),
            Some(member) if member.what != What::File(digest(&program.source)?) => {
                found.push(Difference::OtherProgram(program.path.clone()));
            }
            Some(_) => {}
        }
    }
    let missing = |path: &&String| !members.contains_key(&normal(path));
    let links = plan.links.iter().map(|link| &link.path).filter(missing);
    found.extend(links.cloned().map(Difference::Missing));
    found.extend(superfluous(plan, members));
    found.sort();
    Ok(found)
}

fn superfluous<'m>(plan: &'m Plan, members: &'m Members) -> impl Iterator<Item = Difference> + 'm {
    let files = plan.files.iter().map(|file| &file.path);
    let programs = plan.programs.iter().map(|program| &program.path);
    let links = plan.links.iter().map(|link| &link.path);
    let planned: Vec<String> = files
        .chain(programs)
        .chain(links)
        .map(|path| normal(path))
        .collect();
    members.iter().filter_map(move |(path, member)| {
        if !is_something(member) || planned.contains(path) {
            return None;
        }
        if FORBIDDEN.iter().any(|folder| is_below(path, folder)) {
            return Some(Difference::Forbidden(path.clone()));
        }
        let ours = std::iter::once(FOLDER).chain(RUN);
        ours.into_iter()
            .any(|folder| is_below(path, folder))
            .then(|| Difference::Superfluous(path.clone()))
    })
}

/// Folders are none.
fn is_something(member: &Member) -> bool {
    member.is_file || matches!(member.what, What::Link(_))
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
    use crate::image::{Link, Owner, PlannedFile, Program};

    const KEY: &str = "/conf/conf.d/nightlatch/seckey.txt";
    const CLIENT: &str = "/usr/bin/nightlatch-boot";
    const PLUGIN: &str = "/lib/mandos/plugins.d/mandos-client";

    fn plan() -> Plan {
        Plan {
            files: vec![PlannedFile {
                path: KEY.into(),
                source: Source::Copy("/keys/seckey.txt".into()),
                mode: 0o400,
                owner: Owner { user: 9, group: 9 },
            }],
            programs: vec![Program {
                path: CLIENT.into(),
                source: PathBuf::from("/usr/sbin/nightlatch-boot"),
            }],
            links: vec![Link {
                path: PLUGIN.into(),
                target: CLIENT.into(),
            }],
            ..Plan::default()
        }
    }

    fn file(mode: u32, owner: u32, content: u8) -> Member {
        Member {
            mode,
            owner: (owner, owner),
            what: What::File([content; 32]),
            is_file: true,
        }
    }

    /// An image as the plan wants it: the key is all ones, the client all twos.
    fn image() -> Members {
        let link = Member {
            what: What::Link(CLIENT.into()),
            is_file: false,
            ..file(0o777, 0, 0)
        };
        Members::from([
            (KEY.to_owned(), file(0o400, 9, 1)),
            (CLIENT.to_owned(), file(0o755, 0, 2)),
            (normal(PLUGIN), link),
            ("/etc/passwd".to_owned(), file(0o644, 0, 0)),
        ])
    }

    fn compared(members: &Members) -> Vec<Difference> {
        let digest = |path: &Path| {
            let key = path.ends_with("seckey.txt");
            Ok::<_, Infallible>(if key { [1; 32] } else { [2; 32] })
        };
        differences(&plan(), members, digest, |_| [0; 32]).unwrap()
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
            [Difference::Superfluous(named(another))]
        );
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
