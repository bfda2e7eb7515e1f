//! A guard that is written and read again, in the same boot of the server's host and in another one.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::guard::saved::SavedGuardError;
use crate::time::{BootId, Now, Wall};

const BOOT: BootId = BootId::from_bytes([1; 16]);
const NEXT_BOOT: BootId = BootId::from_bytes([2; 16]);

fn moment(seconds: u64) -> Now {
    Now {
        mono: at(seconds),
        wall: Wall::from_unix_micros(1_700_000_000_000_000 + seconds.cast_signed() * 1_000_000),
    }
}

fn nonces() -> impl Strategy<Value = BootNonce> {
    any::<[u8; 16]>().prop_map(BootNonce::from_bytes)
}

fn moments() -> impl Strategy<Value = Monotonic> {
    (0..2000_u64).prop_map(at)
}

fn releases() -> impl Strategy<Value = OpenRelease> {
    let counts = any::<(u8, u8)>();
    let flags = any::<(bool, bool)>();
    (option::of(nonces()), moments(), moments(), counts, flags).prop_map(
        |(boot, accepted, grace_ends, (retries, undelivered), (told, old_key))| OpenRelease {
            boot,
            accepted,
            grace_ends,
            retries,
            undelivered,
            told,
            old_key,
        },
    )
}

prop_compose! {
    fn guards()(
        phase in prop_oneof![
            Just(Phase::Unarmed),
            (0..9999_u64).prop_map(|next| Phase::Up { last: at(1000), next: Duration::from_secs(next) }),
            Just(Phase::Quiet),
            (moments(), moments()).prop_map(|(since, until)| Phase::Leaving { since, until }),
            Just(Phase::Opened),
        ],
        boot in option::of(nonces()),
        resumes: u64,
        suspect in option::of(prop_oneof![
            Just(Suspicion::Doubled), Just(Suspicion::Impostor), Just(Suspicion::ServedImpostor),
        ]),
        (doubled_told, sent_nonce) in any::<(bool, bool)>(),
        over in vec(nonces(), 0..=MAX_REMEMBERED),
        left in vec((option::of(nonces()), moments()), 0..=MAX_REMEMBERED),
        releases in vec(releases(), 0..=MAX_REMEMBERED),
    ) -> Guard {
        let left = left.into_iter().map(|(boot, accepted)| BootRequest { boot, accepted });
        Guard {
            phase, boot, resumes, suspect, doubled_told, sent_nonce, over, releases,
            left: left.collect(),
            ..Guard::default()
        }
    }
}

proptest! {
    #[test]
    fn in_the_same_boot_it_is_the_same(guard in guards()) {
        let bytes = guard.to_bytes(BOOT, moment(1000));
        let read = Guard::from_bytes(&bytes, BOOT, moment(1000));
        prop_assert_eq!(read.as_ref(), Ok(&guard));
        prop_assert_eq!(read.unwrap().to_bytes(BOOT, moment(1000)), bytes);
    }

    /// Nothing lasts longer than it would have, and nothing that matters to a theft is lost.
    #[test]
    fn in_another_boot_it_is_no_more_generous(guard in guards(), down in 0..5000_u64, set_back in 0..2000_u64) {
        let bytes = guard.to_bytes(BOOT, moment(1000));
        // A clock that was set back extends nothing: at most what was left when it was written.
        let shown = (1000 + down).saturating_sub(set_back);
        let start = Now { mono: at(7), wall: moment(shown).wall };
        let down = shown.saturating_sub(1000);
        let read = Guard::from_bytes(&bytes, NEXT_BOOT, start).unwrap();
        prop_assert_eq!(read.suspect, guard.suspect);
        prop_assert_eq!(&read.over, &guard.over);
        prop_assert_eq!(read.is_armed(), guard.is_armed());
        prop_assert_eq!(read.releases.len(), guard.releases.len());
        for (new, old) in read.releases.iter().zip(&guard.releases) {
            let left = old.grace_ends.since(at(1000 + down));
            prop_assert_eq!(new.grace_ends.since(start.mono), left);
            prop_assert_eq!((new.boot, new.accepted), (old.boot, at(0)));
        }
        if let (Phase::Leaving { until: new, .. }, Phase::Leaving { until: old, .. }) = (read.phase, guard.phase) {
            prop_assert_eq!(new.since(start.mono), old.since(at(1000 + down)));
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>, guard in guards(), at: prop::sample::Index, byte: u8) {
        let _ = Guard::from_bytes(&bytes, BOOT, moment(1000));
        // Past the header, one byte of a real one.
        let mut bytes = guard.to_bytes(BOOT, moment(1000));
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(read) = Guard::from_bytes(&bytes, BOOT, moment(1000)) {
            prop_assert!(read.over.len() <= MAX_REMEMBERED && read.releases.len() <= MAX_REMEMBERED);
        }
    }

    #[test]
    fn a_guard_that_is_cut_or_too_long_is_refused(guard in guards(), cut: prop::sample::Index) {
        let mut bytes = guard.to_bytes(BOOT, moment(1000));
        let cut = cut.index(bytes.len());
        let error = Guard::from_bytes(&bytes[..cut], BOOT, moment(1000));
        prop_assert_eq!(error, Err(SavedGuardError::Cut));
        bytes.push(0);
        let error = Guard::from_bytes(&bytes, BOOT, moment(1000));
        prop_assert_eq!(error, Err(SavedGuardError::Rest(1)));
    }
}

#[test]
fn a_later_version_is_refused() {
    let mut bytes = Guard::default().to_bytes(BOOT, moment(0));
    bytes[0] = 2;
    let error = Guard::from_bytes(&bytes, BOOT, moment(0));
    assert_eq!(error, Err(SavedGuardError::Version(2)));
}
