//! The administrator's view of the clients of a server over D-Bus: shows them, changes them and decides on their
//! requests, by single verbs (`verbs`), on one screen (`monitor`), and as mandos-ctl does (`ctl`).
#![forbid(unsafe_code)]

pub mod bus;
pub mod ctl;
mod guard;
mod json;
pub mod monitor;
mod point_in_time;
mod proof;
pub mod rehearsals;
mod secret_file;
pub mod select;
mod state;
pub mod verbs;
