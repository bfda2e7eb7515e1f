//! nightlatch-boot: fetches the disk password in the initramfs.
//!
//! One program for all applets: the name it is called by, or its first argument, chooses one.
#![forbid(unsafe_code)]

mod applet;
mod askpass_fifo;
pub mod cli;
pub mod client;
mod cryptroot;
mod daemon;
mod exit;
mod files;
mod kernel_command_line;
mod key_socket;
mod log;
mod output;
mod parameters;
pub mod password_agent;
mod password_prompt;
pub mod plugin_runner;
pub mod plymouth;
mod process;
mod program;
mod prompt;
mod restarts;
mod source;
mod splashy;
mod usplash;
mod wait;
mod watch;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use applet::{Applet, Privilege};
use exit::Exit;

/// In the order of the list that `--help` prints.
const APPLETS: [&Applet; 11] = [
    &client::APPLET,
    &plugin_runner::APPLET,
    &password_prompt::APPLET,
    &plymouth::APPLET,
    &usplash::APPLET,
    &splashy::APPLET,
    &askpass_fifo::APPLET,
    &cryptroot::APPLET,
    &password_agent::APPLET,
    &key_socket::APPLET,
    &parameters::APPLET,
];

/// Runs the applet that `arguments`, beginning with the program's name, choose.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments = arguments.into_iter();
    let called = arguments.next().unwrap_or_default();
    let name = Path::new(&called).file_name().unwrap_or(&called);
    if let Some(applet) = named(name) {
        return applet.start(arguments.collect());
    }
    let Some(first) = arguments.next() else {
        return refuse("expected the name of an applet");
    };
    if let Some(applet) = named(&first) {
        return applet.start(arguments.collect());
    }
    match first.to_str() {
        Some("--help" | "-h" | "-?") => log::print(&help()).into(),
        Some("--version" | "-V") => {
            log::print(concat!("nightlatch-boot ", env!("CARGO_PKG_VERSION"), "\n")).into()
        }
        _ => refuse(&format!("unknown applet {first:?}")),
    }
}

/// The name of each applet and the text of its `--help`.
pub fn helps() -> impl Iterator<Item = (&'static str, &'static str)> {
    APPLETS.iter().map(|applet| (applet.names[0], applet.help))
}

fn named(name: &OsStr) -> Option<&'static Applet> {
    let name = name.to_str()?;
    APPLETS
        .into_iter()
        .find(|applet| applet.names.contains(&name))
}

/// The privilege of the applet `name`; none where no applet has this name.
fn privilege_of(name: &OsStr) -> Privilege {
    named(name).map_or(Privilege::None, |applet| applet.privilege)
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
