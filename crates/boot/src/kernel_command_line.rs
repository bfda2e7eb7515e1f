//! The kernel's command line of this boot. What it means is decided in `core`.

use std::path::Path;

use nightlatch_core::kernel_command_line::KernelParameters;

use crate::files::read_bounded;

const FILE: &str = "/proc/cmdline";

/// Longer than any architecture's (`COMMAND_LINE_SIZE`).
const MAX_LENGTH: usize = 64 * 1024;

/// Reads it. A file that cannot be read asks for nothing, with a warning.
pub(crate) fn of_this_boot() -> KernelParameters {
    match read_bounded(Path::new(FILE), MAX_LENGTH) {
        Ok(bytes) => KernelParameters::parse(&String::from_utf8_lossy(&bytes)),
        Err(error) => KernelParameters {
            warnings: vec![format!("cannot read {FILE}: {error}")],
            ..KernelParameters::default()
        },
    }
}
