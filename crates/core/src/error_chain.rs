//! Formats an error with its sources.

use std::error::Error;

/// The error and all its sources in one line, the cause last.
pub fn format_error(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        next = cause.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] std::num::ParseIntError);

    #[test]
    fn the_cause_comes_last() {
        let cause = "x".parse::<u8>().unwrap_err();
        let expected = format!("outer: {cause}");
        assert_eq!(format_error(&Outer(cause)), expected);
    }
}
