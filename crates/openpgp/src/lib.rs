//! OpenPGP behind our own types: decrypt and verify, encrypt and sign, generate.
//!
//! No type of the library below is public. The server never links this crate: it cannot decrypt
//! what it serves.
#![forbid(unsafe_code)]
