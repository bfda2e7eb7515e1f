//! Writes every manual page into a folder: `manuals FOLDER`.
#![forbid(unsafe_code)]

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use nightlatch_manuals::{pages, render, source_folder};

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1) else {
        eprintln!("usage: manuals FOLDER");
        return ExitCode::from(64);
    };
    match build(&PathBuf::from(folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("manuals: {error}");
            ExitCode::FAILURE
        }
    }
}

/// As man(1) looks for them: `FOLDER/man8/nightlatchd.8`.
fn build(folder: &PathBuf) -> Result<(), Box<dyn Error>> {
    // Pages that have no source any more must not stay.
    if folder.is_dir() {
        std::fs::remove_dir_all(folder)?;
    }
    let pages = pages(&source_folder())?;
    for page in &pages {
        let place = folder.join(format!("man{}", page.section));
        std::fs::create_dir_all(&place)?;
        let file = place.join(format!("{}.{}", page.name, page.section));
        std::fs::write(file, render(page)?)?;
    }
    println!("{} pages in {}", pages.len(), folder.display());
    Ok(())
}
