//! The questions that stand in the directory, and what becomes of each.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use nightlatch_core::secret::Secret;
use nightlatch_sys::clock;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use zeroize::Zeroizing;

use super::question::{Question, parse};
use crate::files::{PathHandle, is_owned, is_trusted, read_all};
use crate::log::{AppletLog, format_error};

/// Names of questions begin with it.
const PREFIX: &[u8] = b"ask.";

/// The longest file that is a question.
const MAX_FILE: usize = 64 * 1024;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum QuestionState {
    /// It waits for the password.
    Open,
    /// It is answered, is no question, or is left to a person.
    Done,
}

/// All questions of a directory.
#[derive(Debug)]
pub(super) struct Questions<'a> {
    directory: &'a Path,
    log: AppletLog,
    states: BTreeMap<OsString, QuestionState>,
    /// Ids of answered questions. When one comes again, its password was refused.
    answered: BTreeSet<String>,
}

impl<'a> Questions<'a> {
    /// None seen yet.
    pub(super) fn of(directory: &'a Path, log: AppletLog) -> Self {
        Self {
            directory,
            log,
            states: BTreeMap::new(),
            answered: BTreeSet::new(),
        }
    }

    /// True while there is any question, answered or not.
    pub(super) fn any(&self) -> bool {
        !self.states.is_empty()
    }

    /// Looks at the directory anew, and answers with `password`, if there is one, what is open.
    pub(super) fn update(&mut self, password: Option<&Secret>) -> io::Result<()> {
        let mut here = BTreeSet::new();
        for entry in fs::read_dir(self.directory)? {
            let name = entry?.file_name();
            if name.as_bytes().starts_with(PREFIX) {
                here.insert(name);
            }
        }
        self.states.retain(|name, _| here.contains(name));
        for name in here {
            if self.states.get(&name) == Some(&QuestionState::Done) {
                continue;
            }
            let states = match self.read(&name) {
                Some(question) => self.handle(&question, password),
                None => QuestionState::Done,
            };
            self.states.insert(name, states);
        }
        Ok(())
    }

    /// The question in a file; none when the file is no question, or no process waits for the answer.
    fn read(&self, name: &OsString) -> Option<Question> {
        let path = self.directory.join(name);
        let shown = path.display();
        let leave_out = |why: &str| self.log.info(&format!("leaving out {shown}: {why}"));
        // One that is not there was taken back in between.
        let found = PathHandle::at(&path).ok()?;
        if !found.about().is_file() || !is_owned(found.about()) {
            leave_out("expected a file of root's or this user's that others cannot write to");
            return None;
        }
        let text = found.open(OpenOptions::new().read(true)).ok()?;
        let text = read_all(&text, MAX_FILE).ok()?;
        let question = match parse(&String::from_utf8_lossy(&text)) {
            Ok(question) => question,
            Err(error) => {
                leave_out(&format_error(&error));
                return None;
            }
        };
        if question.for_pin {
            leave_out("a token's PIN is for a person to type");
            return None;
        }
        let waits = is_in_time(&question) && has_asker(&question);
        if !waits {
            let log = self.log;
            log.debug(|| format!("nobody waits any more for the answer to {shown}"));
        }
        waits.then_some(question)
    }

    fn handle(&mut self, question: &Question, password: Option<&Secret>) -> QuestionState {
        let id = &question.id;
        if !id.is_empty() && self.answered.contains(id) {
            let what = format!("the password was refused for {id:?}");
            self.log.info(&format!("{what}: a person must answer"));
            return QuestionState::Done;
        }
        let Some(password) = password else {
            return QuestionState::Open;
        };
        match answer(question, password) {
            Ok(()) => {
                self.log
                    .debug(|| format!("answered the question for {id:?}"));
                self.answered.insert(id.clone());
            }
            Err(error) => self
                .log
                .info(&format!("cannot answer the question for {id:?}: {error}")),
        }
        QuestionState::Done
    }
}

fn is_in_time(question: &Question) -> bool {
    question
        .not_after
        .is_none_or(|due| clock::monotonic_usec() < due)
}

fn has_asker(question: &Question) -> bool {
    let pid = question.pid.and_then(|pid| i32::try_from(pid).ok());
    let asker = pid.filter(|pid| *pid > 0).and_then(Pid::from_raw);
    asker.is_none_or(|asker| !matches!(test_kill_process(asker), Err(Errno::SRCH)))
}

/// One datagram: a plus, the password, and a NUL.
fn answer(question: &Question, password: &Secret) -> io::Result<()> {
    let mut datagram = Zeroizing::new(Vec::with_capacity(password.len() + 2));
    datagram.push(b'+');
    datagram.extend_from_slice(password.expose());
    datagram.push(0);
    let socket = UnixDatagram::unbound()?;
    // A process that does not read must not delay the answers to others.
    socket.set_nonblocking(true)?;
    let there = PathHandle::at(&question.socket)?;
    if !there.about().file_type().is_socket() || !is_trusted(there.about().uid()) {
        let expected = "expected a socket of root's or this user's";
        return Err(io::Error::other(format!(
            "{}: {expected}",
            question.socket.display()
        )));
    }
    socket.send_to(&datagram, there.path())?;
    Ok(())
}
