//! The command line of `nightlatch check` on a machine.

use clap::Args;

use crate::wait;

/// The options of `check` on a machine.
#[derive(Args, Debug)]
pub struct MachineCheckOptions {
    /// How long to wait for a server on each interface
    #[arg(long, value_name = "SECONDS", default_value = "15", value_parser = wait::seconds)]
    pub(crate) wait: u32,

    /// Where only a server of Mandos is found, ask it as a boot does: it cannot rehearse, writes down a
    /// boot, and gives the machine its extended_timeout
    #[arg(long, conflicts_with = "inhibit")]
    pub(crate) stock_server: bool,

    /// Go on checking, and hold up reboots while the machine would not come back; for a service
    #[arg(long, conflicts_with = "json")]
    pub(crate) inhibit: bool,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
