//! The command line of `nightlatch network`.

use std::path::PathBuf;

use clap::Args;

use crate::wait;

/// The options of `network`.
#[derive(Args, Debug)]
pub struct NetworkOptions {
    /// Learn it from the running system and write /etc/nightlatch/network.conf
    #[arg(short, long, conflicts_with_all = ["conf", "json", "root"])]
    pub(crate) learn: bool,

    /// With --learn: the server is on this interface, do not look for it; may be repeated
    #[arg(
        short,
        long,
        value_name = "NAME",
        value_delimiter = ',',
        requires = "learn"
    )]
    pub(crate) interface: Vec<String>,

    /// With --learn: print what would be written, and write nothing
    #[arg(short = 'n', long, requires = "learn")]
    pub(crate) dry_run: bool,

    /// With --learn: overwrite a file that was edited
    #[arg(short, long, requires = "learn")]
    pub(crate) force: bool,

    /// With --learn: look for servers for so many seconds
    #[arg(
        short,
        long,
        value_name = "SECONDS",
        default_value_t = 5,
        value_parser = wait::seconds,
        requires = "learn"
    )]
    pub(crate) wait: u32,

    /// Print the network.conf that the next image gets
    #[arg(long, conflicts_with = "json")]
    pub(crate) conf: bool,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// The root of another file system, whose machine's network is not known
    #[arg(long, value_name = "DIRECTORY", default_value = "/")]
    pub(crate) root: PathBuf,
}
