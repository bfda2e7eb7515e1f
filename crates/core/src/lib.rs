//! Domain types and rules of Nightlatch.
//!
//! Everything here is pure: no clock, no I/O, no randomness, no async. Time is an argument ([`time::Now`]), deadlines
//! are return values, and effects are [`registry::Action`]s that the caller carries out. This crate must never depend
//! on anything impure.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod agent_files;
pub mod alarm_queue;
pub mod boot_nonce;
pub mod calendar;
pub mod checker;
pub mod client;
pub mod connect;
mod deadline;
pub mod digits;
pub mod duration;
pub mod error_chain;
pub mod event;
pub mod explanation;
pub mod guard;
pub mod hours;
pub mod ini;
pub mod interpolate;
pub mod kernel_command_line;
pub mod key_id;
pub mod log_limit;
pub mod name;
pub mod network;
pub mod openpgp_public_key;
pub mod outbox;
pub mod record;
pub mod registry;
pub mod remembered_servers;
pub mod sealed_secret;
pub mod secret;
pub mod secret_name;
pub mod secret_rejection;
pub mod settings;
pub mod ssh;
pub mod suggest;
pub mod time;
pub mod trusted_servers;
