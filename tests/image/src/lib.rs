//! Boot images as real boot systems make them, in the root file system of a Debian guest, and what is in them.
//!
//! Nothing is changed in the guest: its files lie below an overlay that lasts as long as a test.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "in a test it is the assertion itself")]

pub mod builder;
pub mod cpio;
