//! The clients of the agent's socket: each has a thread, which answers from memory what it can, and asks the card's thread for a
//! signature.

use std::fmt;
use std::io::{self, Read as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use nightlatch_core::time::Monotonic;
use nightlatch_sys::clock;
use nightlatch_sys::local_stream::{read_exact, write_all};
use nightlatch_sys::peers::{PeerCredentials, PeerProcess};
use nightlatch_sys::users::SystemUsers;

use crate::admission::{Admission, Newcomer, NotAdmitted};
use crate::agent_protocol::{AgentAnswer, AgentRequest, MAX_FRAME, SessionBind, SignRequest};
use crate::binds::ClientBinds;
use crate::board::Board;
use crate::card_lock::CardState;
use crate::host_rules::{HostRefusalKind, LoginHost};
use crate::key::{AuthKey, SignFault, SignInput};
use crate::log;
use crate::policy::{PolicyRefusal, SigningPolicy, proved_host};
use crate::purpose::{Purpose, UnknownPurpose};
use crate::repeats::Repeats;
use crate::report::Sentence;
use crate::slots::Slot;
use crate::worker::{Order, SignOrder, SignRefusal};

/// Time for a signature. A job must fail, not hang, when the card or its reader hangs.
const SIGNATURE: Duration = Duration::from_secs(5);

/// Time for a client to send the rest of a frame, and to take an answer.
const FRAME: Duration = Duration::from_secs(5);

/// Pause after a client that could not be accepted, as when the process has too many files open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A client's thread does little: hundreds of them must not take much memory.
const STACK: usize = 256 * 1024;

/// Everything that clients need.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) board: Arc<Board>,
    pub(crate) orders: SyncSender<Order>,
    pub(crate) policy: Arc<SigningPolicy>,
    pub(crate) admission: Admission,
    pub(crate) refused: Mutex<Repeats<u32>>,
    pub(crate) refused_signatures: Mutex<Repeats<(u32, RefusalKind)>>,
    /// Binds that were refused, which a user can cause as often as it likes.
    pub(crate) refused_binds: Mutex<Repeats<u32>>,
}

/// A client, as long as its connection lasts.
struct Client {
    user: u32,
    /// Its process when it connected, for the log: the number may be another one's by now.
    process: Option<i32>,
    binds: ClientBinds,
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "user {}", self.user)?;
        match self.process {
            Some(process) => write!(f, " (process {process})"),
            None => Ok(()),
        }
    }
}

/// A request that is refused, for the log. The protocol has no room for the reason.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
enum Refusal {
    #[error("{0}")]
    NotUnlocked(String),
    #[error("it asks for another key than the card's")]
    OtherKey,
    #[error(transparent)]
    Purpose(#[from] UnknownPurpose),
    #[error(transparent)]
    Policy(#[from] PolicyRefusal),
    #[error(transparent)]
    Input(#[from] SignFault),
    #[error(transparent)]
    Card(#[from] SignRefusal),
}

/// A user causes one line of the log for each kind in a while.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum RefusalKind {
    NotUnlocked,
    OtherKey,
    Purpose,
    Namespace,
    Hours,
    Host(HostRefusalKind),
    Input,
    Card,
}

impl Refusal {
    const fn kind(&self) -> RefusalKind {
        match self {
            Self::NotUnlocked(_) => RefusalKind::NotUnlocked,
            Self::OtherKey => RefusalKind::OtherKey,
            Self::Purpose(_) => RefusalKind::Purpose,
            Self::Policy(PolicyRefusal::Namespace(_)) => RefusalKind::Namespace,
            Self::Policy(PolicyRefusal::Hours(_)) => RefusalKind::Hours,
            Self::Policy(PolicyRefusal::Host(host)) => RefusalKind::Host(host.kind()),
            Self::Input(_) => RefusalKind::Input,
            Self::Card(_) => RefusalKind::Card,
        }
    }
}

/// The end of a request to sign, for the log.
struct SignEnd {
    purpose: Result<Purpose, UnknownPurpose>,
    /// The host of a login, if the client has proved it.
    end: Result<Option<LoginHost>, Refusal>,
}

impl Service {
    /// Serves clients for ever.
    pub(crate) fn accept_all(self: &Arc<Self>, listener: &UnixListener) {
        loop {
            let accepted = listener.accept().and_then(|(stream, _)| {
                let peer = PeerCredentials::of(&stream)?;
                Ok((stream, peer))
            });
            let started = accepted.and_then(|(stream, peer)| self.start(stream, peer));
            if let Err(error) = started {
                log::info(&format!("cannot accept a client: {error}"));
                thread::sleep(ACCEPT_PAUSE);
            }
        }
    }

    fn start(self: &Arc<Self>, stream: UnixStream, peer: PeerCredentials) -> io::Result<()> {
        let Some(newcomer) = self.admission.begin(peer.user, &stream)? else {
            self.log_refused(peer.user, "has too many clients");
            return Ok(());
        };
        let service = Arc::clone(self);
        let thread = thread::Builder::new()
            .name("client".to_owned())
            .stack_size(STACK);
        thread.spawn(move || service.serve(stream, &peer, newcomer))?;
        Ok(())
    }

    fn serve(&self, mut stream: UnixStream, peer: &PeerCredentials, mut newcomer: Newcomer) {
        let slot = match self.admission.finish(&mut newcomer, peer, &SystemUsers) {
            Ok(slot) => slot,
            Err(NotAdmitted::NotAllowed) => {
                self.log_refused(
                    peer.user,
                    "may not use the card: name it, or a group of it, in `allow` of card.conf",
                );
                return;
            }
            Err(NotAdmitted::TooMany) => {
                self.log_refused(peer.user, "has too many clients");
                return;
            }
        };
        // It has a copy of the connection, which would keep that open.
        drop(newcomer);
        // A client that goes away, or is too slow, ends its own thread only.
        let client = Client {
            user: peer.user,
            process: PeerProcess::of(&stream)
                .ok()
                .map(|peer| peer.pid.as_raw_nonzero().get()),
            binds: ClientBinds::default(),
        };
        let _ = self.talk(&mut stream, client, &slot);
    }

    /// A user can cause it as often as it likes, and must not fill the log.
    fn log_refused(&self, user: u32, why: &str) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.is_new(user, clock::now().mono) {
            log::info(&format!("user {user} {why}"));
        }
    }

    fn talk(&self, stream: &mut UnixStream, mut client: Client, slot: &Slot) -> io::Result<()> {
        loop {
            let mut length = [0; 4];
            // As long as nothing was sent, a client may take its time.
            stream.set_read_timeout(None)?;
            if stream.read(&mut length[..1])? == 0 {
                return Ok(());
            }
            slot.set_idle(false);
            read_exact(stream, &mut length[1..], FRAME)?;
            let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
            if length == 0 || length > MAX_FRAME {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let mut frame = vec![0; length];
            read_exact(stream, &mut frame, FRAME)?;
            let request = AgentRequest::parse(&frame)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            let (answer, end) = self.answer(&request, &mut client);
            let written = write_all(stream, &answer.frame(), FRAME);
            // A log that takes its time keeps no client waiting. A client that has gone away has its line too.
            if let Some(end) = end {
                self.tell(&end, &client);
            }
            written?;
            slot.set_idle(true);
        }
    }

    fn answer(
        &self,
        request: &AgentRequest,
        client: &mut Client,
    ) -> (AgentAnswer, Option<SignEnd>) {
        match request {
            AgentRequest::List => {
                let board = self.board.read();
                let keys = board.card.iter();
                let keys =
                    keys.map(|card| (card.key.blob(), format!("card {}", card.aid.serial())));
                (AgentAnswer::Identities(keys.collect()), None)
            }
            AgentRequest::Sign(request) => {
                let purpose = Purpose::parse(&request.data);
                let (answer, end) = match self.sign(request, &purpose, client) {
                    Ok((signature, host)) => (AgentAnswer::Signature(signature), Ok(host)),
                    Err(refusal) => (AgentAnswer::Failure, Err(refusal)),
                };
                (answer, Some(SignEnd { purpose, end }))
            }
            AgentRequest::SessionBind(bind) => (self.bind(bind, client), None),
            AgentRequest::Other(_) => (AgentAnswer::Failure, None),
        }
    }

    fn bind(&self, bind: &SessionBind, client: &mut Client) -> AgentAnswer {
        let Err(fault) = client.binds.bind(bind) else {
            return AgentAnswer::Success;
        };
        let mut refused = self
            .refused_binds
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if refused.is_new(client.user, clock::now().mono) {
            log::info(&format!("refused to bind a session for {client}: {fault}"));
        }
        AgentAnswer::Failure
    }

    fn tell(&self, end: &SignEnd, client: &Client) {
        let purpose = end.purpose.as_ref().ok();
        let refusal = match &end.end {
            Ok(host) => {
                let what = SignedFor(purpose, host.as_ref());
                log::info(&format!("signed for {client}{what}"));
                return;
            }
            Err(refusal) => refusal,
        };
        if self.is_new_refusal(client.user, refusal.kind(), clock::now().mono) {
            let host = purpose.and_then(|purpose| proved_host(purpose, &client.binds));
            let what = SignedFor(purpose, host.as_ref());
            log::info(&format!("refused a signature to {client}{what}: {refusal}"));
        }
        if let Refusal::Policy(refusal) = refusal {
            self.policy.refused(client.user, refusal, clock::now().mono);
        }
    }

    /// A user can cause refusals as often as it likes, and must not fill the log.
    fn is_new_refusal(&self, user: u32, kind: RefusalKind, now: Monotonic) -> bool {
        let refused = self.refused_signatures.lock();
        let mut refused = refused.unwrap_or_else(PoisonError::into_inner);
        refused.is_new((user, kind), now)
    }

    /// A signature, and the host of a login if the client has proved it.
    fn sign(
        &self,
        request: &SignRequest,
        purpose: &Result<Purpose, UnknownPurpose>,
        client: &Client,
    ) -> Result<(Vec<u8>, Option<LoginHost>), Refusal> {
        let board = self.board.read();
        let is_ready = matches!(board.state, CardState::Unlocked(_)) || board.recovers;
        let card = match &board.card {
            Some(card) if is_ready => card,
            _ => return Err(Refusal::NotUnlocked(Sentence(&board).to_string())),
        };
        if request.key != card.key.blob() {
            return Err(Refusal::OtherKey);
        }
        let purpose = purpose.as_ref().map_err(|unknown| *unknown)?;
        let now = clock::now();
        let ahead = clock::known_ahead_of_utc(now.wall);
        let host = self.policy.allow(purpose, &client.binds, now.wall, ahead)?;
        let input = card.key.sign_input(&request.data, request.flags)?;
        let algorithm = input.algorithm;
        let raw = self.sign_by_card(card.key.clone(), input)?;
        let signature = card.key.signature(algorithm, &raw)?;
        if matches!(purpose, Purpose::Login { .. }) {
            self.policy.login_signed(client.user, host.as_ref(), now);
        }
        Ok((signature, host))
    }

    fn sign_by_card(&self, key: AuthKey, input: SignInput) -> Result<Vec<u8>, SignRefusal> {
        let (reply, signed) = sync_channel(1);
        let order = SignOrder {
            key,
            input,
            until: clock::now().mono.after(SIGNATURE),
            reply,
        };
        let queued = self.orders.try_send(Order::Sign(order));
        queued.map_err(|_| SignRefusal::Busy)?;
        signed
            .recv_timeout(SIGNATURE)
            .map_err(|_| SignRefusal::Busy)?
    }
}

/// The purpose of a signature and the host, in the middle of a line of the log.
struct SignedFor<'s>(Option<&'s Purpose>, Option<&'s LoginHost>);

impl fmt::Display for SignedFor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(purpose) = self.0 else {
            return Ok(());
        };
        write!(f, ": {purpose}")?;
        let is_login = matches!(purpose, Purpose::Login { .. });
        match self.1 {
            Some(LoginHost { name, fingerprint }) => {
                if let Some(name) = name {
                    write!(f, " on {name}")?;
                }
                write!(f, ", host key {fingerprint}")
            }
            None if is_login => f.write_str(", host key not proved"),
            None => Ok(()),
        }
    }
}
