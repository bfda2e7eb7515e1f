//! To which hosts logins are signed: `hosts` of card.conf, against what the client's session has proved. Pure.

use nightlatch_core::settings::hosts::HostRule;
use nightlatch_core::time::Wall;
use nightlatch_ssh::certificate::NotCertified;
use nightlatch_ssh::known_hosts::{KnownHosts, NotKnown};

use crate::binds::{BoundSession, ClientBinds, NotInSession};

/// A login, as it is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoginRequest<'r> {
    pub(crate) session: &'r [u8],
    pub(crate) user: &'r str,
    pub(crate) host_key: Option<&'r [u8]>,
}

/// The host of a login, for the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LoginHost {
    /// The rule that allows it; `None` where logins are signed everywhere.
    pub(crate) name: Option<String>,
    /// The fingerprint of its key.
    pub(crate) fingerprint: String,
}

/// A login that `hosts` does not allow.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum HostRefusal {
    #[error("`hosts` of card.conf allow no login without a session: {0}")]
    Session(#[from] NotInSession),
    #[error(
        "the host key {0} is not known for a host in `hosts` of card.conf: if it is right, add it to a file in `known_hosts`, with the name of the host"
    )]
    UnknownKey(String),
    #[error("the host key {0} is revoked: no login goes there")]
    Revoked(String),
    #[error("the host key {fingerprint} is not accepted for {host}: {why}")]
    Certificate {
        host: String,
        fingerprint: String,
        why: NotCertified,
    },
    #[error(
        "{user:?} is not a user that `hosts` of card.conf name for {host}: expected {expected}"
    )]
    OtherUser {
        user: String,
        host: String,
        expected: String,
    },
    #[error("the known hosts cannot be read, so that no host is known: {0}")]
    KnownHosts(String),
}

/// The kind of a refusal: the same user is told of each kind once in a while.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum HostRefusalKind {
    NotBound,
    RefusedBind,
    Forwarding,
    /// Another session, or another host key in it.
    Session,
    UnknownKey,
    Revoked,
    /// Out of its time.
    CertificateTime,
    CertificateHost,
    OtherUser,
    KnownHosts,
}

impl HostRefusal {
    pub(crate) const fn kind(&self) -> HostRefusalKind {
        match self {
            Self::Session(NotInSession::NotBound) => HostRefusalKind::NotBound,
            Self::Session(NotInSession::Refused(_)) => HostRefusalKind::RefusedBind,
            Self::Session(NotInSession::Forwarding(_)) => HostRefusalKind::Forwarding,
            Self::Session(NotInSession::OtherSession | NotInSession::OtherHostKey(_)) => {
                HostRefusalKind::Session
            }
            Self::UnknownKey(_) => HostRefusalKind::UnknownKey,
            Self::Revoked(_) => HostRefusalKind::Revoked,
            Self::Certificate {
                why: NotCertified::NotYet | NotCertified::Expired,
                ..
            } => HostRefusalKind::CertificateTime,
            Self::Certificate {
                why: NotCertified::OtherHost { .. },
                ..
            } => HostRefusalKind::CertificateHost,
            Self::OtherUser { .. } => HostRefusalKind::OtherUser,
            Self::KnownHosts(_) => HostRefusalKind::KnownHosts,
        }
    }
}

/// Judges a login by the rules, of which there is at least one. `known` reads the lists: only when the session is in order.
pub(crate) fn judge(
    rules: &[HostRule],
    login: &LoginRequest<'_>,
    binds: &ClientBinds,
    known: impl FnOnce() -> Result<KnownHosts, String>,
    now: Wall,
) -> Result<LoginHost, HostRefusal> {
    let bound = binds.own_session(login.session, login.host_key)?;
    let known = known().map_err(HostRefusal::KnownHosts)?;
    let mut worst = None;
    let mut others: Vec<&HostRule> = Vec::new();
    for rule in rules {
        match check(rule, bound, &known, now) {
            Ok(()) if rule.user.as_deref().is_none_or(|user| user == login.user) => {
                return Ok(LoginHost {
                    name: Some(rule.known_as()),
                    fingerprint: bound.fingerprint(),
                });
            }
            Ok(()) => others.push(rule),
            // What a certificate lacks says more than that another rule does not fit.
            Err(refusal @ HostRefusal::UnknownKey(_)) => {
                worst.get_or_insert(refusal);
            }
            Err(refusal) => worst = Some(refusal),
        }
    }
    if let Some(first) = others.first() {
        let users: Vec<&str> = others.iter().filter_map(|it| it.user.as_deref()).collect();
        return Err(HostRefusal::OtherUser {
            user: login.user.to_owned(),
            host: first.known_as(),
            expected: users.join(" or "),
        });
    }
    Err(worst.unwrap_or_else(|| HostRefusal::UnknownKey(bound.fingerprint())))
}

fn check(
    rule: &HostRule,
    bound: &BoundSession,
    known: &KnownHosts,
    now: Wall,
) -> Result<(), HostRefusal> {
    let host = rule.known_as();
    // A clock before 1970 makes no certificate valid.
    let now = u64::try_from(now.unix_micros() / 1_000_000).unwrap_or(0);
    let fingerprint = || bound.fingerprint();
    let found = known.check(bound.identity(), &host, &rule.host, now);
    found.map_err(|why| match why {
        NotKnown::Revoked => HostRefusal::Revoked(fingerprint()),
        NotKnown::Unknown => HostRefusal::UnknownKey(fingerprint()),
        NotKnown::Certificate(why) => HostRefusal::Certificate {
            host,
            fingerprint: fingerprint(),
            why,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binds::tests::{bind, blob, bound, pair};
    use nightlatch_core::ssh::HostKey;

    fn list(text: &str) -> KnownHosts {
        let mut known = KnownHosts::default();
        assert_eq!(known.add(text), []);
        known
    }

    fn line(names: &str, seed: u8) -> String {
        let key = HostKey::from_blob(&blob(&pair(seed))).unwrap();
        format!("{names} {key}\n")
    }

    /// A login as `user` on the host with this seed, by a client that has bound its session.
    fn login(rules: &str, known: &str, seed: u8, user: &str) -> Result<LoginHost, HostRefusal> {
        let rules: Vec<HostRule> = rules.split(' ').map(|rule| rule.parse().unwrap()).collect();
        let request = LoginRequest {
            session: &[5; 32],
            user,
            host_key: None,
        };
        let binds = bound(&[bind(seed, 5, false)]);
        let now = Wall::from_unix_micros(150_000_000);
        judge(&rules, &request, &binds, || Ok(list(known)), now)
    }

    #[test]
    fn a_login_goes_to_a_named_host_with_a_known_key() {
        let known = line("web1", 1) + &line("[web2]:2222", 2) + &line("other", 3);
        let rules = "web1 backup@web2:2222";
        let host = login(rules, &known, 1, "root").unwrap();
        assert_eq!(host.name.as_deref(), Some("web1"));
        let host = login(rules, &known, 2, "backup").unwrap();
        assert_eq!(host.name.as_deref(), Some("[web2]:2222"));
        let user = login(rules, &known, 2, "root").unwrap_err();
        assert_eq!(
            user.to_string(),
            "\"root\" is not a user that `hosts` of card.conf name for [web2]:2222: expected backup"
        );
        // Known, but not named; named under another port; not known at all.
        for (rules, seed) in [(rules, 3), ("web2", 2), (rules, 4)] {
            let refused = login(rules, &known, seed, "root").unwrap_err();
            assert_eq!(refused.kind(), HostRefusalKind::UnknownKey);
            assert!(refused.to_string().contains("SHA256:"), "{refused}");
        }
        let revoked = known + "@revoked " + &line("x", 1);
        let refused = login(rules, &revoked, 1, "root").unwrap_err();
        assert_eq!(refused.kind(), HostRefusalKind::Revoked);
    }

    #[test]
    fn one_key_under_several_names_counts_for_each_rule() {
        let known = line("web1,web2", 1);
        assert!(login("a@web1 b@web2", &known, 1, "b").is_ok());
        let user = login("a@web1 b@web2", &known, 1, "c").unwrap_err();
        assert!(user.to_string().ends_with("expected a or b"), "{user}");
    }

    #[test]
    fn without_a_session_and_without_lists_nothing_is_allowed() {
        let rules = ["web1".parse().unwrap()];
        let request = LoginRequest {
            session: &[5; 32],
            user: "root",
            host_key: None,
        };
        let now = Wall::from_unix_micros(0);
        let unread = || panic!("the lists are not needed");
        let refused = judge(&rules, &request, &ClientBinds::default(), unread, now);
        assert_eq!(refused, Err(HostRefusal::Session(NotInSession::NotBound)));
        let binds = bound(&[bind(1, 5, false)]);
        let fault = || Err("a fault".to_owned());
        let refused = judge(&rules, &request, &binds, fault, now).unwrap_err();
        assert_eq!(refused.kind(), HostRefusalKind::KnownHosts);
    }
}
