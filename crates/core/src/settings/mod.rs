//! Typed settings of the server and of its clients, from text to type in one step.
//!
//! Every error names file, line, section and key, and says what would have been accepted.

pub mod client;
pub mod server;
