//! Quotas for the entries that peers can cause. A thousand requests an hour, whatever their answers, must neither fill
//! the disk nor bury other entries of the audit log.
//!
//! Entries are counted in classes, each for an hour from its first one. The first entry that exceeds the quota is
//! replaced by one that says so, and when the hour ends another one has the number of those left out. The
//! quotas decide about entries only: alarms are raised, secrets released and state kept as if all were written.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::{Alarm, RecordContent};
use crate::calendar::DateTime;
use crate::name::ClientName;
use crate::record::RecordKind;
use crate::time::{Monotonic, Wall};

/// Length of a window.
pub const WINDOW: Duration = Duration::from_secs(60 * 60);

/// So many entries of each class of one client are recorded one by one. A machine that is refused asks every ten
/// seconds for as long as it is switched on.
pub const MAX_RECORDS: u32 = 10;

/// The same for the named secrets of one client: it may fetch all of them at each boot.
pub const MAX_NAMED_RECORDS: u32 = 100;

/// The same for all unknown keys together, of which [`crate::registry`] reports ten a minute.
pub const MAX_UNKNOWN_KEY_RECORDS: u32 = 60;

/// Entries that are counted together. An alarm does not count with entries that are none, nor with
/// another kind of alarm: noise hides neither.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct QuotaClass {
    /// `None` for keys that are no client's.
    pub client: Option<ClientName>,
    /// Kind of the records.
    pub kind: RecordKind,
    /// Their alarm, without its number.
    pub alarm: Option<Alarm>,
    /// They are about named secrets, and hide none about the boot secret.
    pub named: bool,
}

impl QuotaClass {
    /// `None` when no peer can cause the event at will.
    fn of(content: &RecordContent, client: Option<&ClientName>) -> Option<Self> {
        content.kind.is_caused_by_peers().then(|| Self {
            client: client.cloned(),
            kind: content.kind,
            alarm: content.alarm.map(Alarm::without_number),
            named: content.secret.is_some(),
        })
    }

    /// The record that stands for those that are left out from now on.
    pub fn left_out_until(&self, until: Wall) -> RecordContent {
        let (kind, until) = (self.kind, DateTime::from(until).to_rfc3339());
        let detail = format!("more entries of the kind {kind} are counted only, until {until}");
        self.summary(detail)
    }

    /// The record with the number of those that were left out.
    pub fn left_out(&self, count: u64) -> RecordContent {
        let kind = self.kind;
        self.summary(format!(
            "entries of the kind {kind} that were left out: {count}"
        ))
    }

    /// It is an alarm when they were alarms.
    fn summary(&self, detail: String) -> RecordContent {
        RecordContent {
            alarm: self.alarm,
            ..RecordContent::with_detail(RecordKind::LeftOut, detail)
        }
    }

    fn max_records(&self) -> u32 {
        match (&self.client, self.alarm) {
            (None, None) => MAX_UNKNOWN_KEY_RECORDS,
            (Some(_), None) if self.named => MAX_NAMED_RECORDS,
            _ => MAX_RECORDS,
        }
    }
}

/// The decision about the entry of an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Admission {
    /// It is recorded.
    Recorded,
    /// It is replaced by an entry that says: further ones of this class are left out until then.
    Announced(QuotaClass, Monotonic),
    /// It is left out, and counted.
    LeftOut,
}

/// Counts the entries of each class.
#[derive(Debug, Default)]
pub struct RecordQuotas {
    windows: HashMap<QuotaClass, Window>,
    /// Delivered releases of each client whose grants were left out: end of the window, and number in it.
    delivered: HashMap<ClientName, (Monotonic, u32)>,
    /// Ends of the windows, in order: all have one length.
    ends: VecDeque<(Monotonic, QuotaClass)>,
}

#[derive(Debug)]
struct Window {
    ends: Monotonic,
    recorded: u32,
    left_out: u64,
}

impl RecordQuotas {
    /// Counts a record about `client`. [`Self::close`] comes first.
    pub fn admit(
        &mut self,
        content: &RecordContent,
        client: Option<&ClientName>,
        now: Monotonic,
    ) -> Admission {
        let Some(class) = QuotaClass::of(content, client) else {
            return Admission::Recorded;
        };
        let ends = now.after(WINDOW);
        let window = self.windows.entry(class.clone()).or_insert_with(|| {
            self.ends.push_back((ends, class.clone()));
            Window {
                ends,
                recorded: 0,
                left_out: 0,
            }
        });
        if window.recorded < class.max_records() {
            window.recorded += 1;
            return Admission::Recorded;
        }
        window.left_out = window.left_out.saturating_add(1);
        match window.left_out {
            1 => Admission::Announced(class, window.ends),
            _ => Admission::LeftOut,
        }
    }

    /// A release of `client` was delivered whose grant was left out: true when it is to be recorded after all. Who
    /// abandons requests must not make the one that was served a mere number.
    pub fn admit_delivered(&mut self, client: &ClientName, now: Monotonic) -> bool {
        self.delivered.retain(|_, (ends, _)| *ends > now);
        let (_, count) = self
            .delivered
            .entry(client.clone())
            .or_insert((now.after(WINDOW), 0));
        *count = count.saturating_add(1);
        *count <= MAX_RECORDS
    }

    /// The next time at which [`Self::close`] has something to do.
    pub fn ends(&self) -> Option<Monotonic> {
        self.ends.front().map(|(ends, _)| *ends)
    }

    /// Ends the windows whose time has come: how many entries each of them left out, where it did.
    pub fn close(&mut self, now: Monotonic) -> Vec<(QuotaClass, u64)> {
        let mut left_out = Vec::new();
        while let Some((_, class)) = self.ends.pop_front_if(|(ends, _)| *ends <= now) {
            let window = self.windows.remove(&class);
            let count = window.map_or(0, |window| window.left_out);
            left_out.extend((count > 0).then_some((class, count)));
        }
        left_out
    }

    /// Ends all windows early, as at the end of the program.
    pub fn finish(&mut self) -> Vec<(QuotaClass, u64)> {
        match self.ends.back() {
            Some((last, _)) => self.close(*last),
            None => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{ClientId, Event, Grant, KeyRole, Refusal, RequestId};

    fn at(seconds: u64) -> Monotonic {
        Monotonic::from_boot(Duration::from_secs(seconds))
    }

    fn granted(alarm: Option<Alarm>) -> Event {
        Event::Granted {
            client: ClientId::for_tests(1),
            request: RequestId(1),
            secret: None,
            grant: Grant::NotNeeded,
            role: KeyRole::Boot,
            passage: None,
            downgrade: false,
            rehearsal: false,
            alarm,
        }
    }

    fn admit(
        quotas: &mut RecordQuotas,
        event: &Event,
        client: Option<&ClientName>,
        second: u64,
    ) -> Admission {
        let content = event.record(None).unwrap();
        quotas.admit(&content, client, at(second))
    }

    fn admitted(quotas: &mut RecordQuotas, event: &Event, client: Option<&ClientName>) -> bool {
        admit(quotas, event, client, 100) == Admission::Recorded
    }

    fn name(name: &str) -> ClientName {
        ClientName::new(name).unwrap()
    }

    #[test]
    fn ten_an_hour_are_recorded_and_the_rest_is_a_number() {
        let (mut quotas, web) = (RecordQuotas::default(), name("web1"));
        let event = granted(None);
        let class = QuotaClass {
            named: false,
            client: Some(web.clone()),
            kind: RecordKind::Released,
            alarm: None,
        };
        for _ in 0..10 {
            assert!(admitted(&mut quotas, &event, Some(&web)));
        }
        let announced = Admission::Announced(class.clone(), at(3700));
        assert_eq!(admit(&mut quotas, &event, Some(&web), 200), announced);
        for _ in 0..29 {
            assert_eq!(
                admit(&mut quotas, &event, Some(&web), 3699),
                Admission::LeftOut
            );
        }
        assert_eq!(quotas.ends(), Some(at(3700)));
        assert_eq!(quotas.close(at(3699)), []);
        assert_eq!(quotas.close(at(3700)), [(class.clone(), 30)]);
        assert_eq!((quotas.ends(), quotas.close(at(3700))), (None, vec![]));
        // The next hour is a new one.
        assert!(admitted(&mut quotas, &event, Some(&web)));
    }

    #[test]
    fn what_is_delivered_has_a_quota_of_its_own() {
        let (mut quotas, web) = (RecordQuotas::default(), name("web1"));
        let admitted = |quotas: &mut RecordQuotas, second| {
            (0..30)
                .filter(|_| quotas.admit_delivered(&web, at(second)))
                .count()
        };
        assert_eq!(admitted(&mut quotas, 100), 10);
        assert_eq!(admitted(&mut quotas, 3699), 0);
        assert_eq!(admitted(&mut quotas, 3700), 10);
    }

    #[test]
    fn a_few_are_told_without_a_number() {
        let mut quotas = RecordQuotas::default();
        for _ in 0..10 {
            assert!(admitted(&mut quotas, &granted(None), Some(&name("web1"))));
        }
        assert_eq!(quotas.finish(), []);
    }

    #[test]
    fn no_flood_hides_another_client_another_kind_or_an_alarm() {
        let (mut quotas, web) = (RecordQuotas::default(), name("web1"));
        for _ in 0..50 {
            admit(&mut quotas, &granted(None), Some(&web), 100);
        }
        let failed = Event::DeliveryFailed {
            client: ClientId::for_tests(1),
            request: RequestId(1),
            secret: None,
        };
        let events = [
            granted(Some(Alarm::SecondRequest)),
            granted(Some(Alarm::SameBoot)),
            failed,
        ];
        for event in events {
            assert!(admitted(&mut quotas, &event, Some(&web)), "{event:?}");
        }
        assert!(admitted(&mut quotas, &granted(None), Some(&name("web2"))));
    }

    #[test]
    fn an_alarm_with_another_number_is_no_other_alarm() {
        let (mut quotas, web) = (RecordQuotas::default(), name("web1"));
        let id = Some(ClientId::for_tests(1));
        let recorded = (2..50)
            .map(|count| Event::Alarmed(id, Alarm::SeveralWait(count)))
            .filter(|event| admitted(&mut quotas, event, Some(&web)));
        assert_eq!(recorded.count(), 10);
    }

    #[test]
    fn unknown_keys_count_together() {
        let mut quotas = RecordQuotas::default();
        let event = Event::Refused {
            client: None,
            request: RequestId(1),
            secret: None,
            reason: Refusal::UnknownKey,
            flood: false,
            alarm: None,
        };
        let recorded = (0..100).filter(|_| admitted(&mut quotas, &event, None));
        assert_eq!(recorded.count(), 60);
        let [(class, 40)] = &quotas.finish()[..] else {
            panic!("no number of those left out");
        };
        assert_eq!((&class.client, class.kind), (&None, RecordKind::Refused));
    }

    #[test]
    fn what_a_person_does_is_recorded_however_often() {
        let (mut quotas, web) = (RecordQuotas::default(), name("web1"));
        let event = Event::Decided {
            client: ClientId::for_tests(1),
            request: RequestId(1),
            secret: None,
            approved: true,
        };
        assert!((0..100).all(|_| admitted(&mut quotas, &event, Some(&web))));
    }
}
