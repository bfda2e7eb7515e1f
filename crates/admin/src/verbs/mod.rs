//! The verbs that call a server: each a function of its options and a connection to an exit status.

pub(crate) mod add;
pub(crate) mod change;
pub(crate) mod check_config;
pub(crate) mod check_now;
pub(crate) mod decide;
pub(crate) mod list;
pub(crate) mod log;
mod outcome;
pub(crate) mod rehearsal;
pub(crate) mod reload;
pub(crate) mod set;
pub(crate) mod show;
pub(crate) mod wait;
pub(crate) mod why;

#[cfg(test)]
pub(crate) mod samples;
