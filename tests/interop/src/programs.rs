//! Paths of the programs under test: ours in the build folder, the peers unpacked by `scripts/prepare test` or
//! installed.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The origin of a program: every pairing is tested.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Project {
    /// The program of Nightlatch.
    Ours,
    /// The program of Mandos 1.8.16.
    Stock,
}

/// Our program `name` of this build.
pub fn ours(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap_or_default();
    let folder = test.ancestors().find(|folder| folder.join(name).is_file());
    match folder {
        Some(folder) => folder.join(name),
        None => panic!("{name} is not built: run `cargo build --workspace` first"),
    }
}

/// Our boot client: the one that `NIGHTLATCH_BOOT` names, as the small one of `make boot`, else that of
/// this build.
pub fn boot_client() -> PathBuf {
    std::env::var_os("NIGHTLATCH_BOOT").map_or_else(|| ours("nightlatch-boot"), PathBuf::from)
}

/// The peer's file at `path` (as `usr/sbin/mandos`).
pub fn peer(path: &str) -> PathBuf {
    let unpacked = std::env::var_os("NIGHTLATCH_PEERS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/peers"),
        PathBuf::from,
    );
    let places = [unpacked, PathBuf::from("/")].map(|root| root.join(path));
    match places.iter().find(|place| place.is_file()) {
        Some(place) => place.clone(),
        None => panic!("{path} is not here: run `scripts/prepare test` first"),
    }
}

/// The stock Mandos client.
pub fn mandos_client() -> PathBuf {
    stock_boot("plugins.d/mandos-client")
}

/// The stock program `name` of those for the initramfs, as `plugin-runner`.
pub fn stock_boot(name: &str) -> PathBuf {
    peer_library(&format!("mandos/{name}"))
}

/// The peer's file at `path` in the folder of libraries of this processor (as `libnss_wrapper.so`).
pub fn peer_library(path: &str) -> PathBuf {
    let output = Command::new("dpkg-architecture")
        .arg("-qDEB_HOST_MULTIARCH")
        .output();
    let triplet = match output {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => "x86_64-linux-gnu".to_owned(),
    };
    peer(&format!("usr/lib/{triplet}/{path}"))
}
