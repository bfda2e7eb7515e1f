//! `--check`: does this program work on this host? Tries what a release needs, in memory and in a
//! temporary folder of its own.

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use nightlatch_core::client::saved::Change;
use nightlatch_core::name::ClientName;
use nightlatch_proto::tls::{RawKey, RawKeyKind, authenticate_in_memory};
use nightlatch_store::{SqliteStore, Store};
use nightlatch_sys::clock;

type Tested = Result<(), Box<dyn Error + Send + Sync>>;
type Test = (&'static str, fn() -> Tested);

/// Runs every test; a line for each. `Err` when one failed.
pub(crate) fn run() -> Result<String, String> {
    let tests: [Test; 3] = [
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
                lines.push_str(&format!(
                    "failed  {name}: {}\n",
                    nightlatch_core::chain::chain(&*error)
                ));
            }
        }
    }
    if failed { Err(lines) } else { Ok(lines) }
}

fn clocks() -> Tested {
    let first = clock::now();
    clock::boot_id()?;
    if clock::now().mono < first.mono {
        return Err("the monotonic clock went backwards".into());
    }
    Ok(())
}

fn handshake() -> Tested {
    let key = RawKey::generate(RawKeyKind::Ed25519)?;
    let proved = authenticate_in_memory(&key)?;
    if proved.key_id() != key.key_id() {
        return Err("the handshake proved another key".into());
    }
    Ok(())
}

fn state() -> Tested {
    let folder =
        Folder(std::env::temp_dir().join(format!("nightlatchd-check-{}", std::process::id())));
    let name = ClientName::new("check")?;
    SqliteStore::open(&folder.0)?.commit(&[Change::Forget(name)])?;
    let saved = SqliteStore::open(&folder.0)?.load()?;
    if !saved.clients.is_empty() {
        return Err("the state came back different".into());
    }
    Ok(())
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
