//! A Mandos server or client, taken over by `nightlatch import-mandos`.

mod client;
mod files;
mod fixture;
mod pickle;
mod server;
mod transcript;
