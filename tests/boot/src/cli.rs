//! The command line.

use std::path::PathBuf;

use clap::Parser;

use crate::images::DebianRelease;

/// Boots real guests with encrypted disks, and checks that they come up
///
/// Each scenario boots Debian with its root on LUKS2 in an emulator. Run it as root, by `make boot-test`: it
/// needs our Debian packages (`make deb`) and an emulator (`scripts/prepare boot-test`).
#[derive(Parser, Debug)]
#[command(name = "boot-test", max_term_width = 100)]
pub struct BootTestArguments {
    /// Play only the few scenarios that show the most
    #[arg(long)]
    pub short: bool,

    /// Play only the scenarios whose name contains this; may be repeated
    #[arg(long, value_name = "NAME")]
    pub only: Vec<String>,

    /// The release of Debian in the guests
    #[arg(long, value_enum, default_value = "bookworm")]
    pub suite: DebianRelease,

    /// Folder for the logs of the consoles [default: target/boot-test/logs]
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,

    /// The number of guests at a time
    #[arg(long, value_name = "N", default_value = "2", value_parser = clap::value_parser!(u8).range(1..))]
    pub guests: u8,

    /// List the scenarios
    #[arg(long)]
    pub list: bool,
}
