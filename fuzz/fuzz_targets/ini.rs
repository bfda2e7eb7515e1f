//! A file that is read, printed and read again holds the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightlatch_core::ini::Ini;

fuzz_target!(|text: &str| {
    if let Ok(ini) = Ini::parse(text) {
        let again = Ini::parse(&ini.to_string()).expect("what was printed can be read");
        assert_eq!(flat(&again), flat(&ini));
    }
});

fn flat(ini: &Ini) -> Vec<(&str, Vec<(&str, &str)>)> {
    std::iter::once(ini.default_section())
        .chain(ini.sections())
        .map(|section| {
            let entries = section.entries().map(|(key, entry)| (key, entry.value()));
            (section.name(), entries.collect())
        })
        .collect()
}
