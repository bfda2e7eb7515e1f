//! The only unsafe code: one file per family of system calls, each safe to call from outside.
#![deny(unsafe_op_in_unsafe_fn)]
#![warn(missing_docs)]

pub mod boot_seed;
pub mod capabilities;
pub mod child;
pub mod clock;
pub mod deadline_stream;
pub mod identity;
#[cfg(test)]
mod in_child;
pub mod inherited;
pub mod kmsg;
pub mod link_local;
pub mod links;
pub mod local_stream;
pub mod mdns;
pub mod memory;
pub mod netif;
mod netlink;
pub mod observe;
pub mod part_file;
pub mod peers;
pub mod ping;
pub mod privileges;
pub mod process;
pub mod random;
pub mod signals;
pub mod sleep;
pub mod spawner;
pub mod terminal;
pub mod trusted;
// Of 32-bit ARM the functions are others, and libgcc stays.
#[cfg(all(panic = "abort", not(target_arch = "arm")))]
mod unwinder;
pub mod users;
pub mod wiping;
