//! Random delays, so that machines that started together do not report together.

use std::time::Duration;

/// A generator of random delays (SplitMix64). Not for secrets.
#[derive(Debug)]
pub(crate) struct Jitter(u64);

impl Jitter {
    /// Starts from random bytes of the kernel.
    pub(crate) const fn new(seed: [u8; 8]) -> Self {
        Self(u64::from_ne_bytes(seed))
    }

    /// A delay from `least` to `most`, each as likely as any other; `least` when `most` is less.
    pub(crate) fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let range = most.saturating_sub(least).as_micros();
        // The longest delay is a day. The remainder favours no delay by more than one in a million.
        let range = u64::try_from(range).unwrap_or(u64::MAX).saturating_add(1);
        least.saturating_add(Duration::from_micros(self.number() % range))
    }

    /// A random number.
    pub(crate) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_keep_to_their_bounds_and_use_them() {
        let mut jitter = Jitter::new([1; 8]);
        let (least, most) = (Duration::from_secs(1), Duration::from_secs(5));
        let delays: Vec<Duration> = (0..1000).map(|_| jitter.between(least, most)).collect();
        assert!(delays.iter().all(|it| (least..=most).contains(it)));
        let below = |limit| delays.iter().filter(|it| **it < limit).count();
        assert!((200..300).contains(&below(Duration::from_secs(2))));
        assert_eq!(jitter.between(most, least), most);
    }
}
