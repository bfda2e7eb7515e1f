//! nightlatch: the administrator's one command.
#![forbid(unsafe_code)]
