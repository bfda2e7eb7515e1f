//! The state that the threads of the daemon share: the schedule, the boots, the count of resumes; and the thread of one try.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{io, thread};

use nightlatch_core::boot_nonce::{BootMark, BootNonce, BootSeed};
use nightlatch_core::connect::Target;
use nightlatch_core::error_chain::format_error;
use nightlatch_core::key_id::KeyId;
use nightlatch_core::remembered_servers;
use nightlatch_core::secret_rejection::Rejection;
use nightlatch_core::time::Monotonic;
use nightlatch_proto::release::{Accepted, Heartbeat, Request};
use nightlatch_proto::tls::{HostTls, ReportError};
use nightlatch_sys::{clock, sleep};
use rustix::event::{EventfdFlags, eventfd};

use crate::attempt::{AttemptError, Limits, attempt};
use crate::boots::Boots;
use crate::files;
use crate::log::Log;
use crate::rejections::Rejections;
use crate::schedule::{LONGEST_TRY, Schedule, Try, TryId};
use crate::sleeps::{SleepCounter, SleepReading, SleepState};

/// The greatest number of faults that are remembered, so that each is logged once.
const MAX_FAULTS: usize = 1024;

/// Shared by all threads.
pub(crate) struct Reporter {
    pub(crate) tls: HostTls,
    pub(crate) seed: BootSeed,
    pub(crate) poke_port: Option<NonZeroU16>,
    /// The file with the boots.
    pub(crate) boots_file: PathBuf,
    /// The file with the count of resumes.
    pub(crate) sleeps_file: PathBuf,
    /// The file with the addresses of servers, for the next boot image and the next run.
    pub(crate) remembered_file: PathBuf,
    /// The file with the rejections of which a server has not heard.
    pub(crate) rejections_file: PathBuf,
    pub(crate) log: Log,
    /// Held while the file with the rejections is written, and taken before `state`.
    writing_rejections: Mutex<()>,
    state: Mutex<ReporterState>,
    wake: OwnedFd,
}

/// The part that changes.
pub(crate) struct ReporterState {
    pub(crate) schedule: Schedule,
    pub(crate) boots: Boots,
    pub(crate) sleeps: SleepCounter,
    pub(crate) rejections: Rejections,
    /// The address at which each server was last told.
    pub(crate) addresses: BTreeMap<KeyId, SocketAddr>,
    /// The places where an earlier run has told servers. Empty once this run has told every server.
    pub(crate) remembered: Vec<Target>,
    /// The last fault at each place, so that it is logged once and not at each retry.
    faults: BTreeMap<String, String>,
}

/// Everything that [`Reporter::new`] takes.
pub(crate) struct ReporterParts {
    pub(crate) tls: HostTls,
    pub(crate) seed: BootSeed,
    pub(crate) poke_port: Option<NonZeroU16>,
    pub(crate) boots_file: PathBuf,
    pub(crate) sleeps_file: PathBuf,
    pub(crate) remembered_file: PathBuf,
    pub(crate) rejections_file: PathBuf,
    pub(crate) log: Log,
    pub(crate) schedule: Schedule,
    pub(crate) boots: Boots,
    pub(crate) sleeps: SleepCounter,
    pub(crate) rejections: Rejections,
    pub(crate) remembered: Vec<Target>,
}

impl Reporter {
    pub(crate) fn new(parts: ReporterParts) -> io::Result<Self> {
        Ok(Self {
            tls: parts.tls,
            seed: parts.seed,
            poke_port: parts.poke_port,
            boots_file: parts.boots_file,
            sleeps_file: parts.sleeps_file,
            remembered_file: parts.remembered_file,
            rejections_file: parts.rejections_file,
            log: parts.log,
            writing_rejections: Mutex::new(()),
            state: Mutex::new(ReporterState {
                schedule: parts.schedule,
                boots: parts.boots,
                sleeps: parts.sleeps,
                rejections: parts.rejections,
                addresses: BTreeMap::new(),
                remembered: parts.remembered,
                faults: BTreeMap::new(),
            }),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// A thread that panicked has left nothing half done: each change is one call.
    pub(crate) fn state(&self) -> MutexGuard<'_, ReporterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Readable when a try has changed something.
    pub(crate) fn wake_descriptor(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    pub(crate) fn drain_wake(&self) {
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
    }

    fn wake(&self) {
        // It is full only when it wakes already.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    pub(crate) fn nonce(&self, server: &KeyId) -> BootNonce {
        BootNonce::new(&self.seed, Some(server))
    }

    /// Has every server told of a rejection of what `server` gave, in a heartbeat that is due at once. False when the log
    /// has had the same of this server a short time ago.
    pub(crate) fn reject(&self, server: KeyId, rejection: &Rejection) -> bool {
        let now = clock::now().mono;
        let mut state = self.state();
        let is_news = state.rejections.is_news(server, rejection, now);
        let is_new = state.rejections.add(rejection, now);
        if is_new {
            state.schedule.tell_soon(now);
        }
        drop(state);
        if is_new {
            self.write_rejections();
            self.wake();
        }
        is_news
    }

    /// Takes note of sleeps. `Some` is the time at which reports may go on.
    pub(crate) fn observe_sleeps(&self, now: Monotonic) -> Option<Monotonic> {
        let reading = read_sleeps();
        let mut state = self.state();
        let before = state.sleeps.sleeps().resumes;
        match state.sleeps.observe(now, reading) {
            SleepState::Known => None,
            SleepState::Unsettled(until) => Some(until),
            SleepState::Counted => {
                let sleeps = state.sleeps.sleeps();
                let text = sleeps.to_text();
                if let Err(error) = files::replace(&self.sleeps_file, text.as_bytes()) {
                    let file = self.sleeps_file.display();
                    self.log.info(&format!("cannot write {file}: {error}"));
                }
                state.schedule.end_hold();
                if sleeps.resumes > before {
                    self.log.info(&format!(
                        "resumed from hibernation, {} in this boot",
                        sleeps.resumes
                    ));
                    state.schedule.all_due(now);
                }
                None
            }
        }
    }

    /// Starts the thread of a try.
    pub(crate) fn start(self: &Arc<Self>, one: Try) {
        let reporter = Arc::clone(self);
        let id = one.id;
        self.log
            .debug(|| format!("trying {} for a heartbeat", one.place));
        let started = thread::Builder::new()
            .name("report".to_owned())
            .spawn(move || {
                let _end = EndOfTry(&reporter, one.id);
                reporter.run(&one);
            });
        if let Err(error) = started {
            self.log.info(&format!("cannot start a thread: {error}"));
            self.state().schedule.finished(id);
        }
    }

    /// Goes through the addresses of the place, as long as a server is due.
    fn run(&self, one: &Try) {
        let until = clock::now().mono.after(LONGEST_TRY);
        let name = one.place.to_string();
        let addresses = match one.place.addresses() {
            Ok(addresses) => addresses,
            Err(error) => return self.fault(&name, &format_error(&error)),
        };
        for address in addresses {
            let now = clock::now().mono;
            if now >= until || !self.state().schedule.wants_more(now) {
                return;
            }
            let shown = match address.to_string() {
                address if address == name => name.clone(),
                address => format!("{name} ({address})"),
            };
            if let Err(error) = self.heartbeat(one.id, address, &shown, until) {
                self.fault(&shown, &format_error(&error));
            }
        }
    }

    fn heartbeat(
        &self,
        id: TryId,
        address: SocketAddr,
        shown: &str,
        until: Monotonic,
    ) -> Result<(), AttemptError> {
        let (mut listed, mut rejected) = (Vec::new(), Vec::new());
        let mut server = None;
        let result = attempt(&self.tls, address, Limits::heartbeat(until), |key| {
            let heartbeat = self.heartbeat_for(id, key)?;
            server = Some(key);
            listed.clone_from(&heartbeat.earlier_boots);
            rejected.clone_from(&heartbeat.rejected);
            Some(Request::Heartbeat(heartbeat))
        });
        match result {
            Ok(Some((key, accepted))) => {
                self.accepted(id, key, &accepted, &listed, &rejected);
                self.log_accepted(key, address, shown, &accepted);
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(error) => {
                if let (Some(key), AttemptError::Report(refusal)) = (server, &error) {
                    self.refused(id, key, refusal);
                }
                Err(error)
            }
        }
    }

    /// The heartbeat for this server, if it is due.
    fn heartbeat_for(&self, id: TryId, key: KeyId) -> Option<Heartbeat> {
        let now = clock::now().mono;
        // Between a resume and its count, a heartbeat would make the machine's own request look like a theft.
        if let Some(until) = self.observe_sleeps(now) {
            self.state().schedule.hold(until);
        }
        let mut state = self.state();
        if !state.schedule.connected(id, key, now) {
            return None;
        }
        Some(Heartbeat {
            boot: self.nonce(&key),
            resumes: state.sleeps.sleeps().resumes,
            poke_port: self.poke_port,
            earlier_boots: state.boots.unheard(&self.seed, &key),
            poked: state.schedule.answers(&key),
            program: concat!("nightlatch-agent ", env!("CARGO_PKG_VERSION")).to_owned(),
            rejected: state.rejections.unheard(&key),
        })
    }

    fn accepted(
        &self,
        id: TryId,
        key: KeyId,
        accepted: &Accepted,
        listed: &[BootMark],
        rejected: &[Rejection],
    ) {
        let now = clock::now().mono;
        let mut state = self.state();
        state
            .schedule
            .accepted(id, key, accepted.next, accepted.token, now);
        if state.boots.heard(&self.seed, listed, &key) {
            self.write_boots(&state.boots);
        }
        let is_heard = state.rejections.heard(&key, rejected);
        drop(state);
        if is_heard {
            self.write_rejections();
        }
    }

    /// Logs the first acceptance, and the first after a fault or at another address.
    fn log_accepted(&self, key: KeyId, address: SocketAddr, shown: &str, accepted: &Accepted) {
        let mut state = self.state();
        let moved = state.addresses.insert(key, address) != Some(address);
        if moved {
            if state.addresses.len() >= state.schedule.server_count() {
                state.remembered.clear();
            }
            self.write_remembered(&state);
        }
        let mended = state.faults.remove(shown).is_some();
        let line = format!(
            "the server {key} at {address} knows that this machine is up; again within {} s",
            accepted.next.as_secs()
        );
        if moved || mended {
            self.log.info(&line);
        } else {
            self.log.debug(|| line);
        }
    }

    /// Losing this file costs the next boot a second. What an earlier run has remembered stays until every server is told:
    /// the file does not say which server was where.
    fn write_remembered(&self, state: &ReporterState) {
        let told = state.addresses.values().copied();
        let mut targets: Vec<Target> = told.filter_map(remembered_servers::target).collect();
        for target in &state.remembered {
            if !targets.contains(target) {
                targets.push(target.clone());
            }
        }
        let text = remembered_servers::text_of(targets);
        if let Err(error) = files::replace(&self.remembered_file, text.as_bytes()) {
            let file = self.remembered_file.display();
            self.log.info(&format!("cannot write {file}: {error}"));
        }
    }

    /// Losing this file costs an alarm, not the next boot.
    fn write_boots(&self, boots: &Boots) {
        if let Err(error) = files::replace(&self.boots_file, boots.to_text().as_bytes()) {
            let file = self.boots_file.display();
            self.log.info(&format!("cannot write {file}: {error}"));
        }
    }

    /// Losing this file costs an alarm where this program ends before every server has heard of the rejections.
    /// A server chooses how often that is, and heartbeats do not wait for it.
    fn write_rejections(&self) {
        let writing = self.writing_rejections.lock();
        let _writing = writing.unwrap_or_else(PoisonError::into_inner);
        let text = self.state().rejections.to_text();
        if let Err(error) = files::replace(&self.rejections_file, text.as_bytes()) {
            let file = self.rejections_file.display();
            self.log.info(&format!("cannot write {file}: {error}"));
        }
    }

    fn refused(&self, id: TryId, key: KeyId, refusal: &ReportError) {
        let retry = match refusal {
            ReportError::Refused => None,
            ReportError::RefusedFor { retry, .. } => *retry,
            // The connection or the answer was at fault; another address of the server may do.
            ReportError::NoRelease | ReportError::Cut | ReportError::Server(_) => return,
        };
        let now = clock::now().mono;
        self.state().schedule.refused(id, key, retry, now);
    }

    /// Logs a fault, unless it is the last one at this place too.
    pub(crate) fn fault(&self, place: &str, what: &str) {
        let mut state = self.state();
        if state.faults.get(place).is_some_and(|last| last == what) {
            return;
        }
        if state.faults.len() >= MAX_FAULTS {
            state.faults.clear();
        }
        state.faults.insert(place.to_owned(), what.to_owned());
        self.log.info(&format!("cannot report to {place}: {what}"));
    }
}

/// Ends a try, also one over which its thread panicked.
struct EndOfTry<'r>(&'r Reporter, TryId);

impl Drop for EndOfTry<'_> {
    fn drop(&mut self) {
        self.0.state().schedule.finished(self.1);
        self.0.wake();
    }
}

/// The kernel's present count of sleeps.
pub(crate) fn read_sleeps() -> SleepReading {
    SleepReading {
        asleep: sleep::asleep(),
        suspends: sleep::suspends(),
    }
}
