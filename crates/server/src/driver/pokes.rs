//! Pokes: datagrams that ask the agent of a machine for a heartbeat now.
//!
//! An agent behind a firewall or an address translation gets none. Whether pokes arrive is therefore tried once a day: a
//! heartbeat that answers one has its token. A request is held until the next heartbeat is due where they do not arrive.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use nightlatch_core::event::ClientId;
use nightlatch_core::time::Monotonic;
use nightlatch_proto::release::{Poke, Token};
use tokio::time::sleep;

/// The times of the datagrams of one poke: packets get lost, and an agent that starts again misses some.
const TIMES: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_millis(700),
    Duration::from_millis(1500),
    Duration::from_millis(2500),
];

/// A trial begins so long after a heartbeat: the agent is to have its answer.
const TRIAL_DELAY: Duration = Duration::from_secs(1);

/// Time from one successful trial to the next.
const TRIED_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// Time from a failed trial to the next.
const TRY_AGAIN: Duration = Duration::from_secs(60 * 60);

/// The agents that can be poked, and the sockets for it.
#[derive(Debug, Default)]
pub(super) struct Pokes {
    targets: HashMap<ClientId, PokeTarget>,
    ipv4: Option<Arc<UdpSocket>>,
    ipv6: Option<Arc<UdpSocket>>,
}

#[derive(Clone, Copy, Debug)]
struct PokeTarget {
    address: SocketAddr,
    token: Token,
    /// The time at which the agent last answered a poke.
    answered: Option<Monotonic>,
    /// The time of the first datagram of the last trial.
    tried: Option<Monotonic>,
    /// No other poke begins before.
    busy_until: Monotonic,
}

impl PokeTarget {
    /// The same agent after a heartbeat from `address` at `now`, with the next token. `poked` is the token of the poke
    /// that it answers.
    fn heard(
        self,
        address: SocketAddr,
        poked: Option<Token>,
        token: Token,
        now: Monotonic,
    ) -> Self {
        let moved = self.address != address;
        let answers = poked == Some(self.token);
        let failed = self.tried > self.answered && self.tried.is_some_and(|tried| tried <= now);
        let answered = if answers {
            Some(now)
        } else {
            self.answered.filter(|_| !moved && !failed)
        };
        Self {
            address,
            token,
            answered,
            // The token of a trial under way has changed: it cannot be answered any more.
            tried: self.tried.filter(|_| !moved).map(|tried| match answers {
                true => tried.min(now),
                false => tried,
            }),
            // The next poke has another token.
            busy_until: now,
        }
    }

    fn needs_trial(&self, now: Monotonic) -> bool {
        let is_over = |since: Monotonic, length: Duration| since.after(length) <= now;
        match (self.answered, self.tried) {
            (Some(answered), _) => is_over(answered, TRIED_FOR),
            (None, Some(tried)) => is_over(tried, TRY_AGAIN),
            (None, None) => true,
        }
    }
}

impl Pokes {
    /// A heartbeat of the agent of `client` came from `peer`. True when its pokes arrive.
    pub(super) fn heard(
        &mut self,
        client: ClientId,
        peer: SocketAddr,
        (port, poked): (Option<NonZeroU16>, Option<Token>),
        token: Token,
        now: Monotonic,
    ) -> bool {
        let Some(port) = port else {
            self.forget(client);
            return false;
        };
        let mut address = peer;
        address.set_port(port.get());
        let new = PokeTarget {
            address,
            token,
            answered: None,
            tried: None,
            busy_until: now,
        };
        let mut target = match self.targets.get(&client) {
            Some(known) => known.heard(address, poked, token, now),
            None => new,
        };
        if target.needs_trial(now) {
            target.tried = Some(now.after(TRIAL_DELAY));
            self.send(&target, TRIAL_DELAY);
        }
        self.targets.insert(client, target);
        target.answered.is_some()
    }

    /// True when the pokes of the agent arrive.
    pub(super) fn arrive(&self, client: ClientId) -> bool {
        let target = self.targets.get(&client);
        target.is_some_and(|target| target.answered.is_some())
    }

    /// Asks the agent for a heartbeat. No effect while it is asked already.
    pub(super) fn poke(&mut self, client: ClientId, now: Monotonic) {
        let Some(mut target) = self.targets.get(&client).copied() else {
            return;
        };
        if target.busy_until > now {
            return;
        }
        target.busy_until = now.after(TIMES[TIMES.len() - 1]);
        self.send(&target, Duration::ZERO);
        self.targets.insert(client, target);
    }

    pub(super) fn forget(&mut self, client: ClientId) {
        self.targets.remove(&client);
    }

    fn send(&mut self, target: &PokeTarget, delay: Duration) {
        let Some(socket) = self.socket(target.address) else {
            return;
        };
        let (address, datagram) = (target.address, Poke(target.token).to_bytes());
        tokio::spawn(async move {
            sleep(delay).await;
            let mut passed = Duration::ZERO;
            for time in TIMES {
                sleep(time.saturating_sub(passed)).await;
                passed = time;
                // What cannot be sent is as if it was lost.
                let _ = socket.send_to(&datagram, address);
            }
        });
    }

    /// The socket for the family of `address`; `None` where the host has none.
    fn socket(&mut self, address: SocketAddr) -> Option<Arc<UdpSocket>> {
        let (kept, any) = match address {
            SocketAddr::V4(_) => (&mut self.ipv4, SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))),
            SocketAddr::V6(_) => (&mut self.ipv6, SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))),
        };
        if kept.is_none() {
            let socket = UdpSocket::bind(any).ok()?;
            socket.set_nonblocking(true).ok()?;
            *kept = Some(Arc::new(socket));
        }
        kept.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: Token = Token::from_bytes([1; 16]);

    fn at(seconds: u64) -> Monotonic {
        Monotonic::from_boot(Duration::from_secs(seconds))
    }

    fn target() -> PokeTarget {
        PokeTarget {
            address: "192.0.2.1:5".parse().unwrap(),
            token: TOKEN,
            answered: None,
            tried: None,
            busy_until: at(0),
        }
    }

    const OTHER: Token = Token::from_bytes([2; 16]);

    fn heard(target: PokeTarget, poked: Option<Token>, now: u64) -> PokeTarget {
        target.heard(target.address, poked, TOKEN, at(now))
    }

    #[test]
    fn only_a_heartbeat_with_the_token_of_the_poke_shows_that_pokes_arrive() {
        assert!(target().needs_trial(at(10)));
        let tried = PokeTarget {
            tried: Some(at(11)),
            ..target()
        };
        assert_eq!(heard(tried, Some(TOKEN), 12).answered, Some(at(12)));
        for poked in [None, Some(OTHER)] {
            let silent = heard(tried, poked, 12);
            assert_eq!(silent.answered, None);
            assert!(!silent.needs_trial(at(21)) && silent.needs_trial(at(11 + 3600)));
        }
        // One that was under way before the first datagram leaves the trial as it is.
        let early = heard(tried, None, 10);
        assert_eq!((early.answered, early.tried), (None, Some(at(11))));
    }

    #[test]
    fn an_agent_is_tried_again_each_day_and_at_each_address() {
        let answered = PokeTarget {
            answered: Some(at(12)),
            tried: Some(at(11)),
            ..target()
        };
        let later = heard(answered, None, 500);
        assert_eq!(later.answered, Some(at(12)));
        assert!(!later.needs_trial(at(500)) && later.needs_trial(at(12 + 24 * 3600)));
        let elsewhere = "192.0.2.2:5".parse().unwrap();
        let moved = answered.heard(elsewhere, None, TOKEN, at(500));
        assert!(moved.answered.is_none() && moved.needs_trial(at(500)));
        // The trial of the next day fails.
        let tried = PokeTarget {
            tried: Some(at(100_000)),
            ..answered
        };
        assert_eq!(heard(tried, None, 100_020).answered, None);
    }
}
