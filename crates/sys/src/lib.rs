//! The only unsafe code: one file per family of system calls, each safe to call from outside.
#![deny(unsafe_op_in_unsafe_fn)]
