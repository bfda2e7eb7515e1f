//! The limits that card.conf sets to signatures: namespaces, hours and hosts. Also the messages about them: the line of each
//! signature, and alarms.

use std::sync::Mutex;
use std::sync::PoisonError;

use nightlatch_core::calendar::DateTime;
use nightlatch_core::hours::{Closed, Hours};
use nightlatch_core::settings::card::CardSettings;
use nightlatch_core::settings::hosts::HostRule;
use nightlatch_core::time::{Monotonic, Now, Wall};

use crate::binds::ClientBinds;
use crate::host_rules::{self, HostRefusal, HostRefusalKind, LoginHost, LoginRequest};
use crate::known_hosts_files::KnownHostsFiles;
use crate::log;
use crate::purpose::Purpose;
use crate::repeats::Repeats;
use crate::usual_hosts::SeenHost;
use crate::usual_hosts_file::UsualHostsFile;

/// The rules of card.conf, and the host keys that are usual without `hosts`.
#[derive(Debug)]
pub(crate) struct SigningPolicy {
    namespaces: Vec<String>,
    hours: Hours,
    hosts: Vec<HostRule>,
    known: KnownHostsFiles,
    usual: Option<UsualHostsFile>,
    alarms: Mutex<Repeats<(u32, AlarmKind)>>,
}

/// A user causes one alarm of each kind in a while.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum AlarmKind {
    Host(HostRefusalKind),
    /// A login to a host that is not usual, when there is no room to remember it.
    NoRoom,
}

/// A purpose for which nothing is signed now.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum PolicyRefusal {
    #[error("messages in the namespace {0:?} are not signed: name it in `namespaces` of card.conf")]
    Namespace(String),
    #[error("it is outside of the `hours` of card.conf: {0}")]
    Hours(#[from] Closed),
    #[error(transparent)]
    Host(#[from] HostRefusal),
}

/// The part of `nightlatch card status` that comes from the rules.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct PolicyReport {
    /// The reason why nothing is signed now, if the hours are the reason.
    pub(crate) closed: Option<String>,
    /// The number of usual hosts; `None` with `hosts`, which need none.
    pub(crate) usual_hosts: Option<u64>,
    /// The end of the time of learning, as a date in UTC.
    pub(crate) learning_until: Option<String>,
}

impl SigningPolicy {
    /// `usual` is used without `hosts` only. `own` is the agent's own user, who may have written the lists of known hosts.
    pub(crate) fn new(
        settings: &CardSettings,
        own: u32,
        usual: impl FnOnce() -> Option<UsualHostsFile>,
    ) -> Self {
        let known = KnownHostsFiles::new(settings.known_hosts.clone(), own);
        let usual = match settings.hosts.is_empty() {
            true => usual(),
            false => {
                for fault in known.faults(&settings.hosts) {
                    log::info(&fault);
                }
                None
            }
        };
        Self {
            namespaces: settings.namespaces.clone(),
            hours: settings.hours.clone(),
            hosts: settings.hosts.clone(),
            known,
            usual,
            alarms: Mutex::default(),
        }
    }

    /// Judges a purpose. Gives the host of a login, when the client has proved it. `ahead` is local time less UTC in seconds.
    pub(crate) fn allow(
        &self,
        purpose: &Purpose,
        binds: &ClientBinds,
        now: Wall,
        ahead: Option<i32>,
    ) -> Result<Option<LoginHost>, PolicyRefusal> {
        self.hours.check(now, ahead)?;
        match purpose {
            Purpose::Message { namespace } if self.namespaces.contains(namespace) => Ok(None),
            Purpose::Message { namespace } => Err(PolicyRefusal::Namespace(namespace.clone())),
            Purpose::Login { .. } if self.hosts.is_empty() => Ok(proved_host(purpose, binds)),
            Purpose::Login {
                session,
                user,
                host_key,
            } => {
                let login = LoginRequest {
                    session,
                    user,
                    host_key: host_key.as_deref(),
                };
                let known = || self.known.read();
                Ok(Some(host_rules::judge(
                    &self.hosts,
                    &login,
                    binds,
                    known,
                    now,
                )?))
            }
        }
    }

    /// A login for this user was signed: `host` is where it leads to, if that was proved.
    pub(crate) fn login_signed(&self, user: u32, host: Option<&LoginHost>, now: Now) {
        let Some(usual) = &self.usual else {
            return;
        };
        let fingerprint = host.map(|host| host.fingerprint.as_str());
        let is_alarm = match usual.see(fingerprint, now.wall) {
            SeenHost::Usual | SeenHost::Learned | SeenHost::NoRoom { is_alarm: false } => false,
            SeenHost::New => true,
            SeenHost::NoRoom { is_alarm: true } => {
                self.is_new_alarm(user, AlarmKind::NoRoom, now.mono)
            }
        };
        if is_alarm {
            let host = match fingerprint {
                Some(fingerprint) => format!("with the host key {fingerprint}"),
                None => "whose key the client has not proved".to_owned(),
            };
            log::alarm(&format!(
                "the first login to a host {host} was signed, for user {user}; name the hosts in `hosts` of card.conf to refuse others"
            ));
        }
    }

    /// A signature for this user was refused.
    pub(crate) fn refused(&self, user: u32, refusal: &PolicyRefusal, now: Monotonic) {
        let PolicyRefusal::Host(host) = refusal else {
            return;
        };
        if self.is_new_alarm(user, AlarmKind::Host(host.kind()), now) {
            log::alarm(&format!("a login of user {user} is refused: {host}"));
        }
    }

    fn is_new_alarm(&self, user: u32, kind: AlarmKind, now: Monotonic) -> bool {
        let mut alarms = self.alarms.lock().unwrap_or_else(PoisonError::into_inner);
        alarms.is_new((user, kind), now)
    }

    pub(crate) fn report(&self, now: Wall, ahead: Option<i32>) -> PolicyReport {
        let usual = self.usual.as_ref().map(|usual| usual.state(now));
        let learning_until = usual.and_then(|(_, until)| until);
        PolicyReport {
            closed: self.hours.check(now, ahead).err().map(|it| it.to_string()),
            usual_hosts: usual.map(|(count, _)| count as u64),
            learning_until: learning_until.map(|until| DateTime::from(until).to_string()),
        }
    }
}

/// The host of a login, when the client has proved it, for the log.
pub(crate) fn proved_host(purpose: &Purpose, binds: &ClientBinds) -> Option<LoginHost> {
    let Purpose::Login {
        session, host_key, ..
    } = purpose
    else {
        return None;
    };
    let bound = binds.session(session, host_key.as_deref()).ok()?;
    Some(LoginHost {
        name: None,
        fingerprint: bound.fingerprint(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binds::tests::{bind, bound};

    const NOW: Wall = Wall::from_unix_micros(1_790_000_000_000_000);

    fn policy(lines: &str) -> SigningPolicy {
        let text = format!("[card]\n{lines}\n");
        let parsed = nightlatch_core::settings::card::parse("card.conf", &text).unwrap();
        SigningPolicy::new(&parsed.value, 0, || None)
    }

    fn login() -> Purpose {
        Purpose::Login {
            session: vec![5; 32],
            user: "root".to_owned(),
            host_key: None,
        }
    }

    fn message(namespace: &str) -> Purpose {
        Purpose::Message {
            namespace: namespace.to_owned(),
        }
    }

    #[test]
    fn hours_are_for_logins_and_messages() {
        // 2026-09-21 14:13 UTC, a Monday.
        let day = policy("namespaces = file\nhours = Mon 14:00-15:00");
        let binds = ClientBinds::default();
        for purpose in [login(), message("file")] {
            assert_eq!(day.allow(&purpose, &binds, NOW, Some(0)), Ok(None));
            for ahead in [Some(3600), None] {
                let refused = day.allow(&purpose, &binds, NOW, ahead).unwrap_err();
                assert!(matches!(refused, PolicyRefusal::Hours(_)), "{refused}");
            }
        }
        assert_eq!(day.report(NOW, Some(0)).closed, None);
        let closed = day.report(NOW, Some(3600)).closed;
        let expected = "the next hours begin on Mon 2026-09-28 14:00 local time";
        assert_eq!(closed.as_deref(), Some(expected));
    }

    #[test]
    fn hosts_are_for_logins_alone_and_without_them_each_host_is_named() {
        let hosts = policy("hosts = web1\nnamespaces = file\nknown_hosts = /nonexistent/list");
        let binds = bound(&[bind(1, 5, false)]);
        let message = message("file");
        assert_eq!(hosts.allow(&message, &binds, NOW, None), Ok(None));
        let refused = hosts.allow(&login(), &binds, NOW, None).unwrap_err();
        assert!(refused.to_string().contains("/nonexistent"), "{refused}");
        let everywhere = policy("");
        let host = everywhere.allow(&login(), &binds, NOW, None).unwrap();
        assert!(host.is_some_and(|it| it.name.is_none()));
        let unbound = everywhere.allow(&login(), &ClientBinds::default(), NOW, None);
        assert_eq!(unbound, Ok(None));
    }

    #[test]
    fn a_user_causes_one_alarm_of_a_kind_in_a_minute() {
        let hosts = policy("hosts = web1");
        let kind = |refusal: HostRefusalKind| AlarmKind::Host(refusal);
        let now = nightlatch_sys::clock::now().mono;
        assert!(hosts.is_new_alarm(7, kind(HostRefusalKind::UnknownKey), now));
        assert!(!hosts.is_new_alarm(7, kind(HostRefusalKind::UnknownKey), now));
        assert!(hosts.is_new_alarm(7, kind(HostRefusalKind::Session), now));
        assert!(hosts.is_new_alarm(8, kind(HostRefusalKind::UnknownKey), now));
    }
}
