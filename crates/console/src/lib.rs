//! The terminal side of `nightlatch`: standard output with tables, colours and JSON, notes and errors on standard
//! error, questions, and reports of checks. It knows no subject.
#![forbid(unsafe_code)]

pub mod ask;
pub mod exit;
pub mod failure;
pub mod output;
pub mod report;
