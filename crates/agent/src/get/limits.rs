//! The limits of a search for servers, and of a wait at one of them. Pure.

use std::time::Duration;

use nightlatch_core::time::Monotonic;

/// Time to find a server that answers, anew after each that did. Whoever announces many places must not keep a caller
/// from its answer.
pub(super) const FIND: Duration = Duration::from_secs(60);

/// The most time in the queue for connections that is added to [`FIND`]: a search ends, however many others ask.
const QUEUE: Duration = Duration::from_secs(5 * 60);

/// A server that lets a request wait says so every 30 s. One that is silent for so long is left.
const SILENCE: Duration = Duration::from_secs(90);

/// The longest time for which a request waits at a server that does not say how long.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

/// The longest time for which a request waits at a server, whatever that says.
const LONGEST_TOLD_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// The greatest number of notices to wait within [`NOTICES_WITHIN`]. A server sends one every 30 s and at each change; one
/// that sends more floods the machine, and is left.
const MOST_NOTICES: u32 = 60;
const NOTICES_WITHIN: Duration = Duration::from_secs(60);

/// The end of the search for the next server that answers: [`FIND`] after its beginning, without the time in the queue for
/// connections, of which [`QUEUE`] counts at most.
#[derive(Debug)]
pub(super) struct SearchLimit {
    until: Monotonic,
    queue_left: Duration,
}

impl SearchLimit {
    pub(super) fn new(now: Monotonic) -> Self {
        Self {
            until: now.after(FIND),
            queue_left: QUEUE,
        }
    }

    pub(super) fn is_over(&self, now: Monotonic) -> bool {
        now >= self.until
    }

    /// A connection was queued for so long.
    pub(super) fn add_queue(&mut self, queued: Duration) {
        let added = queued.min(self.queue_left);
        self.queue_left -= added;
        self.until = self.until.after(added);
    }
}

/// The bounds of a wait at one server: its end, when the server has said that it is decided, and the pace of its notices.
#[derive(Debug)]
pub(super) struct WaitBound {
    begin: Monotonic,
    /// The server has let the request wait.
    pub(super) has_begun: bool,
    end: Option<Monotonic>,
    /// The beginning of the present [`NOTICES_WITHIN`], and the notices since.
    counted_from: Monotonic,
    notices: u32,
}

/// The server sends more notices than a server has reason to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the server sent more than {MOST_NOTICES} notices to wait within {} s", NOTICES_WITHIN.as_secs())]
pub(super) struct NoticeFlood;

impl WaitBound {
    pub(super) const fn new(now: Monotonic) -> Self {
        Self {
            begin: now,
            has_begun: false,
            end: None,
            counted_from: now,
            notices: 0,
        }
    }

    /// The time for the next notice of a server that has `left` until it decides. Its first word for that counts, up to
    /// [`LONGEST_TOLD_WAIT`]: one that puts it off again and again would never be asked anew.
    pub(super) fn next(
        &mut self,
        left: Option<Duration>,
        now: Monotonic,
    ) -> Result<Duration, NoticeFlood> {
        self.has_begun = true;
        if now.since(self.counted_from) >= NOTICES_WITHIN {
            self.counted_from = now;
            self.notices = 0;
        }
        self.notices += 1;
        if self.notices > MOST_NOTICES {
            return Err(NoticeFlood);
        }
        if self.end.is_none() {
            self.end = left.map(|left| now.after(left.min(LONGEST_TOLD_WAIT)).after(SILENCE));
        }
        let end = self.end.unwrap_or(self.begin.after(LONGEST_WAIT));
        Ok(SILENCE.min(end.since(now)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(after: Duration) -> Monotonic {
        Monotonic::from_boot(after)
    }

    fn bound() -> WaitBound {
        WaitBound::new(at(Duration::ZERO))
    }

    #[test]
    fn a_wait_lasts_as_long_as_the_server_says_and_not_longer() {
        let mut long = bound();
        assert_eq!(long.next(None, at(Duration::ZERO)), Ok(SILENCE));
        assert_eq!(long.next(Some(HOUR * 20), at(HOUR / 2)), Ok(SILENCE));
        // A later word does not move the end.
        assert_eq!(long.next(Some(HOUR * 20), at(HOUR * 20)), Ok(SILENCE));
        let end = HOUR * 20 + HOUR / 2 + SILENCE;
        assert_eq!(long.next(Some(HOUR), at(end)), Ok(Duration::ZERO));
        let mut without = bound();
        assert_eq!(without.next(None, at(HOUR - SILENCE / 2)), Ok(SILENCE / 2));
        assert_eq!(without.next(None, at(HOUR)), Ok(Duration::ZERO));
    }

    #[test]
    fn no_server_keeps_a_request_for_longer_than_a_day() {
        for told in [HOUR * 48, Duration::MAX] {
            let mut bound = bound();
            assert_eq!(bound.next(Some(told), at(Duration::ZERO)), Ok(SILENCE));
            let end = LONGEST_TOLD_WAIT + SILENCE;
            assert_eq!(bound.next(Some(told), at(end)), Ok(Duration::ZERO));
        }
    }

    #[test]
    fn a_flood_of_notices_ends_a_wait_and_their_usual_pace_never_does() {
        let mut usual = bound();
        for number in 0..2880 {
            let now = at(Duration::from_secs(30) * number);
            assert!(usual.next(Some(HOUR * 24), now).is_ok(), "{number}");
        }
        let mut flood = bound();
        let mut notices = (0..2 * MOST_NOTICES).map(|number| {
            let now = at(Duration::from_millis(100) * number);
            flood.next(Some(HOUR), now)
        });
        let ended = notices.position(|it| it == Err(NoticeFlood));
        assert_eq!(ended, usize::try_from(MOST_NOTICES).ok());
    }

    #[test]
    fn a_search_ends_however_many_places_there_are_and_a_queue_costs_it_nothing() {
        let second = Duration::from_secs(1);
        // Places where each try takes a second.
        let mut limit = SearchLimit::new(at(Duration::ZERO));
        let tries = |limit: &mut SearchLimit, queued: Duration| {
            let mut now = Duration::ZERO;
            let mut tries = 0;
            while !limit.is_over(at(now)) && tries < 10_000 {
                tries += 1;
                limit.add_queue(queued);
                now += queued + second;
            }
            (tries, now)
        };
        assert_eq!(tries(&mut limit, Duration::ZERO), (60, FIND));
        let mut limit = SearchLimit::new(at(Duration::ZERO));
        assert_eq!(tries(&mut limit, second * 2), (60, FIND * 3));
        // A queue that is longer than all that counts of it.
        let mut limit = SearchLimit::new(at(Duration::ZERO));
        let (tries, took) = tries(&mut limit, second * 60);
        assert!(tries >= 5 && took <= FIND + QUEUE + second * 61, "{took:?}");
    }
}
