//! Puts the plan below the folder that an image is made from. What is there of an earlier run is
//! replaced; programs are left to the image's builder, which finds their libraries.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, fchown, symlink};
use std::path::Path;

use super::plan::{Content, Entry, Plan};
use crate::failure::{EX_CANTCREAT, EX_NOINPUT, Failure};
use crate::import::files::read;

/// Writes every entry but programs below `directory`, which must exist.
pub(super) fn below(directory: &Path, plan: &Plan) -> Result<(), Failure> {
    if !directory.is_dir() {
        let what = format!("there is no folder {}", directory.display());
        return Err(Failure::new(EX_NOINPUT, what)
            .hint("expected the folder that the image is made from, as a hook gets it"));
    }
    for entry in &plan.entries {
        let place = directory.join(&entry.path);
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent).map_err(failed(parent))?;
        }
        match &entry.content {
            Content::Folder => folder(&place, entry).map_err(failed(&place))?,
            Content::Link(target) => {
                clear(&place).map_err(failed(&place))?;
                symlink(target, &place).map_err(failed(&place))?;
            }
            Content::File(source) => {
                let content = read(source)?;
                file(&place, entry, &content).map_err(failed(&place))?;
            }
            Content::Text(text) => file(&place, entry, text.as_bytes()).map_err(failed(&place))?,
            Content::Program(_) => {}
        }
    }
    Ok(())
}

fn failed(place: &Path) -> impl FnOnce(io::Error) -> Failure {
    let what = format!("cannot make {}", place.display());
    move |error| Failure::new(EX_CANTCREAT, what).because(error)
}

fn folder(place: &Path, entry: &Entry) -> io::Result<()> {
    match DirBuilder::new().mode(entry.mode).create(place) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && place.is_dir() => {}
        made => made?,
    }
    own(&File::open(place)?, entry.owner)
}

/// Born with its mode less the umask, which can only take away.
fn file(place: &Path, entry: &Entry, content: &[u8]) -> io::Result<()> {
    clear(place)?;
    let mut made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(entry.mode)
        .open(place)?;
    own(&made, entry.owner)?;
    io::Write::write_all(&mut made, content)
}

/// Who is not root tries things out, and owns all of it.
fn own(file: &File, owner: u32) -> io::Result<()> {
    match nightlatch_sys::privileges::is_root() {
        true => fchown(file, Some(owner), Some(owner)),
        false => Ok(()),
    }
}

fn clear(place: &Path) -> io::Result<()> {
    match fs::remove_file(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
