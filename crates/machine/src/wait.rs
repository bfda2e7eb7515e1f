//! The value of `--wait`, for the verbs that look for a server.

/// Reads a number of seconds.
pub(crate) fn seconds(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| {
        let max = u32::MAX;
        format!("expected a number of seconds from 0 to {max}, such as 15, found {text:?}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_is_expected_and_what_was_found() {
        assert_eq!(seconds("15"), Ok(15));
        for wrong in ["soon", "", "5m", "1.5", "4294967296"] {
            let said = format!(
                "expected a number of seconds from 0 to 4294967295, such as 15, found {wrong:?}"
            );
            assert_eq!(seconds(wrong), Err(said));
        }
    }
}
