//! The command line of `nightlatch image`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// The options of `image`.
#[derive(Args, Debug)]
pub struct ImageOptions {
    #[command(subcommand)]
    pub(crate) verb: ImageVerb,
}

#[derive(Subcommand, Debug)]
pub(crate) enum ImageVerb {
    /// Show what would go into an image
    Plan(PlanOptions),
    /// Write it below a folder that becomes an image, for the hook of a boot system
    ///
    /// Prints what the hook must add with its own tools, a line each, with tabs between the words:
    /// "module NAME" and "program SOURCE PLACE".
    Stage(StageOptions),
}

#[derive(Args, Debug)]
pub(crate) struct PlanOptions {
    /// With the units for an image that has systemd in it
    #[arg(long)]
    pub(crate) systemd: bool,

    /// As JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct StageOptions {
    /// With the units for an image that has systemd in it
    #[arg(long)]
    pub(crate) systemd: bool,

    /// The folder that the image is made from
    #[arg(value_name = "DIRECTORY")]
    pub(crate) directory: PathBuf,
}
