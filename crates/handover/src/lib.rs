//! The state of a server as a JSON document: written by a program that takes over another server's state, read by
//! `nightlatchd --import-state`.
//!
//! Owns the format of the document and decides nothing about its content. Durations are whole microseconds, points in
//! time microseconds since 1970 UTC, digests and ids hexadecimal, secrets base64.
#![forbid(unsafe_code)]

mod form;

use std::io;

use nightlatch_core::client::saved::Saved;

use form::{Document, Header};

/// The value of the field `format`.
const FORMAT: &str = "nightlatch-state";

/// The version of the format. A later one is refused.
const VERSION: u32 = 1;

/// A document that is not accepted. No error shows a secret.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// It is no JSON, or not of this form.
    #[error("line {line}, column {column}: expected a document of {FORMAT:?} in version {VERSION}")]
    Form {
        /// The line, from 1.
        line: usize,
        /// The column in bytes.
        column: usize,
    },
    /// The document has another format.
    #[error("expected a document of {FORMAT:?}, found {0:?}")]
    Foreign(String),
    /// A later release wrote it.
    #[error("the document has version {0}, which a later release wrote; this one knows {VERSION}")]
    Newer(u32),
    /// An invalid value.
    #[error("client {client:?}: {what}")]
    Value {
        /// The client's name.
        client: String,
        /// The field and its fault.
        what: String,
    },
    /// An invalid named secret.
    #[error("named secret {secret:?}: {what}")]
    Secret {
        /// Its name and host key.
        secret: String,
        /// The fault.
        what: String,
    },
    /// The same client twice.
    #[error("client {0:?} stands in it twice")]
    Twice(String),
    /// A client that is enabled for ever, or disabled with a deadline: no server writes that.
    #[error("client {0:?}: expected a deadline for the enabled and none for the disabled")]
    Deadline(String),
}

/// Writes `saved` as a document.
///
/// # Errors
/// Those of `to`.
pub fn write(saved: &Saved, to: impl io::Write) -> io::Result<()> {
    serde_json::to_writer(to, &Document::of(saved)).map_err(io::Error::from)
}

/// Reads a document completely or not at all.
pub fn read(text: &[u8]) -> Result<Saved, HandoverError> {
    // The header first: faults of the rest matter only in a document of this format.
    let Header { format, version } = serde_json::from_slice(text).map_err(form)?;
    if format != FORMAT {
        return Err(HandoverError::Foreign(format));
    }
    if version > VERSION {
        return Err(HandoverError::Newer(version));
    }
    let document: Document<'_> = serde_json::from_slice(text).map_err(form)?;
    document.into_saved()
}

/// The position of the fault. The parser's own text quotes its input, which may be a secret.
fn form(error: serde_json::Error) -> HandoverError {
    HandoverError::Form {
        line: error.line(),
        column: error.column(),
    }
}

#[cfg(test)]
mod tests;
