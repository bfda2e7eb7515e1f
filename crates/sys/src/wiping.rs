//! An allocator that wipes what is given back to it.
//!
//! Secrets are wiped by their owners. Libraries that work on one, such as a hash of a message with a
//! password in it, keep parts of it in memory of their own and give that back as it is.

use std::alloc::{GlobalAlloc, Layout, System};

/// Memory of `A`, which gets it back full of zeros.
///
/// Growing moves to new memory always, so that the old is wiped too.
#[derive(Debug)]
pub struct Wiping<A = System>(A);

impl Wiping {
    /// The memory of the system: malloc(3).
    pub const fn new() -> Self {
        Self(System)
    }
}

impl Default for Wiping {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: all memory comes from `A` and goes back to it, with the layout that it was asked for.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Wiping<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: what holds for `layout` is the caller's promise.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller promises that all of it is his, and that nobody uses it after this.
        unsafe {
            // Unlike write_bytes, this is never optimised away.
            libc::explicit_bzero(memory.cast(), layout.size());
            self.0.dealloc(memory, layout);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Looks at what comes back.
    #[derive(Default)]
    struct Inspector {
        returned: Cell<usize>,
    }

    unsafe impl GlobalAlloc for Inspector {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
            let bytes = unsafe { std::slice::from_raw_parts(memory, layout.size()) };
            assert!(bytes.iter().all(|byte| *byte == 0), "{bytes:?}");
            self.returned.set(self.returned.get() + layout.size());
            unsafe { System.dealloc(memory, layout) }
        }
    }

    #[test]
    fn memory_comes_back_wiped_when_it_is_freed_and_when_it_grows() {
        let memory = Wiping(Inspector::default());
        let layout = |size| Layout::from_size_align(size, 8).unwrap();
        // SAFETY: each block is used between its allocation and its end, with its own layout.
        unsafe {
            let small = memory.alloc(layout(24));
            small.write_bytes(b'x', 24);
            let large = memory.realloc(small, layout(24), 4096);
            assert_eq!(memory.0.returned.get(), 24);
            assert_eq!(std::slice::from_raw_parts(large, 24), [b'x'; 24]);
            large.write_bytes(b'y', 4096);
            memory.dealloc(large, layout(4096));
        }
        assert_eq!(memory.0.returned.get(), 24 + 4096);
    }
}
