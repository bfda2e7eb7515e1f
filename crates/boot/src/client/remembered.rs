//! The servers that this machine's agent has reached before.

use std::io;
use std::path::Path;

use nightlatch_core::connect::Target;
use nightlatch_core::remembered_servers::{FILE, MAX_BYTES, parse};

use super::files::Files;
use crate::files::configuration;
use crate::log::AppletLog;

/// Reads the file at `named`, else the one of the image. What cannot be read is no reason not to search.
pub(super) fn read(named: Option<&Path>, files: Files, log: AppletLog) -> Vec<Target> {
    let usual = configuration().join(FILE);
    let path = named.unwrap_or(&usual);
    let text = match files.read(path, MAX_BYTES) {
        Ok(text) => text,
        Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => {
            return Vec::new();
        }
        Err(error) => {
            log.info(&format!("cannot read {}: {error}", path.display()));
            return Vec::new();
        }
    };
    let servers = parse(&String::from_utf8_lossy(&text));
    log.debug(|| {
        format!(
            "trying {} remembered servers beside the search",
            servers.len()
        )
    });
    servers
}
