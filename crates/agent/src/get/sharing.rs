//! One request to the servers for each name, however many callers ask for it: a caller that comes later hears what the
//! others hear.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nightlatch_core::secret_name::SecretName;
use nightlatch_proto::local::LocalAnswer;

/// A message to the callers of a request.
#[derive(Clone, Debug)]
pub(super) enum Heard<T> {
    /// A line before the last one.
    Line(LocalAnswer),
    /// The end of the request.
    End(T),
}

/// The requests under way, each with its callers.
#[derive(Debug)]
pub(super) struct Sharing<T>(Mutex<BTreeMap<SecretName, Callers<T>>>);

#[derive(Debug)]
struct Callers<T> {
    listeners: Vec<Sender<Heard<T>>>,
    /// The last line, for those that come later.
    last: Option<LocalAnswer>,
}

/// The request for one name. It is over when this is dropped.
#[derive(Debug)]
pub(super) struct Shared<'s, T> {
    sharing: &'s Sharing<T>,
    name: SecretName,
    is_over: bool,
}

/// No caller listens any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NobodyListens;

impl<T> Default for Sharing<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Sharing<T> {
    /// Joins the request for `name`. True when there was none: then the caller has one carried out, with
    /// [`Sharing::lead`].
    pub(super) fn join(&self, name: &SecretName) -> (Receiver<Heard<T>>, bool) {
        let (sender, receiver) = channel();
        let mut requests = self.requests();
        let is_first = !requests.contains_key(name);
        let callers = requests.entry(name.clone()).or_insert_with(|| Callers {
            listeners: Vec::new(),
            last: None,
        });
        if let Some(last) = &callers.last {
            // The receiver is at hand.
            let _ = sender.send(Heard::Line(last.clone()));
        }
        callers.listeners.push(sender);
        (receiver, is_first)
    }

    /// The request that the first caller had to make.
    pub(super) fn lead(&self, name: SecretName) -> Shared<'_, T> {
        Shared {
            sharing: self,
            name,
            is_over: false,
        }
    }

    fn requests(&self) -> MutexGuard<'_, BTreeMap<SecretName, Callers<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone> Shared<'_, T> {
    /// Tells all callers. Where none is left the request is over.
    pub(super) fn tell(&mut self, line: &LocalAnswer) -> Result<(), NobodyListens> {
        if self.is_over {
            return Err(NobodyListens);
        }
        let mut requests = self.sharing.requests();
        if let Some(callers) = requests.get_mut(&self.name) {
            callers.last = Some(line.clone());
            callers
                .listeners
                .retain(|listener| listener.send(Heard::Line(line.clone())).is_ok());
            if !callers.listeners.is_empty() {
                return Ok(());
            }
            requests.remove(&self.name);
        }
        self.is_over = true;
        Err(NobodyListens)
    }

    /// Ends the request.
    pub(super) fn end(mut self, end: &T) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        let callers = self.sharing.requests().remove(&self.name);
        for listener in callers.into_iter().flat_map(|it| it.listeners) {
            // One that is gone misses it.
            let _ = listener.send(Heard::End(end.clone()));
        }
    }
}

impl<T> Drop for Shared<'_, T> {
    /// Also when its thread panics: the callers hear that there is no answer.
    fn drop(&mut self) {
        if !self.is_over {
            let mut requests = self
                .sharing
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            requests.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> SecretName {
        SecretName::new(text).unwrap()
    }

    #[test]
    fn callers_of_one_name_share_a_request_and_each_hears_all_of_it() {
        let sharing = Sharing::default();
        let (first, is_first) = sharing.join(&name("db"));
        assert!(is_first);
        assert!(sharing.join(&name("pin")).1);
        let mut shared = sharing.lead(name("db"));
        shared.tell(&LocalAnswer::Trying).unwrap();
        let (second, is_first) = sharing.join(&name("db"));
        assert!(!is_first);
        shared.end(&5);
        for caller in [first, second] {
            assert!(matches!(
                caller.recv().unwrap(),
                Heard::Line(LocalAnswer::Trying)
            ));
            assert!(matches!(caller.recv().unwrap(), Heard::End(5)));
            assert!(caller.recv().is_err());
        }
        // The next one asks anew.
        assert!(sharing.join(&name("db")).1);
    }

    #[test]
    fn a_request_ends_when_its_last_caller_is_gone_and_not_before() {
        let sharing = Sharing::<u8>::default();
        let (first, _) = sharing.join(&name("db"));
        let (second, _) = sharing.join(&name("db"));
        let mut shared = sharing.lead(name("db"));
        drop(first);
        assert_eq!(shared.tell(&LocalAnswer::Trying), Ok(()));
        drop(second);
        assert_eq!(shared.tell(&LocalAnswer::Trying), Err(NobodyListens));
        let (third, is_first) = sharing.join(&name("db"));
        assert!(is_first);
        // What is left of the old request is not told to those of the new one.
        shared.end(&5);
        assert!(third.try_recv().is_err());
        assert!(!sharing.join(&name("db")).1);
    }

    #[test]
    fn a_request_that_ends_in_a_panic_leaves_nobody_waiting() {
        let sharing = Sharing::<u8>::default();
        let (caller, _) = sharing.join(&name("db"));
        std::thread::scope(|scope| {
            let ended = scope.spawn(|| {
                let _shared = sharing.lead(name("db"));
                std::panic::resume_unwind(Box::new(()));
            });
            assert!(ended.join().is_err());
        });
        assert!(caller.recv().is_err());
        assert!(sharing.join(&name("db")).1);
    }
}
