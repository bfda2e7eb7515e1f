//! Reads configuration files, up to a limit, and secrets only from files that others cannot read.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nightlatch_sys::privileges::{self, Account};
use zeroize::Zeroizing;

use super::ConfigFault;

/// Reads a file that only root, the service and their groups may be able to read.
pub(super) fn read_private(
    path: &Path,
    limit: u64,
    service: Option<&Account>,
) -> Result<Zeroizing<Vec<u8>>, ConfigFault> {
    let unreadable = |source| ConfigFault::Unreadable {
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
    // The mode of a device such as /dev/stdin means nothing here.
    if metadata.is_file() && exposed {
        return Err(ConfigFault::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    read_open(file, path, limit)
}

pub(super) fn read(path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, ConfigFault> {
    let file = File::open(path).map_err(|source| ConfigFault::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    read_open(file, path, limit)
}

fn read_open(file: File, path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, ConfigFault> {
    // Allocated for the whole file, as a growing buffer would leave copies of secrets behind.
    let length = file
        .metadata()
        .map_or(0, |metadata| metadata.len().min(limit));
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 1));
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| ConfigFault::Unreadable {
            path: path.to_owned(),
            source,
        })?;
    if bytes.len() as u64 > limit {
        return Err(ConfigFault::TooLarge {
            path: path.to_owned(),
            limit,
        });
    }
    Ok(bytes)
}
