//! The grammar of `nightlatch network`.

use std::path::PathBuf;

use clap::Args;

/// `network`.
#[derive(Args, Debug)]
pub(crate) struct Network {
    /// Only what this interface needs, instead of those of client.conf; may be repeated
    #[arg(short, long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) interface: Vec<String>,

    /// Print the network.conf that the image gets
    #[arg(long, conflicts_with = "json")]
    pub(crate) conf: bool,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// The root of another file system. The interfaces of its machine are not known then
    #[arg(long, value_name = "DIRECTORY", default_value = "/")]
    pub(crate) root: PathBuf,
}
