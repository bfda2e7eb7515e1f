//! Decides which heartbeats are signalled on the bus.
//!
//! A heartbeat moves `LastCheckedOK` and `Expires`, each of which is signalled three times (see
//! [`super::signals`]): 800 heartbeats a second would be 4,800 signals, all of which wake each tool that watches. Reads
//! always see the newest times.

use nightlatch_bus::client::ClientView;
use nightlatch_bus::property::Property;

/// Number of heartbeats that are signalled in one second whatever they move. All of a fleet of 1,500 machines are.
const EACH_SECOND: u32 = 100;

/// The signals of the current second.
#[derive(Debug, Default)]
pub(super) struct HeartbeatSignals {
    second: i64,
    count: u32,
}

impl HeartbeatSignals {
    /// True for a heartbeat that moved times only, after which the bus shows a deadline that is at most a quarter of
    /// `timeout` too early. `signalled` is the client as the bus shows it, `view` as it is.
    pub(super) fn may_wait(&mut self, signalled: &ClientView, view: &ClientView) -> bool {
        let (Some(old), Some(new)) = (signalled.expires, view.expires) else {
            return false;
        };
        let is_time = |property| matches!(property, Property::LastCheckedOK | Property::Expires);
        let changes = view.changes_since(signalled);
        let own = view.own_changes_since(signalled);
        let moves_times = changes.iter().all(|(property, _)| is_time(*property))
            && own
                .iter()
                .all(|(property, _)| *property == Property::LastHeartbeat);
        if !moves_times || new < old || new.since(old) >= view.timeout / 4 {
            return false;
        }
        !self.take(view)
    }

    /// Takes one of the signals of this second; false when they are used up.
    fn take(&mut self, view: &ClientView) -> bool {
        let heard = view.last_checked_ok.map_or(0, |it| it.unix_micros());
        let second = heard.div_euclid(1_000_000);
        if second != self.second {
            (self.second, self.count) = (second, 0);
        }
        let is_free = self.count < EACH_SECOND;
        self.count += u32::from(is_free);
        is_free
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nightlatch_bus::names::ClientPath;
    use nightlatch_core::guard::GuardState;
    use nightlatch_core::settings::client::ClientSettings;
    use nightlatch_core::time::Wall;

    use super::*;

    const NOW: Wall = Wall::from_unix_micros(1_700_000_000_000_000);

    /// A client with a timeout of five minutes, heard so long after [`NOW`].
    fn heard(seconds: u64) -> ClientView {
        let path = ClientPath::of_name("a");
        let mut view = ClientView::new(path, "a".to_owned(), &ClientSettings::default());
        let heard = NOW.after(Duration::from_secs(seconds));
        view.enabled = true;
        view.last_checked_ok = Some(heard);
        view.expires = Some(heard.after(view.timeout));
        view.guard.state = Some(GuardState::Up);
        view.guard.last_heartbeat = view.last_checked_ok;
        view
    }

    /// After as many as are signalled at once.
    fn busy(second: u64) -> HeartbeatSignals {
        let now = NOW.after(Duration::from_secs(second));
        HeartbeatSignals {
            second: now.unix_micros() / 1_000_000,
            count: EACH_SECOND,
        }
    }

    #[test]
    fn heartbeats_wait_only_when_many_come_in_one_second() {
        let mut signals = HeartbeatSignals::default();
        for _ in 0..EACH_SECOND {
            assert!(!signals.may_wait(&heard(0), &heard(15)));
        }
        assert!(signals.may_wait(&heard(0), &heard(15)));
        assert!(!signals.may_wait(&heard(0), &heard(16)));
    }

    #[test]
    fn a_deadline_is_never_a_quarter_of_its_timeout_behind() {
        let mut signals = busy(74);
        assert!(signals.may_wait(&heard(0), &heard(74)));
        let mut signals = busy(75);
        assert!(!signals.may_wait(&heard(0), &heard(75)));
    }

    #[test]
    fn whatever_else_changed_is_signalled_at_once() {
        let changes: [fn(&mut ClientView); 5] = [
            |view| view.guard.state = Some(GuardState::Quiet),
            |view| view.guard.pokeable = true,
            |view| view.approval_pending = true,
            |view| view.expires = None,
            |view| view.expires = Some(NOW),
        ];
        for change in changes {
            let mut view = heard(15);
            change(&mut view);
            assert!(!busy(15).may_wait(&heard(0), &view));
        }
    }
}
