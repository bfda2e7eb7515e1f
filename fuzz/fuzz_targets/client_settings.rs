//! Two files of clients are read or refused; every error has a line that exists.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightlatch_core::settings::client::parse;

fuzz_target!(|text: &str| {
    let (first, second) = text.split_once('\0').unwrap_or((text, ""));
    let files =
        [("a", first), ("b", second)].map(|(name, text)| (name.to_owned(), text.to_owned()));
    let lines = text.matches(['\n', '\r']).count() + 1;
    match parse(&files) {
        Ok(parsed) => {
            let places = parsed.warnings.iter().map(|warning| &warning.place);
            assert!(
                places
                    .map(|place| place.location.line)
                    .all(|line| (1..=lines).contains(&line))
            );
        }
        Err(errors) => {
            assert!(!errors.is_empty());
            let places = errors.iter().map(|error| &error.place);
            assert!(
                places
                    .map(|place| place.location.line)
                    .all(|line| (1..=lines).contains(&line))
            );
        }
    }
});
