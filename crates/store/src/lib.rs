//! Durable state of the server: the trait, the SQLite store, the contract that every store keeps.
#![forbid(unsafe_code)]
