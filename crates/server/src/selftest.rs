//! `--check`: tests on this host what a release needs, in memory and in a temporary directory.

use std::fs;
use std::path::PathBuf;

use nightlatch_core::client::saved::Change;
use nightlatch_core::error_chain::format_error;
use nightlatch_core::name::ClientName;
use nightlatch_proto::tls::{RawKey, RawKeyKind, authenticate_in_memory};
use nightlatch_store::{SqliteStore, Store};
use nightlatch_sys::clock;

use crate::error::BoxError;

/// Runs every test; returns a line for each. `Err` when one failed.
pub(crate) fn run() -> Result<String, String> {
    type Test = fn() -> Result<(), BoxError>;
    let tests: [(&str, Test); 3] = [
        ("clocks", clocks),
        ("TLS handshake with a raw key", handshake),
        ("state on disk", state),
    ];
    let mut lines = String::new();
    let mut failed = false;
    for (name, test) in tests {
        match test() {
            Ok(()) => lines.push_str(&format!("ok      {name}\n")),
            Err(error) => {
                failed = true;
                lines.push_str(&format!("failed  {name}: {}\n", format_error(&*error)));
            }
        }
    }
    if failed { Err(lines) } else { Ok(lines) }
}

fn clocks() -> Result<(), BoxError> {
    let first = clock::now();
    clock::boot_id()?;
    if clock::now().mono < first.mono {
        return Err("the monotonic clock went backwards".into());
    }
    Ok(())
}

fn handshake() -> Result<(), BoxError> {
    let key = RawKey::generate(RawKeyKind::Ed25519)?;
    let proved = authenticate_in_memory(&key)?;
    if proved.key_id() != key.key_id() {
        return Err("the handshake proved another key".into());
    }
    Ok(())
}

fn state() -> Result<(), BoxError> {
    let folder = TemporaryDirectory(
        std::env::temp_dir().join(format!("nightlatchd-check-{}", std::process::id())),
    );
    let name = ClientName::new("check")?;
    SqliteStore::open(&folder.0)?.commit(&[Change::Forget(name)])?;
    let saved = SqliteStore::open(&folder.0)?.load()?;
    if !saved.clients.is_empty() {
        return Err("the state came back different".into());
    }
    Ok(())
}

struct TemporaryDirectory(PathBuf);

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
