//! Paths in the source tree and below its `target`.

use std::path::{Path, PathBuf};

/// The file or folder at `path` in the source tree.
pub fn tree(path: &str) -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = package.ancestors().nth(2);
    root.expect("this package is two levels down").join(path)
}

/// QEMU's file at `path`, as `scripts/prepare boot-test` unpacked it.
pub fn qemu(path: &str) -> PathBuf {
    let file = tree("target/qemu").join(path);
    assert!(
        file.exists(),
        "{} is not here: run `scripts/prepare boot-test` first",
        file.display()
    );
    file
}
