//! Looking up the addresses of names, each in one thread at a time: a resolver of names may never answer, and nothing ends
//! its call.

use std::net::SocketAddr;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::asker::PassEvent;
use crate::log::Log;
use crate::place::Place;

/// The greatest number of passes that are told of one lookup; the oldest are over by then.
const MAX_LISTENERS: usize = 64;

/// The lookups under way, each with those that want its result.
#[derive(Debug, Default)]
pub(super) struct Lookups(Mutex<Vec<Listeners>>);

#[derive(Debug)]
struct Listeners {
    place: Place,
    passes: Vec<Sender<PassEvent>>,
}

/// A lookup. Its drop tells the addresses, also when there are none.
struct Lookup {
    lookups: Arc<Lookups>,
    place: Place,
    addresses: Vec<SocketAddr>,
}

impl Lookups {
    /// Has the addresses of `place` sent to `pass` once they are known, if that is ever.
    pub(super) fn start(self: &Arc<Self>, place: &Place, pass: &Sender<PassEvent>, log: Log) {
        self.start_with(place, pass, log, move |place| {
            place.addresses().unwrap_or_else(|error| {
                log.debug(|| format!("cannot ask {place} for a secret: {error}"));
                Vec::new()
            })
        });
    }

    fn start_with(
        self: &Arc<Self>,
        place: &Place,
        pass: &Sender<PassEvent>,
        log: Log,
        addresses: impl FnOnce(&Place) -> Vec<SocketAddr> + Send + 'static,
    ) {
        if self.join(place, pass) {
            return;
        }
        let lookup = Lookup {
            lookups: Arc::clone(self),
            place: place.clone(),
            addresses: Vec::new(),
        };
        let thread = thread::Builder::new().name("lookup".to_owned());
        if let Err(error) = thread.spawn(move || lookup.run(addresses)) {
            log.info(&format!("cannot start a thread: {error}"));
        }
    }

    /// True when there was a lookup of `place` already.
    fn join(&self, place: &Place, pass: &Sender<PassEvent>) -> bool {
        let mut all = self.all();
        let found = all.iter_mut().find(|it| it.place == *place);
        let Some(listeners) = found else {
            let (place, passes) = (place.clone(), vec![pass.clone()]);
            all.push(Listeners { place, passes });
            return false;
        };
        if listeners.passes.len() >= MAX_LISTENERS {
            listeners.passes.remove(0);
        }
        listeners.passes.push(pass.clone());
        true
    }

    fn all(&self) -> MutexGuard<'_, Vec<Listeners>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lookup {
    fn run(mut self, addresses: impl FnOnce(&Place) -> Vec<SocketAddr>) {
        self.addresses = addresses(&self.place);
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        let mut all = self.lookups.all();
        let listeners = all.iter().position(|it| it.place == self.place);
        let listeners = listeners.map(|at| all.swap_remove(at));
        drop(all);
        for pass in listeners.into_iter().flat_map(|it| it.passes) {
            // The pass may be over.
            let _ = pass.send(PassEvent::Resolved(
                self.place.clone(),
                self.addresses.clone(),
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn passes_share_one_lookup_of_a_place_and_the_next_one_begins_another() {
        let lookups = Arc::new(Lookups::default());
        let place = Place::Named("server.example:5".parse().unwrap());
        let log = Log::new(false);
        let (release, released) = channel::<()>();
        let (first, first_hears) = channel();
        lookups.start_with(&place, &first, log, move |_| {
            let _ = released.recv_timeout(PATIENCE);
            vec!["192.0.2.1:5".parse().unwrap()]
        });
        // However many ask, one thread looks it up.
        let (second, second_hears) = channel();
        for _ in 0..2 * MAX_LISTENERS {
            lookups.start_with(&place, &second, log, |_| unreachable!("a second lookup"));
        }
        assert_eq!(lookups.all()[0].passes.len(), MAX_LISTENERS);
        release.send(()).unwrap();
        let event = second_hears.recv_timeout(PATIENCE).unwrap();
        let PassEvent::Resolved(of, addresses) = event else {
            panic!("{event:?}");
        };
        assert_eq!((of, addresses.len()), (place, 1));
        assert!(first_hears.try_recv().is_err(), "others came after it");
        assert!(lookups.all().is_empty());
    }

    #[test]
    fn a_lookup_that_panics_has_no_addresses() {
        let lookups = Arc::new(Lookups::default());
        let place = Place::Named("server.example:5".parse().unwrap());
        let (pass, hears) = channel();
        lookups.start_with(&place, &pass, Log::new(false), |_| {
            std::panic::resume_unwind(Box::new(()))
        });
        let event = hears.recv_timeout(PATIENCE).unwrap();
        assert!(matches!(event, PassEvent::Resolved(_, addresses) if addresses.is_empty()));
        assert!(lookups.all().is_empty());
    }
}
