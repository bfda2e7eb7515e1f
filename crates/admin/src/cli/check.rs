//! The grammar of `nightlatch check`.

use clap::Args;

/// `check`.
#[derive(Args, Debug)]
pub(crate) struct Check {
    /// On the server: say of each of its machines when it last rehearsed
    #[arg(long, conflicts_with_all = ["inhibit", "wait"])]
    pub(crate) all: bool,

    /// With --all: a rehearsal that is older does not count
    #[arg(long, value_name = "DAYS", default_value = "7")]
    pub(crate) max_age: u16,

    /// How long to wait for a server on each interface
    #[arg(long, value_name = "SECONDS", default_value = "15")]
    pub(crate) wait: u16,

    /// Where only a server of Mandos is found, ask it as a boot does: it cannot rehearse, writes down a
    /// boot, and gives the machine its extended_timeout
    #[arg(long, conflicts_with_all = ["all", "inhibit"])]
    pub(crate) stock_server: bool,

    /// Go on checking, and hold up reboots while the machine would not come back; for a service
    #[arg(long, conflicts_with = "json")]
    pub(crate) inhibit: bool,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
