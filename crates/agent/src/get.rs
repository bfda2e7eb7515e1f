//! Named secrets for programs of this machine (docs/decisions/0173).
//!
//! A thread of its own accepts callers, and each of them has a thread: no caller delays a heartbeat or another caller. A
//! value is handed out only after it was believed and its serial is on the disk.

mod access;
mod address_queue;
mod answers;
mod arrivals;
mod asker;
mod caller;
mod connections;
mod judge;
mod limits;
mod lookups;
mod serials;
mod servers;
mod sharing;
mod slots;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::Duration;

use nightlatch_core::error_chain::format_error;
use nightlatch_core::key_id::KeyId;
use nightlatch_core::secret_name::SecretName;
use nightlatch_core::secret_rejection::{Rejection, RejectionReason};
use nightlatch_core::settings::caller::AllowedCaller;
use nightlatch_openpgp::{AdminKeys, MAX_KEY_FILE, SecretKey};
use nightlatch_proto::local::{LocalAnswer, LocalFailure, LocalFailureKind, LocalRequest};
use nightlatch_sys::clock;
use nightlatch_sys::peers::PeerCredentials;
use nightlatch_sys::users::SystemUsers;

use crate::files::{self, Access};
use crate::log::Log;
use crate::reporter::Reporter;

use access::AccessRules;
use answers::Answers;
use arrivals::{Arrival, Arrivals};
use asker::ServerAnswer;
use caller::Caller;
pub(crate) use caller::GetSocket;
use connections::Connections;
use judge::{Expected, JudgeFault, JudgedSecret, Opener, judge};
use lookups::Lookups;
use serials::Serials;
use servers::{CallerGone, Pass};
use sharing::{Heard, NobodyListens, Shared, Sharing};
use slots::{Slot, Slots};

/// Pause after a caller that could not be accepted, as when the process has too many files open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A caller that hears nothing is looked after so often: one that is gone must not keep its place.
const LOOK: Duration = Duration::from_secs(5);

/// The service for named secrets of this machine: keys, rules, memory and limits.
pub(crate) struct NamedSecrets {
    reporter: Arc<Reporter>,
    /// The id of the host key.
    host: KeyId,
    /// The host's OpenPGP key, or the reason why there is none.
    secret_key: Result<SecretKey, String>,
    admin_keys: PathBuf,
    access: AccessRules,
    serials: Serials,
    arrivals: Arrivals,
    slots: Slots,
    sharing: Sharing<Shares>,
    connections: Arc<Connections>,
    lookups: Arc<Lookups>,
}

/// Everything that [`NamedSecrets::new`] takes.
pub(crate) struct NamedSecretsParts {
    pub(crate) reporter: Arc<Reporter>,
    pub(crate) host: KeyId,
    pub(crate) secret_key: Result<SecretKey, String>,
    pub(crate) admin_keys: PathBuf,
    /// Who may ask for which secret, beside root.
    pub(crate) allow: BTreeMap<SecretName, Vec<AllowedCaller>>,
    /// The folder with the memory of serials.
    pub(crate) serials: PathBuf,
}

/// A believed secret, and the server that gave it.
#[derive(Debug)]
struct Given {
    secret: JudgedSecret,
    server: KeyId,
    address: SocketAddr,
}

/// The result that all callers of one name share.
type Shares = Result<Arc<Given>, LocalAnswer>;

/// Says which users and groups of `allow` this machine does not have. They may come later. In a thread of its own: the
/// user database may be a service, for which no server must wait to hear of this machine.
pub(crate) fn warn_of_unknown_callers(allow: BTreeMap<SecretName, Vec<AllowedCaller>>, log: Log) {
    let rules = AccessRules::new(allow);
    let warn = move || {
        for (name, caller) in rules.unknown(&SystemUsers) {
            log.info(&format!(
                "agent.conf: allow.{name}: this machine has no {caller} now, and nobody is allowed by that word"
            ));
        }
    };
    if let Err(error) = thread::Builder::new().name("users".to_owned()).spawn(warn) {
        log.info(&format!("cannot start a thread: {error}"));
    }
}

impl NamedSecrets {
    pub(crate) fn new(parts: NamedSecretsParts) -> Self {
        Self {
            reporter: parts.reporter,
            host: parts.host,
            secret_key: parts.secret_key,
            admin_keys: parts.admin_keys,
            access: AccessRules::new(parts.allow),
            serials: Serials::new(parts.serials),
            arrivals: Arrivals::default(),
            slots: Slots::default(),
            sharing: Sharing::default(),
            connections: Arc::default(),
            lookups: Arc::default(),
        }
    }

    /// Serves callers from now on, in threads of their own.
    pub(crate) fn start(self, socket: GetSocket) -> io::Result<()> {
        let service = Arc::new(self);
        thread::Builder::new()
            .name("get".to_owned())
            .spawn(move || service.accept_all(&socket))?;
        Ok(())
    }

    fn accept_all(self: &Arc<Self>, socket: &GetSocket) {
        loop {
            match socket.accept() {
                Ok((caller, peer)) => self.accept(caller, peer),
                Err(error) => {
                    self.log()
                        .debug(|| format!("cannot accept a caller: {error}"));
                    thread::sleep(ACCEPT_PAUSE);
                }
            }
        }
    }

    fn accept(self: &Arc<Self>, caller: Caller, peer: PeerCredentials) {
        let arrival = match caller.handle() {
            Ok(handle) => self.arrivals.enter(peer.user, handle),
            Err(error) => {
                return self
                    .log()
                    .debug(|| format!("cannot serve a caller: {error}"));
            }
        };
        let arrival = match arrival {
            Ok(arrival) => arrival,
            Err(full) => {
                return caller.turn_away(&failed(LocalFailureKind::Busy, &full.to_string()));
            }
        };
        let service = Arc::clone(self);
        let started = thread::Builder::new()
            .name("caller".to_owned())
            .spawn(move || service.serve(caller, &peer, arrival));
        if let Err(error) = started {
            self.log().info(&format!("cannot start a thread: {error}"));
        }
    }

    fn serve(self: &Arc<Self>, mut caller: Caller, peer: &PeerCredentials, arrival: Arrival) {
        match self.answer(&mut caller, peer, arrival) {
            Ok((_slot, name, given)) => {
                self.log().info(&format!(
                    "user {} gets {name}, serial {}, signed by {}, from the server {} at {}",
                    peer.user,
                    given.secret.serial,
                    given.secret.signer,
                    given.server,
                    given.address
                ));
                if let Err(error) = caller.give(&given.secret.value) {
                    self.log()
                        .info(&format!("user {} did not take {name}: {error}", peer.user));
                }
            }
            Err(End::Answer(answer)) => {
                self.log()
                    .debug(|| format!("told user {}: {answer}", peer.user));
                // One that is gone misses it.
                let _ = caller.tell(&answer);
            }
            Err(End::Gone) => self
                .log()
                .debug(|| format!("a caller of user {} is gone", peer.user)),
        }
    }

    fn answer(
        self: &Arc<Self>,
        caller: &mut Caller,
        peer: &PeerCredentials,
        mut arrival: Arrival,
    ) -> Result<(Slot, SecretName, Arc<Given>), End> {
        let line = caller.line().map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => End::failed(LocalFailureKind::Request, &error),
            _ => End::Gone,
        })?;
        let LocalRequest { name } = LocalRequest::parse(&line)
            .map_err(|error| End::failed(LocalFailureKind::Request, &error))?;
        arrival.has_said();
        // The user database may be a service that is slow.
        caller.tell(&LocalAnswer::Trying).map_err(|_| End::Gone)?;
        allowed(self.access.allow(&name, peer, &SystemUsers), peer, &name)?;
        let slot = self.slots.take(peer.user);
        let slot = slot.map_err(|full| End::failed(LocalFailureKind::Busy, &full))?;
        drop(arrival);
        let (heard, is_first) = self.sharing.join(&name);
        if is_first {
            self.lead(&name);
        }
        loop {
            match heard.recv_timeout(LOOK) {
                Err(RecvTimeoutError::Timeout) if caller.is_gone() => return Err(End::Gone),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Heard::Line(line)) => caller.tell(&line).map_err(|_| End::Gone)?,
                Ok(Heard::End(Ok(given))) => return Ok((slot, name, given)),
                Ok(Heard::End(Err(answer))) => return Err(End::Answer(answer)),
                Err(RecvTimeoutError::Disconnected) => {
                    let why = "the agent had a fault of its own; its log says which";
                    return Err(End::failed(LocalFailureKind::Busy, &why));
                }
            }
        }
    }

    /// Has the request for `name` carried out: by a thread of its own, as any of its callers may leave.
    fn lead(self: &Arc<Self>, name: &SecretName) {
        let service = Arc::clone(self);
        let to_ask = name.clone();
        let started = thread::Builder::new()
            .name("ask".to_owned())
            .spawn(move || {
                let mut shared = service.sharing.lead(to_ask.clone());
                match service.fetch(&to_ask, &mut shared) {
                    Ok(given) => shared.end(&Ok(Arc::new(given))),
                    Err(End::Answer(answer)) => shared.end(&Err(answer)),
                    Err(End::Gone) => {}
                }
            });
        if let Err(error) = started {
            self.log().info(&format!("cannot start a thread: {error}"));
            // Its callers hear that there is no answer.
            drop(self.sharing.lead(name.clone()));
        }
    }

    /// The pinned keys, read anew: an administrator who pins one need not restart the agent.
    fn admin_keys(&self) -> Result<AdminKeys, String> {
        let shown = self.admin_keys.display();
        let read = files::read(&self.admin_keys, MAX_KEY_FILE, Access::ReadByAll);
        let bytes = read.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => format!(
                "there is no {shown}, so no secret is believed: pin the key of an administrator with `nightlatch enroll \
                 --host-key --admin-key FILE`"
            ),
            _ => format!("cannot use {shown}: {error}; chown root: {shown} && chmod 0644 {shown}"),
        })?;
        AdminKeys::from_armored(&bytes).map_err(|error| {
            format!(
                "cannot use {shown}: {}; expected armoured public keys, as `nightlatch admin-key show` prints them",
                format_error(&error)
            )
        })
    }

    /// Asks one server after the other until one has given a secret that is believed.
    fn fetch(&self, name: &SecretName, shared: &mut Shared<'_, Shares>) -> Result<Given, End> {
        let host = self
            .secret_key
            .as_ref()
            .map_err(|why| End::failed(LocalFailureKind::Setup, why))?;
        let admins = || {
            let read = self.admin_keys();
            read.map_err(|why| End::failed(LocalFailureKind::Setup, &why))
        };
        // Without keys no server is asked.
        admins()?;
        let expected = Expected {
            host: self.host,
            name,
        };
        let mut answers = Answers::default();
        let mut tell = |line: &LocalAnswer| shared.tell(line).map_err(|NobodyListens| CallerGone);
        let shared_by_all = (&self.connections, &self.lookups);
        let mut pass = Pass::new(&self.reporter, name, shared_by_all, &mut tell);
        while let Some((server, address, answer)) = pass.next()? {
            let given = match answer {
                ServerAnswer::Given(given) => given,
                ServerAnswer::Refused { reason, retry } => {
                    answers.note(server, LocalAnswer::Refused { reason, retry });
                    continue;
                }
            };
            // A pass may last long: keys that were removed meanwhile are not believed any more.
            let opener = Opener {
                host,
                admins: &admins()?,
            };
            match judge(given, expected, &opener, &self.serials, clock::now().wall) {
                Ok(secret) => {
                    return Ok(Given {
                        secret,
                        server,
                        address,
                    });
                }
                Err(JudgeFault::State(fault)) => {
                    let what = format_error(&fault);
                    self.log().info(&what);
                    return Err(End::failed(LocalFailureKind::State, &what));
                }
                Err(JudgeFault::Rejected { reason, source }) => {
                    let why = source.map(|fault| format_error(&fault));
                    self.reject(name, reason, server, address, why.as_deref());
                    answers.note(server, LocalAnswer::Rejected(reason));
                }
            }
        }
        let (unreached, has_lost) = (pass.unreached(), pass.has_lost());
        drop(pass);
        if unreached > 0 {
            tell(&LocalAnswer::Unreached(unreached))?;
        }
        Err(End::Answer(answers.last_line(has_lost)))
    }

    /// Logs it and has every server told, unless that was done a short time ago.
    fn reject(
        &self,
        name: &SecretName,
        reason: RejectionReason,
        server: KeyId,
        address: SocketAddr,
        why: Option<&str>,
    ) {
        let name = name.clone();
        let what = format!(
            "the secret {name} of the server {server} at {address} is {reason}, and is not handed out: {}{}",
            reason.sentence(),
            why.map(|why| format!(" ({why})")).unwrap_or_default()
        );
        if self.reporter.reject(server, &Rejection { reason, name }) {
            self.log().alarm(&what);
        } else {
            self.log().debug(|| what);
        }
    }

    fn log(&self) -> Log {
        self.reporter.log
    }
}

/// The end of a request without a value.
#[derive(Debug)]
enum End {
    /// The request ends with this last line.
    Answer(LocalAnswer),
    /// No caller listens.
    Gone,
}

impl End {
    fn failed(kind: LocalFailureKind, why: &impl ToString) -> Self {
        Self::Answer(failed(kind, &why.to_string()))
    }
}

impl From<CallerGone> for End {
    fn from(_: CallerGone) -> Self {
        Self::Gone
    }
}

fn failed(kind: LocalFailureKind, text: &str) -> LocalAnswer {
    LocalAnswer::Failed(LocalFailure::new(kind, text))
}

fn allowed(may: io::Result<bool>, peer: &PeerCredentials, name: &SecretName) -> Result<(), End> {
    let user = peer.user;
    match may {
        Ok(true) => Ok(()),
        Ok(false) => Err(End::failed(
            LocalFailureKind::NotAllowed,
            &format!(
                "user {user} may not ask for {name}: name it in allow.{name} of agent.conf, and restart the agent"
            ),
        )),
        Err(error) => Err(End::failed(
            LocalFailureKind::Lookup,
            &format!(
                "cannot look up the users that allow.{name} of agent.conf names: {error}; `getent passwd` and `getent group` \
                 ask the same database"
            ),
        )),
    }
}
