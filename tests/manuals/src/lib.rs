//! Manual pages: from `docs/man/NAME.SECTION.md` to man(7), with the options that the programs define.
#![forbid(unsafe_code)]

mod options;
mod page;
mod roff;

use std::path::{Path, PathBuf};

pub use options::command;
pub use page::{Block, ManualPage, PageError, guides, pages};
pub use roff::{RoffError, render};

/// The folder with the sources of the pages.
pub fn source_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/man")
}

/// The folder with the guides.
pub fn guide_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide")
}
