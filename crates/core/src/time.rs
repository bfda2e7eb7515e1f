//! Time as data: programs read clocks and pass the values to the rules.
//!
//! Deadlines are kept on the monotonic clock that also counts suspension (`CLOCK_BOOTTIME`), so that
//! neither a suspended host nor a step of the wall clock extends a release window. The wall clock
//! serves only to persist a deadline across a reboot and to be shown to people.

use std::time::Duration;

use crate::digits;

/// Time since the kernel booted, suspension included (`CLOCK_BOOTTIME`, clock_gettime(2)).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Monotonic(Duration);

impl Monotonic {
    /// The point `since_boot` after the kernel's start.
    pub const fn from_boot(since_boot: Duration) -> Self {
        Self(since_boot)
    }

    /// Time from the kernel's start to this point.
    pub const fn since_boot(self) -> Duration {
        self.0
    }

    /// This point moved `by` later; saturates.
    pub const fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by))
    }

    /// This point moved `by` earlier, the kernel's start at the earliest.
    pub const fn before(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(by))
    }

    /// Time from `earlier` to this point; zero when `earlier` is not earlier.
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// Wall-clock time: microseconds since 1970-01-01T00:00:00 UTC, negative before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Wall(i64);

impl Wall {
    /// A point `micros` microseconds after 1970-01-01T00:00:00 UTC.
    pub const fn from_unix_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970-01-01T00:00:00 UTC.
    pub const fn unix_micros(self) -> i64 {
        self.0
    }

    /// This point moved `by` later; saturates.
    pub fn after(self, by: Duration) -> Self {
        let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(by))
    }

    /// This point moved `by` earlier; saturates.
    pub fn before(self, by: Duration) -> Self {
        let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(by))
    }

    /// Time from `earlier` to this point; zero when `earlier` is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        let micros = i128::from(self.0) - i128::from(earlier.0);
        Duration::from_micros(u64::try_from(micros.max(0)).unwrap_or(u64::MAX))
    }
}

/// Both clocks, read at the same time by the program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// The monotonic clock, which decides.
    pub mono: Monotonic,
    /// The wall clock, which is saved and shown.
    pub wall: Wall,
}

/// The boot of the host that a [`Monotonic`] belongs to (`/proc/sys/kernel/random/boot_id`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BootId([u8; 16]);

impl BootId {
    /// The boot with these 16 bytes as its UUID.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The UUID's 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Parses the kernel's text form, a UUID with dashes; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let dashes = text.match_indices('-').map(|(place, _)| place);
        if text.len() != 36 || !dashes.eq([8, 13, 18, 23]) {
            return None;
        }
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
        digits::hex(&digits).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_never_go_below_zero() {
        let early = Wall::from_unix_micros(-5);
        let late = Wall::from_unix_micros(7);
        assert_eq!(late.since(early), Duration::from_micros(12));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(
            Wall::from_unix_micros(i64::MAX).since(Wall::from_unix_micros(i64::MIN)),
            Duration::from_micros(u64::MAX)
        );
    }

    #[test]
    fn a_boot_id_is_read_as_the_kernel_prints_it() {
        let id = BootId::parse("f2c1a4de-0b7c-4b1d-9e57-00112233aabb\n");
        assert_eq!(id.map(|id| id.as_bytes()[0]), Some(0xf2));
        assert_eq!(BootId::parse("f2c1"), None);
        for wrong in [
            "+2c1a4de-0b7c-4b1d-9e57-00112233aabb",
            "f2c1a4de-0b7c-4b1d-9e57-00112233aa+b",
            "f2c1a4de-0b7c-4b1d-9e57-00112233aab",
            "f2c1a4de-0b7c-4b1d-9e57-00112233aabbcc",
            "f2c1a4de0b7c4b1d9e5700112233aabb",
            "f2c1a4de0b7c-4b1d-9e57-0011-2233aabb",
        ] {
            assert_eq!(BootId::parse(wrong), None, "{wrong:?}");
        }
    }
}
