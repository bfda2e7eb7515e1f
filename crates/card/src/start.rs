//! The start and the end of the agent: memory, sockets, threads, signals.

use std::fs;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::process;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use nightlatch_console::failure::{EX_CONFIG, EX_NOINPUT, EX_OSERR, EX_SOFTWARE, Failure};
use nightlatch_core::settings::card::{self, CardSettings};
use nightlatch_sys::signals::{EndSignals, Signal, die_of};
use nightlatch_sys::users::SystemUsers;
use nightlatch_sys::{clock, memory};
use rustix::event::{PollFd, PollFlags, poll};
use sd_notify::NotifyState;

use crate::access::AccessRules;
use crate::admission::Admission;
use crate::board::Board;
use crate::cli::{AgentOptions, CONFIG};
use crate::control_service::ControlService;
use crate::log;
use crate::pcsc_readers::{self, PcscReaders};
use crate::pcscd_access::{self, PcscdAccess};
use crate::policy::SigningPolicy;
use crate::service::Service;
use crate::sockets::Sockets;
use crate::usual_hosts_file::UsualHostsFile;
use crate::worker::{Order, Worker, WorkerEnd};

/// Orders that wait for the card: one for each client, and some. With more the card is busy.
const QUEUE: usize = 512;

/// Time for the first look at the card, so that the first caller gets its state. A card that hangs must not keep the agent from
/// answering.
const FIRST_LOOK: Duration = Duration::from_secs(3);

/// Time for the card to be reset at the end.
const LAST_RESET: Duration = Duration::from_secs(2);

/// The variable with the state directory of the unit.
const STATE: &str = "STATE_DIRECTORY";

/// Runs the agent until a signal ends it.
pub(crate) fn run(options: &AgentOptions) -> Result<u8, Failure> {
    // Before the first thread.
    let signals = EndSignals::hold().map_err(system("hold back signals"))?;
    log::silence_panics();
    memory::forbid_core_dumps().map_err(system("forbid core dumps"))?;
    if let Err(error) = memory::lock_all() {
        log::info(&format!("memory is not locked: {error}"));
    }
    let settings = read_settings(&options.config)?;
    PcscdAccess::look()
        .judge_for(settings.open_pcscd)
        .map_err(|open| Failure::new(EX_CONFIG, open.to_string()).hint(pcscd_access::MEND))?;
    let sockets = Sockets::open(options)?;
    let own = rustix::process::geteuid().as_raw();
    let access = AccessRules::new(own, &settings);
    let for_warning = access.clone();
    spawn("users", move || warn_of_unknown_callers(&for_warning))?;
    let policy = Arc::new(SigningPolicy::new(&settings, own, usual_hosts));
    let board = Arc::new(Board::new());
    let (orders, received) = sync_channel(QUEUE);
    let (ended, end) = sync_channel(1);
    let worker = Worker::new(
        PcscReaders::new(settings.open_pcscd),
        settings,
        Arc::clone(&board),
    );
    spawn("card", move || {
        if let Some(exit) = run_card(|| worker.run(&received)) {
            process::exit(exit.into());
        }
        let _ = ended.send(());
    })?;
    look_first(&orders);
    let for_watch = orders.clone();
    spawn("readers", move || pcsc_readers::watch(&for_watch))?;
    let service = Arc::new(Service {
        board: Arc::clone(&board),
        orders: orders.clone(),
        policy: Arc::clone(&policy),
        admission: Admission::new(access.clone()),
        refused: Mutex::default(),
        refused_signatures: Mutex::default(),
        refused_binds: Mutex::default(),
    });
    spawn("agent", move || service.accept_all(&sockets.agent))?;
    let control = Arc::new(ControlService {
        board,
        orders: orders.clone(),
        policy,
        admission: Admission::new(access),
    });
    spawn("control", move || control.accept_all(&sockets.control))?;
    notify(NotifyState::Ready);
    let signal = wait_for(&signals)?;
    notify(NotifyState::Stopping);
    // The worker's end resets the card. pcscd does it too, once this process has ended.
    if orders.try_send(Order::Stop).is_ok() {
        let _ = end.recv_timeout(LAST_RESET);
    }
    drop(sockets.made);
    match signal {
        Signal::Terminate => Ok(0),
        signal => die_of(signal),
    }
}

/// Says which names in `allow` are nobody's. In a thread of its own: a user database may take long.
fn warn_of_unknown_callers(access: &AccessRules) {
    for caller in access.unknown(&SystemUsers) {
        log::info(&format!(
            "card.conf: allow: this machine has no {caller} now, and nobody is allowed by that word"
        ));
    }
}

/// The usual hosts, in the state directory that systemd makes (StateDirectory= of systemd.exec(5)).
fn usual_hosts() -> Option<UsualHostsFile> {
    let Some(folder) = std::env::var_os(STATE).filter(|folder| !folder.is_empty()) else {
        log::info("no state directory: a login to a host that is not usual is no alarm");
        return None;
    };
    Some(UsualHostsFile::open(Path::new(&folder), clock::now().wall))
}

/// Runs the card's thread. Gives the exit status of the process if it ends without an order: nothing can be done without it, and
/// systemd starts the agent again.
fn run_card(run: impl FnOnce() -> WorkerEnd) -> Option<u8> {
    match panic::catch_unwind(AssertUnwindSafe(run)) {
        Ok(WorkerEnd::Stopped) => None,
        Ok(WorkerEnd::NoOrders) | Err(_) => {
            log::alarm("the thread of the card has ended; the agent ends too");
            Some(EX_SOFTWARE)
        }
    }
}

fn look_first(orders: &SyncSender<Order>) {
    let (reply, looked) = sync_channel(1);
    // The queue is empty, and its reader was started.
    let _ = orders.send(Order::Look);
    let _ = orders.send(Order::Answer { reply });
    let _ = looked.recv_timeout(FIRST_LOOK);
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> Failure {
    move |error| Failure::new(EX_OSERR, format!("cannot {what}")).because(error)
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    let started = thread::Builder::new().name(name.to_owned()).spawn(run);
    started.map(drop).map_err(system("start a thread"))
}

/// A manager that does not read must not keep the agent from its work.
fn notify(state: NotifyState) {
    let _ = sd_notify::notify(&[state]);
}

fn wait_for(signals: &EndSignals) -> Result<Signal, Failure> {
    loop {
        if let Some(signal) = signals.next().map_err(system("read a signal"))? {
            return Ok(signal);
        }
        let mut ready = [PollFd::new(signals, PollFlags::IN)];
        match poll(&mut ready, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(system("wait for a signal")(error.into())),
        }
    }
}

fn read_settings(path: &Path) -> Result<CardSettings, Failure> {
    let shown = path.display().to_string();
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && path == Path::new(CONFIG) => {
            return Ok(CardSettings::default());
        }
        Err(error) => {
            return Err(Failure::new(EX_NOINPUT, format!("cannot read {shown}")).because(error));
        }
    };
    match card::parse(&shown, &text) {
        Ok(parsed) => {
            for warning in parsed.warnings {
                log::info(&warning.to_string());
            }
            Ok(parsed.value)
        }
        Err(errors) => {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            // A client that waits has systemd start it again and again, until the start limit.
            Err(Failure::new(EX_CONFIG, errors.join("\n")).hint(format!(
                "mend {shown}, see card.conf(5); then `systemctl reset-failed nightlatch-card` and `systemctl restart nightlatch-card`"
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_ends_with_the_thread_of_the_card() {
        assert_eq!(run_card(|| WorkerEnd::Stopped), None);
        assert_eq!(run_card(|| WorkerEnd::NoOrders), Some(70));
        assert_eq!(run_card(|| panic!("a fault")), Some(70));
    }

    #[test]
    fn a_faulty_file_names_its_faults_and_a_missing_one_is_an_error_if_it_was_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("card.conf");
        let missing = read_settings(&path).unwrap_err();
        assert_eq!(missing.exit(), EX_NOINPUT);
        fs::write(&path, "[card]\ncard = 1\nafter_removal = never\n").unwrap();
        let faulty = read_settings(&path).unwrap_err();
        assert_eq!(faulty.exit(), EX_CONFIG);
        assert_eq!(faulty.to_string().lines().count(), 2);
        fs::write(&path, "[card]\nallow = backup\n").unwrap();
        assert_eq!(read_settings(&path).unwrap().allow.len(), 1);
    }
}
