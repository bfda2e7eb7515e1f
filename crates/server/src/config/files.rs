//! Reading the configuration's files: bounded, and secrets only from files that others cannot read.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nightlatch_sys::privileges::{self, Account};
use zeroize::Zeroizing;

use super::Fault;

/// Reads a file that only root, the service and their groups may be able to read.
pub(super) fn read_private(
    path: &Path,
    limit: u64,
    service: Option<&Account>,
) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let unreadable = |source| Fault::Unreadable {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    let mode = metadata.mode() & 0o7777;
    let group = metadata.gid();
    let group_is_ours = group == 0
        || group == privileges::effective_group()
        || service.is_some_and(|it| it.gid == group || it.groups.contains(&group));
    let exposed = mode & 0o007 != 0 || (mode & 0o070 != 0 && !group_is_ours);
    // A device such as /dev/stdin has the mode of no file.
    if metadata.is_file() && exposed {
        return Err(Fault::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    read_open(file, path, limit)
}

pub(super) fn read(path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let file = File::open(path).map_err(|source| Fault::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    read_open(file, path, limit)
}

fn read_open(file: File, path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, Fault> {
    // With room for all of it from the start, no copy is left behind by a growing buffer.
    let length = file
        .metadata()
        .map_or(0, |metadata| metadata.len().min(limit));
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 1));
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| Fault::Unreadable {
            path: path.to_owned(),
            source,
        })?;
    if bytes.len() as u64 > limit {
        return Err(Fault::TooLarge {
            path: path.to_owned(),
            limit,
        });
    }
    Ok(bytes)
}
