//! The grammar of `nightlatch image`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `image`.
#[derive(Args, Debug)]
pub(crate) struct Image {
    #[command(subcommand)]
    pub(crate) verb: ImageVerb,
}

#[derive(Subcommand, Debug)]
pub(crate) enum ImageVerb {
    /// Say what goes into this machine's initramfs
    ///
    /// One line each: the kind (d folder, f file, x program with its libraries, l link), the mode, the
    /// owner's number, the path in the image and where it comes from.
    Plan(What),
    /// Put it below the folder that an image is made from
    ///
    /// For hooks of initramfs-tools, dracut and mkinitcpio. What a hook is left to do is printed, a line
    /// each, with tabs: "program SOURCE PLACE" for a program whose libraries are needed too, "module
    /// NAME" for a kernel module.
    Stage(Stage),
}

/// Of which machine.
#[derive(Args, Debug)]
pub(crate) struct What {
    /// Root of the machine's file system
    #[arg(long, value_name = "DIRECTORY", default_value = "/")]
    pub(crate) root: PathBuf,

    /// The boot client [default: /usr/sbin/nightlatch-boot below --root]
    #[arg(long, value_name = "FILE")]
    pub(crate) program: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `image stage`.
#[derive(Args, Debug)]
pub(crate) struct Stage {
    /// The folder that the image is made from
    #[arg(value_name = "DIRECTORY")]
    pub(crate) directory: PathBuf,

    #[command(flatten)]
    pub(crate) what: What,
}
