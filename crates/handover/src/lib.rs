//! The state of a server as a JSON document: written by who takes it over from elsewhere, read by
//! `nightlatchd --import-state`.
//!
//! Owns the document's form and nothing of what it means. Durations are whole microseconds, moments
//! microseconds since 1970 UTC, digests and ids hexadecimal, secrets base64.
#![forbid(unsafe_code)]

mod form;

use std::io;

use nightlatch_core::client::saved::Saved;

use form::{Document, Header};

/// What every document says it is.
const FORMAT: &str = "nightlatch-state";

/// The form of the document. A later one is refused.
const VERSION: u32 = 1;

/// Why a document is not read. None shows a secret.
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
    /// It says that it is something else.
    #[error("expected a document of {FORMAT:?}, found {0:?}")]
    Foreign(String),
    /// A later release wrote it.
    #[error("the document has version {0}, which a later release wrote; this one knows {VERSION}")]
    Newer(u32),
    /// A value that cannot be.
    #[error("client {client:?}: {what}")]
    Value {
        /// Whose.
        client: String,
        /// What is wrong with it.
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
/// What `to` fails with.
pub fn write(saved: &Saved, to: impl io::Write) -> io::Result<()> {
    serde_json::to_writer(to, &Document::of(saved)).map_err(io::Error::from)
}

/// Reads a document: all of it is right, or nothing of it is used.
pub fn read(text: &[u8]) -> Result<Saved, HandoverError> {
    // First what it is: only then is a fault in the rest worth telling.
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

/// Where the fault is. The parser's own text quotes what it found, which may be a secret.
fn form(error: serde_json::Error) -> HandoverError {
    HandoverError::Form {
        line: error.line(),
        column: error.column(),
    }
}

#[cfg(test)]
mod tests;
