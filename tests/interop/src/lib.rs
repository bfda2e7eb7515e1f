//! One test, two programs: what runs Nightlatch and stock Mandos side by side.
#![forbid(unsafe_code)]
