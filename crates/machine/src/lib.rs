//! The work on the machine that reboots: its keys, the enrolment of its disks, the content of its boot image, the
//! network of its boot, and the check of all of this. Nothing here knows a server's D-Bus.
#![forbid(unsafe_code)]

mod accounts;
mod admin_keys;
mod agent;
mod block_device;
mod boot_command;
mod boot_files;
pub mod check;
pub mod enroll;
mod expiry;
mod file_system;
mod files;
pub mod get;
mod host_keys;
pub mod image;
pub mod keygen;
pub mod keys;
pub mod network;
mod passphrase;
mod section;
mod ssh;
mod timed_command;
mod wait;
