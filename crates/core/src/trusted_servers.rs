//! The syntax of a list of trusted servers: one key id a line, `#` begins a comment.

use crate::key_id::{KeyId, KeyIdError};

/// A line that is no key id. Nothing of the list may be used then: a typing error must not turn the rule off.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InvalidLine {
    /// The number of the line, from 1.
    pub number: usize,
    /// The problem with its text.
    pub error: KeyIdError,
}

/// The key ids of the list, in its order. None for a list without any, which the caller must not take for "everyone".
pub fn parse(text: &str) -> Result<Vec<KeyId>, InvalidLine> {
    let mut servers = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if !line.is_empty() {
            let id = line.parse();
            servers.push(id.map_err(|error| InvalidLine { number, error })?);
        }
    }
    Ok(servers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_comments_and_empty_lines() {
        let id = "5".repeat(64);
        let text = format!("# servers\n\n{id} # the one in the cellar\n");
        assert_eq!(parse(&text), Ok(vec![id.parse().unwrap()]));
        assert_eq!(parse("# nobody\n"), Ok(Vec::new()));
    }

    #[test]
    fn the_line_that_is_no_key_id_is_named() {
        let text = format!("{}\n12\n", "5".repeat(64));
        assert_eq!(parse(&text).unwrap_err().number, 2);
    }
}
