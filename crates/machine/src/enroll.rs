//! `nightlatch enroll` and `rotate`: let this machine's disks be opened by a password that the server hands out.
//!
//! Everything that can fail without touching a disk is done first; what was changed on a disk is
//! undone when a later step fails. Secrets reach cryptsetup(8) through pipes only.

mod admin_keys;
mod changes;
pub(crate) mod cryptsetup;
mod delivery;
mod disk;
mod host_keys;
mod options;
mod ownership;
mod rotate;
mod token;
mod unenroll;

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nightlatch_console::failure::{EX_NOPERM, EX_OSERR, EX_SOFTWARE, EX_USAGE, Failure, note};
use nightlatch_core::key_id::KeyId;
use nightlatch_core::name::ClientName;
use nightlatch_core::secret::Secret;
use nightlatch_core::ssh::HostKey;
use rand::RngCore;
use rand::rngs::OsRng;
use zeroize::Zeroizing;

use crate::keygen::encrypt;
use crate::keys::{self, KeyDirectory, KeySet, NewKeys};
use crate::passphrase;
use crate::section::{self, ClientSection, HostIdentity, SectionChecker};
use crate::ssh;
use changes::{EnrollChanges, NewKey};
use delivery::Delivery;
use disk::{Disk, Kdf};
use host_keys::HostKeyPart;
pub use options::{EnrollOptions, RotateOptions, UnenrollOptions};
use ownership::Enrolments;
pub use rotate::run as rotate;
pub use unenroll::run as unenroll;

/// Bytes of randomness in a key made here: as many as the strongest cipher of the disk uses.
const RANDOM_BYTES: usize = 32;

/// The letters that many bytes take in base64, without padding.
const RANDOM_LETTERS: usize = (RANDOM_BYTES * 4).div_ceil(3);

/// Attempts at typing the passphrase of a disk.
const TRIES: usize = 3;

/// The options, checked.
struct EnrollPlan<'a> {
    options: &'a EnrollOptions,
    directory: KeyDirectory,
    name: ClientName,
    disks: Vec<Disk>,
    /// The earlier enrolments, one for each disk.
    earlier: Vec<Enrolments>,
    backups: Vec<PathBuf>,
    host_keys: Option<HostKeyPart>,
}

/// Carries the verb out.
pub fn run(options: &EnrollOptions) -> Result<(), Failure> {
    if options.host_key {
        return host_keys::enroll(options);
    }
    let plan = EnrollPlan::new(options, HostKeyPart::of_enrolment(options)?)?;
    plan.print_earlier();
    if options.dry_run {
        return plan.describe();
    }
    plan.carry_out()?;
    note(format_args!(
        "enrolled {}: put the printed section into clients.conf on the server, then make a new \
         initramfs here",
        plan.name
    ));
    if options.place.dir.is_none() {
        crate::network::for_the_next_image();
    }
    Ok(())
}

impl<'a> EnrollPlan<'a> {
    /// Adds a key to every disk, prints the section, and then removes what is replaced. Whatever ends the program
    /// in between, the disks open as before, and the next enrolment removes what this one left.
    fn carry_out(&self) -> Result<(), Failure> {
        let out = Delivery::check()?;
        let openers = self.openers()?;
        let password = if self.options.passphrase {
            passphrase::ask_new("Enter new passphrase for the server to hand out: ")?
        } else {
            random_key()?
        };
        let keys = self.keys()?;
        let host_keys = match &self.host_keys {
            Some(part) => part.prepare(self.name.as_str(), keys.tls.key_id(), &self.directory)?,
            None => None,
        };
        let message = encrypt(&keys, &password)?;
        let ssh_key = self.ssh_key();
        let checker = self.checker(ssh_key.as_ref());
        let section = self.section(&keys, host_keys, &message, checker);
        self.disks.iter().try_for_each(Disk::has_free_slot)?;
        let key_id = keys.tls.key_id().to_string();
        let new = NewKey {
            password: &password,
            kdf: self.kdf(),
            name: self.name.as_str(),
            key_id: &key_id,
        };
        self.change_disks(&new, &openers, |changes| {
            out.deliver(&section.to_string(), || changes.check())
        })?;
        self.finish().inspect_err(|_| {
            note("the new key slots and the printed section are good all the same");
        })?;
        // A fault of the list is one of the boot client, which reports it.
        let servers = self.directory.trusted().unwrap_or_default();
        let proof = self.proof_of_life(section.host_keys.is_some(), &servers, &section.checker);
        note(format_args!("proof of life: {proof}"));
        Ok(())
    }

    /// Adds the new key to every disk, and delivers the section. Undoes all of it when a step fails.
    fn change_disks(
        &self,
        new: &NewKey<'_>,
        openers: &[Opener],
        deliver: impl FnOnce(&mut EnrollChanges<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut changes = EnrollChanges::begin()?;
        let done = self
            .disks
            .iter()
            .zip(&self.backups)
            .try_for_each(|(disk, backup)| changes.save_header(disk, backup))
            .and_then(|()| {
                let mut both = self.disks.iter().zip(openers);
                both.try_for_each(|(disk, opener)| changes.add(disk, opener, new))
            })
            .and_then(|()| changes.check())
            .and_then(|()| deliver(&mut changes));
        if let Err(failure) = done {
            changes.undo();
            return Err(failure);
        }
        Ok(())
    }

    /// Takes back trusted servers and the agent of an enrolment that was undone.
    fn finish(&self) -> Result<(), Failure> {
        self.directory.trust(&self.options.server_key_id)?;
        self.remove_earlier()?;
        match &self.host_keys {
            Some(part) => part.finish(&self.directory),
            None => Ok(()),
        }
    }

    /// Prints the earlier enrolments, and says if they are removed.
    fn print_earlier(&self) {
        for (disk, earlier) in self.disks.iter().zip(&self.earlier) {
            earlier.print_others(disk);
            for enrolment in &earlier.own {
                let becomes = if self.options.add {
                    "it stays"
                } else {
                    "it is removed once the new section is printed"
                };
                note(format_args!(
                    "{disk} is enrolled already, as {:?} in {}: {becomes}",
                    enrolment.name,
                    enrolment.shown()
                ));
            }
        }
    }

    fn remove_earlier(&self) -> Result<(), Failure> {
        if self.options.add {
            return Ok(());
        }
        for (disk, earlier) in self.disks.iter().zip(&self.earlier) {
            for enrolment in &earlier.own {
                disk.remove(enrolment)?;
                note(format_args!(
                    "removed the earlier {} of {disk}",
                    enrolment.shown()
                ));
            }
        }
        Ok(())
    }

    fn new(options: &'a EnrollOptions, host_keys: Option<HostKeyPart>) -> Result<Self, Failure> {
        let name = section::check_name(&keys::name_or_host(options.name.as_deref())?)?;
        if let Some(host) = &options.host {
            section::check_value("--host", host)?;
        }
        if let Some(checker) = &options.checker {
            section::check_value("--checker", checker)?;
        }
        if options.change.header_backup.is_some() && options.device.len() > 1 {
            return Err(
                Failure::new(EX_USAGE, "--header-backup with several devices")
                    .hint("leave it out: each header is then saved beside the keys"),
            );
        }
        let directory = options.place.boot_keys();
        let mut disks: Vec<Disk> = Vec::new();
        let header = options.place.header.as_deref();
        if header.is_some() && options.device.len() > 1 {
            return Err(Failure::new(EX_USAGE, "--header with several devices")
                .hint("enroll one device after the other"));
        }
        let mut earlier = Vec::new();
        let key_id = ownership::key_id(&directory, options.dry_run)?;
        for device in &options.device {
            let disk = Disk::inspect(device, header)?;
            let enrolments = Enrolments::of(&disk, key_id.as_deref())?;
            // A passphrase that is given now is known to a person.
            if !options.add && !options.passphrase {
                enrolments.check_that_a_person_has_a_key(&disk)?;
            }
            earlier.push(enrolments);
            if disks.iter().any(|earlier| earlier.is_same(&disk)) {
                return Err(Failure::new(EX_USAGE, format!("{disk} is given twice")));
            }
            disks.push(disk);
        }
        let backups = disks
            .iter()
            .map(|disk| match &options.change.header_backup {
                Some(file) => file.clone(),
                None => free_name(directory.path(), disk.uuid()),
            })
            .collect();
        Ok(Self {
            options,
            directory,
            name,
            disks,
            earlier,
            backups,
            host_keys,
        })
    }

    /// Says each step, and takes none.
    fn describe(&self) -> Result<(), Failure> {
        let has_host_key = self.describe_keys()?;
        self.describe_disks();
        step("print the section for clients.conf on the server".to_owned());
        for id in &self.options.server_key_id {
            let file = self.directory.path().join(keys::TRUSTED);
            step(format!("trust the server {id} in {}", file.display()));
        }
        let replaced = self.disks.iter().zip(&self.earlier);
        for (disk, earlier) in replaced.filter(|_| !self.options.add) {
            for enrolment in &earlier.own {
                let slots = enrolment.shown();
                step(format!("remove the earlier {slots} of {disk}"));
            }
        }
        let mut servers = self.directory.trusted().unwrap_or_default();
        servers.extend(&self.options.server_key_id);
        if let Some(part) = self.host_keys.as_ref().filter(|_| has_host_key) {
            part.describe_end(&servers)?;
        }
        let ssh_key = self.ssh_key();
        let checker = self.checker(ssh_key.as_ref());
        let proof = self.proof_of_life(has_host_key, &servers, &checker);
        step(format!("proof of life: {proof}"));
        if self.options.place.dir.is_none() {
            step("learn how a boot reaches a server, if that is not known: nightlatch network --learn".to_owned());
        }
        Ok(())
    }

    /// The steps about keys; true when there will be host keys.
    fn describe_keys(&self) -> Result<bool, Failure> {
        let place = self.directory.path().display();
        if self.directory.holds_any() {
            self.directory.read_set()?;
            step(format!("use the keys in {place}"));
        } else {
            step(format!("make keys for {} in {place}", self.name));
        }
        self.host_keys
            .as_ref()
            .map_or(Ok(false), HostKeyPart::describe)
    }

    fn describe_disks(&self) {
        for disk in &self.disks {
            step(match &self.options.change.key_file {
                Some(file) => format!("test that {} opens {disk}", file.display()),
                None => format!("ask for a passphrase of {disk} and test it"),
            });
        }
        step(if self.options.passphrase {
            "ask for the new passphrase".to_owned()
        } else {
            format!("make a random key of {} bits", RANDOM_BYTES * 8)
        });
        for (disk, backup) in self.disks.iter().zip(&self.backups) {
            step(format!("save the header of {disk} to {}", backup.display()));
        }
        for disk in &self.disks {
            step(format!(
                "add the key to a free key slot of {disk} and test it"
            ));
        }
    }

    /// For each disk, what opens it today, tried.
    fn openers(&self) -> Result<Vec<Opener>, Failure> {
        let mut openers: Vec<Opener> = Vec::new();
        let from_file = match &self.options.change.key_file {
            Some(file) => Some(Opener::new(passphrase::read(file)?)),
            None => None,
        };
        for disk in &self.disks {
            let opener = match &from_file {
                Some(opener) if disk.opens(opener, None)? => opener.clone(),
                Some(_) => return Err(wrong(disk).hint("give another --key-file")),
                None => ask_opener(disk, &openers)?,
            };
            openers.push(opener);
        }
        Ok(openers)
    }

    fn keys(&self) -> Result<KeySet, Failure> {
        if !self.directory.holds_any() {
            // A set whose placing was cut short is finished here, and is then no reason to fail.
            let new = NewKeys::usual(self.name.as_str());
            let key_id = self.directory.make_missing(&new)?;
            if let Some(key_id) = key_id {
                let place = self.directory.path().display();
                note(format_args!("made keys in {place}, key id {key_id}"));
            }
        }
        self.directory.load()
    }

    fn ssh_key(&self) -> Option<HostKey> {
        if self.options.no_ssh || self.options.checker.is_some() {
            return None;
        }
        ssh::host_key()
    }

    fn checker<'s>(&'s self, ssh_key: Option<&'s HostKey>) -> SectionChecker<'s> {
        match (&self.options.checker, ssh_key) {
            (Some(command), _) => SectionChecker::Command(command),
            (None, Some(key)) => SectionChecker::SshHostKey(key),
            (None, None) => SectionChecker::Default,
        }
    }

    /// The strongest proof of life that this machine can give, for a person. The checker stands in the section in any
    /// case: a server that knows no host keys runs it, and any server does until the agent was heard.
    fn proof_of_life(
        &self,
        has_host_key: bool,
        servers: &[KeyId],
        checker: &SectionChecker<'_>,
    ) -> String {
        match &self.host_keys {
            Some(part) if has_host_key && part.has_agent(servers) => format!(
                "the host key, by nightlatch-agent; until the server has heard the agent, {checker}"
            ),
            Some(_) if has_host_key => {
                format!("{checker}; the host key proves more, once nightlatch-agent runs here")
            }
            _ => checker.to_string(),
        }
    }

    fn section<'s>(
        &'s self,
        keys: &KeySet,
        host_keys: Option<HostIdentity>,
        message: &'s [u8],
        checker: SectionChecker<'s>,
    ) -> ClientSection<'s> {
        ClientSection {
            name: &self.name,
            host: self.options.host.as_deref().unwrap_or(self.name.as_str()),
            key_id: keys.tls.key_id(),
            host_keys,
            fingerprint: keys.public.fingerprint(),
            message,
            checker,
        }
    }

    fn kdf(&self) -> Kdf {
        if self.options.passphrase {
            Kdf::Usual
        } else {
            Kdf::Cheap
        }
    }
}

fn step(text: String) {
    note(format_args!("dry run: {text}"));
}

/// A passphrase that opens a disk today; several disks may share it.
type Opener = std::rc::Rc<Secret>;

fn ask_opener(disk: &Disk, earlier: &[Opener]) -> Result<Opener, Failure> {
    for opener in earlier {
        if disk.opens(opener, None)? {
            return Ok(opener.clone());
        }
    }
    for _ in 0..TRIES {
        let typed = passphrase::ask(&format!("Enter a passphrase that opens {disk} today: "))?;
        if disk.opens(&typed, None)? {
            return Ok(Opener::new(typed));
        }
        note("no key slot opens with it");
    }
    Err(wrong(disk))
}

fn wrong(disk: &Disk) -> Failure {
    Failure::new(
        EX_NOPERM,
        format!("the passphrase does not open {disk}; nothing was changed"),
    )
}

/// A key of high entropy that survives every way a password can take: letters, digits, `-` and `_`.
fn random_key() -> Result<Secret, Failure> {
    let mut bytes = Zeroizing::new([0; RANDOM_BYTES]);
    OsRng
        .try_fill_bytes(bytes.as_mut_slice())
        .map_err(|error| {
            Failure::new(EX_OSERR, "no random numbers from the system").because(error)
        })?;
    let mut letters = Zeroizing::new(vec![0; RANDOM_LETTERS]);
    let written = URL_SAFE_NO_PAD
        .encode_slice(bytes.as_slice(), letters.as_mut_slice())
        .map_err(|error| Failure::new(EX_SOFTWARE, "cannot write the key").because(error))?;
    letters.truncate(written);
    Ok(Secret::new(std::mem::take(&mut *letters)))
}

/// A file name for the header of the disk `uuid` that is not taken.
fn free_name(directory: &Path, uuid: &str) -> PathBuf {
    let first = directory.join(format!("luks-header-{uuid}.img"));
    let later = (2_u32..).map(|number| directory.join(format!("luks-header-{uuid}.{number}.img")));
    std::iter::once(first)
        .chain(later)
        .find(|path| path.symlink_metadata().is_err())
        .unwrap_or_else(|| directory.join("luks-header.img"))
}
