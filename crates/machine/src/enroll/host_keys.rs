//! Host keys in the verbs of enrolment: beside the boot keys, alone on a machine that is enrolled already, anew, and
//! removed.

use nightlatch_console::failure::{EX_UNAVAILABLE, EX_USAGE, Failure, note, warn};
use nightlatch_console::output;
use nightlatch_core::agent_files::UNIT;
use nightlatch_core::key_id::KeyId;
use nightlatch_core::name::ClientName;
use nightlatch_openpgp::PublicKey;

use super::admin_keys::AdminKeyPart;
use super::options::{EnrollOptions, PlaceOptions, RotateOptions};
use super::ownership;
use crate::admin_keys::PinnedAdminKeys;
use crate::agent;
use crate::host_keys::HostKeys;
use crate::keys::{self, KeyDirectory};
use crate::section::{self, HOST_KEY_ID, HOST_OPENPGP, HostIdentity};

/// The part of host keys in an enrolment, and of the admin keys that the machine is to believe.
pub(super) struct HostKeyPart {
    keys: HostKeys<'static>,
    admins: AdminKeyPart,
    /// False where only those that are there go into the section.
    makes: bool,
    /// Makes them on a file system that is not encrypted too.
    force: bool,
}

impl HostKeyPart {
    /// Makes host keys where there are none.
    pub(super) fn of_enrolment(options: &EnrollOptions) -> Result<Option<Self>, Failure> {
        let Some(keys) = options.place.host_keys().filter(|_| !options.no_host_key) else {
            return match options.admin_key.is_empty() {
                true => Ok(None),
                false => Err(Failure::new(
                    EX_USAGE,
                    "--admin-key with --dir, which makes no host keys: named secrets need them",
                )
                .hint("give their place too, with --host-key-dir, or leave --dir out")),
            };
        };
        Ok(Some(Self {
            admins: AdminKeyPart::of(options, &keys)?,
            keys,
            makes: true,
            force: options.force,
        }))
    }

    /// Keeps the host keys that are there in the section.
    pub(super) fn of_rotation(place: &PlaceOptions) -> Option<Self> {
        place.host_keys().map(|keys| Self {
            keys,
            admins: AdminKeyPart::default(),
            makes: false,
            force: false,
        })
    }

    /// The public halves for the section. A file system that is not encrypted is no reason to leave the disks as they are.
    /// Fails for what would make `finish` fail, as no disk is changed yet.
    pub(super) fn prepare(
        &self,
        name: &str,
        boot_id: KeyId,
        boot: &KeyDirectory,
    ) -> Result<Option<HostIdentity>, Failure> {
        // They are pinned even where no host keys are made.
        self.admins.check()?;
        if !self.keys.exist() {
            if !self.makes {
                return Ok(None);
            }
            if let Some(failure) = self.refusal() {
                warn(format_args!("no host keys: {failure}"));
                note(AFTERWARDS);
                return Ok(None);
            }
        }
        if self.makes && self.keys.is_agents() {
            boot.trusted()?;
            keys::trusted::read(&self.keys.list())?;
        }
        make(&self.keys, name, boot_id).map(Some)
    }

    /// The reason for which none are made, if there is one.
    fn refusal(&self) -> Option<Failure> {
        let refused = self.keys.check_encryption().err();
        refused.filter(|_| !self.force)
    }

    /// True when the agent can prove them: it is installed, and trusts one of `servers` or another.
    pub(super) fn has_agent(&self, servers: &[KeyId]) -> bool {
        let trusts = |list: Vec<KeyId>| !list.is_empty();
        self.keys.is_agents()
            && agent::is_installed(self.keys.root())
            && (!servers.is_empty() || keys::trusted::read(&self.keys.list()).is_ok_and(trusts))
    }

    /// The steps of a dry run before the disks are changed; true when there will be host keys.
    pub(super) fn describe(&self) -> Result<bool, Failure> {
        self.admins.check()?;
        let place = self.keys.path().display();
        if self.keys.exist() {
            self.keys.key_id()?;
            step(format_args!("use the host keys in {place}"));
            return Ok(true);
        }
        if !self.makes {
            return Ok(false);
        }
        if let Some(failure) = self.refusal() {
            step(format_args!("make no host keys: {failure}"));
            return Ok(false);
        }
        step(format_args!("make host keys in {place}"));
        Ok(true)
    }

    /// The steps of a dry run after the section, with the servers that the boot client will trust.
    pub(super) fn describe_end(&self, servers: &[KeyId]) -> Result<(), Failure> {
        if self.makes {
            self.admins.describe()?;
            describe_agent(&self.keys, servers)?;
        }
        Ok(())
    }

    /// Gives the agent its servers, and starts it.
    pub(super) fn finish(&self, boot: &KeyDirectory) -> Result<(), Failure> {
        self.admins.pin()?;
        if self.makes && self.keys.exist() {
            serve_agent(&self.keys, &boot.trusted()?)?;
        }
        Ok(())
    }
}

/// The consequence of new host keys.
const ANEW: &str = "named secrets are sealed for the old host keys: once the server has the new ones, put each again with: \
                    nightlatch secret put; those in the section with: nightlatch secret seal";

/// The way to host keys for a machine that got none.
const AFTERWARDS: &str =
    "to make them all the same, after this enrolment: nightlatch enroll --host-key --force";

/// `nightlatch enroll --host-key`: for a machine that is enrolled already.
pub(super) fn enroll(options: &EnrollOptions) -> Result<(), Failure> {
    let host = options.place.host_keys_alone();
    let admins = AdminKeyPart::of(options, &host)?;
    let boot = options.place.boot_keys();
    let boot_id = enrolled(&boot)?;
    if !host.exist() && !options.force {
        host.check_encryption()?;
    }
    let name = name(options.name.as_deref(), boot_id)?;
    let mut servers = boot.trusted()?;
    servers.extend(&options.server_key_id);
    if options.dry_run {
        match host.exist() {
            true => drop(host.key_id()?),
            false => step(format_args!("make host keys in {}", host.path().display())),
        }
        step(format_args!(
            "print {HOST_KEY_ID} and {HOST_OPENPGP} for the server"
        ));
        admins.describe()?;
        return describe_agent(&host, &servers);
    }
    admins.check()?;
    print(&make(&host, name.as_str(), boot_id)?, &name)?;
    admins.pin()?;
    serve_agent(&host, &servers)
}

/// `nightlatch rotate --host-key`: new host keys in the place of the old ones.
pub(super) fn rotate(options: &RotateOptions) -> Result<(), Failure> {
    let host = options.place.host_keys_alone();
    let boot_id = enrolled(&options.place.boot_keys())?;
    let place = host.path().display();
    if !host.exist() {
        return Err(
            Failure::new(EX_UNAVAILABLE, format!("there are no host keys in {place}"))
                .hint("make the first ones: nightlatch enroll --host-key"),
        );
    }
    if !options.force {
        host.check_encryption()?;
    }
    let name = name(options.name.as_deref(), boot_id)?;
    if options.dry_run {
        step(format_args!("replace the host keys in {place}"));
        step(format_args!(
            "print {HOST_KEY_ID} and {HOST_OPENPGP} for the server"
        ));
        note(ANEW);
        return Ok(());
    }
    let new = host.replace(name.as_str())?;
    note(format_args!("replaced the host keys in {place}"));
    print(&new, &name)?;
    note(ANEW);
    if host.is_agents() && agent::is_installed(host.root()) {
        // It has the old ones in memory, and the server knows no others yet.
        note(format_args!(
            "the agent proves the old ones until it is started again; once the server has the new key id: systemctl \
             restart {UNIT}"
        ));
    }
    Ok(())
}

/// Removes the host keys with the boot keys, and stops the agent that would go on proving them.
pub(super) fn unenroll(place: &PlaceOptions, dry_run: bool) -> Result<(), Failure> {
    let Some(host) = place.host_keys().filter(HostKeys::exist) else {
        return Ok(());
    };
    let dry = if dry_run { "dry run: " } else { "" };
    if host.is_agents() && agent::is_installed(host.root()) && agent::can_start(host.root()) {
        let stopped = if dry_run {
            Ok(())
        } else {
            agent::run(&agent::STOP)
        };
        match stopped {
            Ok(()) => note(format_args!("{dry}stopped {UNIT}")),
            Err(failure) => warn(format_args!("the agent may still run: {failure}")),
        }
    }
    if !dry_run {
        host.remove()?;
    }
    note(format_args!(
        "{dry}removed the host keys in {}",
        host.path().display()
    ));
    let pinned = PinnedAdminKeys::of(host.root());
    if pinned.path().exists() {
        note(format_args!(
            "{} stays: it says whose named secrets this machine believes, and has no secret in it",
            pinned.path().display()
        ));
    }
    Ok(())
}

/// The key id of the boot keys of a machine that is enrolled.
fn enrolled(boot: &KeyDirectory) -> Result<KeyId, Failure> {
    if boot.holds_any() {
        return boot.key_id();
    }
    Err(Failure::new(
        EX_UNAVAILABLE,
        format!(
            "this machine is not enrolled: expected boot keys in {}",
            boot.path().display()
        ),
    )
    .hint("enroll it, which makes host keys too: nightlatch enroll DEVICE; or say where its boot keys are: --dir"))
}

/// The name of this machine on the server: what is asked for, else that of an enrolment of a disk, else the host name.
fn name(given: Option<&str>, boot: KeyId) -> Result<ClientName, Failure> {
    let enrolled = match given {
        Some(_) => None,
        None => ownership::name_of(&boot.to_string()),
    };
    section::check_name(&keys::name_or_host(given.or(enrolled.as_deref()))?)
}

fn make(host: &HostKeys<'_>, name: &str, boot: KeyId) -> Result<HostIdentity, Failure> {
    let place = host.path().display();
    let (identity, is_new) = host.make_missing(name)?;
    let key_id = identity.key_id;
    host.check_difference(key_id, boot)?;
    match is_new {
        true => note(format_args!("made host keys in {place}, key id {key_id}")),
        false => note(format_args!("using the host keys in {place}")),
    }
    Ok(identity)
}

/// Prints what the server needs: the lines on standard output, the way to give them on standard error.
fn print(identity: &HostIdentity, name: &ClientName) -> Result<(), Failure> {
    output::print(&identity.to_string())?;
    note(format_args!(
        "put these lines into [{name}] of clients.conf on the server, then run there: nightlatch reload"
    ));
    if let Ok(key) = PublicKey::from_base64(&identity.openpgp) {
        // What an administrator compares before a changed key is accepted.
        note(format_args!(
            "its OpenPGP fingerprint: {}",
            key.fingerprint()
        ));
    }
    Ok(())
}

/// Adds `servers` to the agent's list and starts it, if it has any to speak to.
fn serve_agent(host: &HostKeys<'_>, servers: &[KeyId]) -> Result<(), Failure> {
    if !host.is_agents() {
        return Ok(());
    }
    let list = host.list();
    let shown = list.display();
    let before = keys::trusted::read(&list)?;
    host.trust(servers)?;
    let after = keys::trusted::read(&list)?;
    if after.len() > before.len() {
        note(format_args!(
            "the agent trusts {} in {shown}",
            count(&after)
        ));
    }
    let start = agent::shown(&agent::START);
    if after.is_empty() {
        note(format_args!(
            "the agent trusts no server yet: nightlatch enroll --host-key --server-key-id HEX, with the key id that the \
             server logs when it starts, adds one to {shown}"
        ));
    } else if !agent::is_installed(host.root()) {
        note(format_args!(
            "nightlatch-agent is not installed here; when it is: {start}"
        ));
    } else if !agent::can_start(host.root()) {
        note(format_args!(
            "systemd does not run here; when it does: {start}"
        ));
    } else {
        match agent::run(&agent::START) {
            Ok(()) => note(format_args!("started {UNIT}, now and at each boot")),
            Err(failure) => {
                warn(format_args!("the agent does not run: {failure}"));
                note(format_args!("start it: {start}"));
            }
        }
    }
    Ok(())
}

/// The same steps, none taken.
fn describe_agent(host: &HostKeys<'_>, servers: &[KeyId]) -> Result<(), Failure> {
    if !host.is_agents() {
        return Ok(());
    }
    let list = host.list();
    let known = keys::trusted::read(&list)?;
    for server in servers.iter().filter(|server| !known.contains(server)) {
        step(format_args!(
            "trust the server {server} in {}",
            list.display()
        ));
    }
    let has_server = !known.is_empty() || !servers.is_empty();
    if has_server && agent::is_installed(host.root()) && agent::can_start(host.root()) {
        step(format_args!("{}", agent::shown(&agent::START)));
    }
    Ok(())
}

fn count(servers: &[KeyId]) -> String {
    match servers.len() {
        1 => "1 server".to_owned(),
        number => format!("{number} servers"),
    }
}

fn step(text: std::fmt::Arguments<'_>) {
    note(format_args!("dry run: {text}"));
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use nightlatch_core::agent_files::ADMIN_KEYS;
    use nightlatch_core::time::Wall;
    use nightlatch_openpgp::{AdminKeyOptions, generate_admin_key};

    use super::*;

    #[test]
    fn an_unusable_list_of_admin_keys_is_found_before_a_disk_is_changed() {
        let folder = tempfile::tempdir().unwrap();
        // As the program has it, the root outlives the options.
        let root: &'static Path = Box::leak(folder.path().to_owned().into_boxed_path());
        let pair = generate_admin_key(&AdminKeyOptions {
            name: "alice",
            created: Wall::from_unix_micros(0),
            passphrase: None,
        });
        let key = PublicKey::from_armored(pair.unwrap().public_armored.as_bytes());
        let part = HostKeyPart {
            keys: HostKeys::of(root),
            admins: AdminKeyPart::new(root, vec![key.unwrap()]),
            makes: true,
            force: false,
        };
        let boot = KeyDirectory::new(&root.join("boot"));
        let id = KeyId::from_bytes([1; 32]).unwrap();
        // No host keys are made, as nothing says that this file system is encrypted.
        assert_eq!(part.prepare("web1", id, &boot).unwrap(), None);
        assert!(!part.describe().unwrap());
        let list = root.join(ADMIN_KEYS.trim_start_matches('/'));
        fs::create_dir_all(list.parent().unwrap()).unwrap();
        fs::write(&list, "what is this\n").unwrap();
        for failure in [
            part.prepare("web1", id, &boot).unwrap_err(),
            part.describe().unwrap_err(),
        ] {
            assert!(failure.to_string().contains("cannot use"), "{failure}");
        }
    }
}
