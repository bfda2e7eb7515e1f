//! nightlatch-boot: fetches the disk password in the initramfs.
//!
//! One program for every applet, by the name it is called by or its first argument.
#![forbid(unsafe_code)]

pub mod client;
pub mod exit;
pub mod log;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use exit::Exit;

/// An applet: its names and what runs it.
struct Applet {
    /// The first is ours, the others are those of Mandos's programs.
    names: &'static [&'static str],
    about: &'static str,
    run: fn(Vec<OsString>) -> ExitCode,
}

const APPLETS: &[Applet] = &[Applet {
    names: &["client", "mandos-client"],
    about: "fetch the disk password from a server",
    run: client::run,
}];

/// Runs the applet that `arguments`, beginning with the program's name, ask for.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments = arguments.into_iter();
    let called = arguments.next().unwrap_or_default();
    let name = Path::new(&called).file_name().unwrap_or(&called);
    if let Some(applet) = named(name) {
        return (applet.run)(arguments.collect());
    }
    let Some(first) = arguments.next() else {
        return refuse("expected the name of an applet");
    };
    if let Some(applet) = named(&first) {
        return (applet.run)(arguments.collect());
    }
    match first.to_str() {
        Some("--help" | "-h" | "-?") => log::print(&help()),
        Some("--version" | "-V") => {
            log::print(concat!("nightlatch-boot ", env!("CARGO_PKG_VERSION"), "\n"))
        }
        _ => refuse(&format!("unknown applet {first:?}")),
    }
}

fn named(name: &OsStr) -> Option<&'static Applet> {
    let name = name.to_str()?;
    APPLETS.iter().find(|applet| applet.names.contains(&name))
}

fn refuse(what: &str) -> ExitCode {
    log::line(&format!("nightlatch-boot: {what}\n\n{}", help()));
    Exit::Usage.into()
}

fn help() -> String {
    let mut help = String::from("Usage: nightlatch-boot APPLET [OPTIONS]\n\nApplets:\n");
    for applet in APPLETS {
        help.push_str(&format!(
            "  {:<24} {}\n",
            applet.names.join(", "),
            applet.about
        ));
    }
    help
}
