//! Manual pages: from `docs/man/NAME.SECTION.md` to man(7), with the options that the programs define.
#![forbid(unsafe_code)]

mod options;
mod page;
mod roff;

use std::path::{Path, PathBuf};

pub use options::command;
pub use page::{Block, Page, PageError, guides, pages};
pub use roff::{RoffError, render};

/// Where the sources of the pages are.
pub fn source_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/man")
}

/// Where the guides are.
pub fn guide_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide")
}
