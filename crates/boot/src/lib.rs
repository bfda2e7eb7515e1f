//! nightlatch-boot: fetches the disk password in the initramfs.
//!
//! One program for every applet, by the name it is called by or its first argument.
#![forbid(unsafe_code)]

pub mod client;
