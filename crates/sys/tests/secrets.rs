//! The memory of a secret is zeros when it goes back to the allocator, without an allocator that wipes: the
//! server has none. Here, because looking at such memory is unsafe.
#![allow(clippy::unwrap_used, reason = "in a test it is the assertion itself")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use nightlatch_core::secret::{Secret, SecretBuffer};

/// Stands in nothing but secrets.
const MARK: [u8; 16] = *b"a secret to wipe";

/// Blocks that came back with the mark in them.
static LEFT: AtomicUsize = AtomicUsize::new(0);

struct Inspector;

#[global_allocator]
static MEMORY: Inspector = Inspector;

// SAFETY: all memory is that of the system's allocator, with the layout that it was asked for. A block that grows
// moves by `alloc` and `dealloc`.
unsafe impl GlobalAlloc for Inspector {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: what holds for `layout` is the caller's promise. With zeros in it there is nothing left from before.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller gives the block back whole, and all of it has been zeros at least.
        let bytes = unsafe { std::slice::from_raw_parts(memory, layout.size()) };
        if bytes.windows(MARK.len()).any(|it| it == MARK) {
            LEFT.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// The number of blocks with the mark in them that `action` frees.
fn left_by(action: impl FnOnce()) -> usize {
    let before = LEFT.load(Ordering::Relaxed);
    action();
    LEFT.load(Ordering::Relaxed) - before
}

/// One test, since the count is one for the whole process.
#[test]
fn no_secret_is_left_in_memory_that_was_given_back() {
    // The test can fail.
    assert_eq!(left_by(|| drop(MARK.to_vec())), 1);

    let whole = || Secret::new(MARK.to_vec());
    assert_eq!(left_by(|| drop(whole())), 0);
    let roomy = || {
        let mut bytes = Vec::with_capacity(1000);
        bytes.extend_from_slice(&MARK);
        Secret::new(bytes)
    };
    assert_eq!(left_by(|| drop(roomy())), 0);
    assert_eq!(left_by(|| assert!(whole() == roomy())), 0);
    let grown = || {
        let mut buffer = SecretBuffer::default();
        for _ in 0..100 {
            buffer.append(&MARK);
        }
        buffer
    };
    assert_eq!(left_by(|| drop(grown())), 0);
    assert_eq!(left_by(|| drop(grown().finish())), 0);
    assert_eq!(grown().finish().expose(), MARK.repeat(100));
}
