//! JSON for programs.

use serde::Serialize;

use crate::failure::{EX_SOFTWARE, Failure};

/// Any value as indented JSON with a line feed at the end.
pub fn text(value: &impl Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::new(EX_SOFTWARE, "cannot write JSON").because(error))?;
    Ok(text + "\n")
}
