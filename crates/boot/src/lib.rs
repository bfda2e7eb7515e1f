//! nightlatch-boot: fetches the disk password in the initramfs.
//!
//! One program for every applet, by the name it is called by or its first argument.
#![forbid(unsafe_code)]

pub mod askpass_fifo;
pub mod cli;
pub mod client;
pub mod cryptroot;
mod daemon;
pub mod exit;
pub mod files;
mod kernel_command_line;
pub mod key_socket;
pub mod log;
pub mod output;
pub mod parameters;
pub mod password_agent;
pub mod password_prompt;
pub mod plugin_runner;
pub mod plymouth;
pub mod process;
mod program;
pub mod prompt;
mod restarts;
pub mod source;
pub mod splashy;
pub mod usplash;
pub mod wait;
pub mod watch;

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::path::Path;
use std::process::ExitCode;

use nightlatch_sys::{locked, memory};

use exit::Exit;
use log::Log;

/// An applet: its names and what runs it.
struct Applet {
    /// The first is ours, the others are those of Mandos's programs.
    names: &'static [&'static str],
    about: &'static str,
    help: &'static str,
    run: fn(Vec<OsString>) -> ExitCode,
    privilege: Privilege,
}

impl Applet {
    fn start(&self, arguments: Vec<OsString>) -> ExitCode {
        // In a list of processes it has the name of the applet, however it was started.
        let name = CString::new(self.names[0]).unwrap_or_default();
        let _ = rustix::thread::set_name(&name);
        // The client does so itself when it has become its user: the change of user would undo it.
        if self.privilege != Privilege::Lowers
            && let Err(error) = self.protect_memory(&arguments)
        {
            Log::new(self.names[0], false).say(&format!("cannot forbid core dumps: {error}"));
            return Exit::System.into();
        }
        (self.run)(arguments)
    }

    /// Keeps passwords out of core dumps, of swap and of other processes' sight, in every applet, also in
    /// one that is added later. What an applet starts has the same limits.
    fn protect_memory(&self, arguments: &[OsString]) -> io::Result<()> {
        memory::forbid_core_dumps()?;
        if let Err(error) = locked::lock_everything() {
            let debug = arguments.iter().any(|argument| argument == "--debug");
            Log::new(self.names[0], debug).debug(|| format!("memory is not locked: {error}"));
        }
        Ok(())
    }
}

/// What an applet needs when the plugin runner starts it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Privilege {
    /// Nothing.
    None,
    /// Root as its effective user: it keeps the few capabilities that it needs and becomes its real
    /// user at once.
    Lowers,
    /// Root all along.
    Root,
}

const APPLETS: &[Applet] = &[
    Applet {
        names: &["client", "mandos-client"],
        about: "fetch the disk password from a server",
        help: client::options::HELP,
        run: client::run,
        privilege: Privilege::Lowers,
    },
    Applet {
        names: &["plugin-runner"],
        about: "run plugins, print what the first to succeed prints",
        help: plugin_runner::HELP,
        run: plugin_runner::run,
        privilege: Privilege::None,
    },
    Applet {
        names: &["password-prompt"],
        about: "ask for the password on the terminal",
        help: password_prompt::HELP,
        run: password_prompt::run,
        privilege: Privilege::None,
    },
    Applet {
        names: &["plymouth"],
        about: "ask for the password on Plymouth's screen",
        help: plymouth::HELP,
        run: plymouth::run,
        privilege: Privilege::Root,
    },
    Applet {
        names: &["usplash"],
        about: "ask for the password on Usplash's screen",
        help: usplash::HELP,
        run: usplash::run,
        privilege: Privilege::Root,
    },
    Applet {
        names: &["splashy"],
        about: "ask for the password on Splashy's screen",
        help: splashy::HELP,
        run: splashy::run,
        privilege: Privilege::Root,
    },
    Applet {
        names: &["askpass-fifo"],
        about: "wait for the password at a FIFO",
        help: askpass_fifo::HELP,
        run: askpass_fifo::run,
        privilege: Privilege::Root,
    },
    Applet {
        names: &["cryptroot"],
        about: "give the password to Debian's cryptroot",
        help: cryptroot::HELP,
        run: cryptroot::run,
        privilege: Privilege::None,
    },
    Applet {
        names: &["password-agent"],
        about: "answer systemd's questions for a password",
        help: password_agent::HELP,
        run: password_agent::run,
        privilege: Privilege::None,
    },
    Applet {
        names: &["key-socket"],
        about: "be the key file of volumes in crypttab(5)",
        help: key_socket::HELP,
        run: key_socket::run,
        privilege: Privilege::None,
    },
    Applet {
        names: &["parameters"],
        about: "say what the kernel's command line asks for",
        help: parameters::HELP,
        run: parameters::run,
        privilege: Privilege::None,
    },
];

/// Runs the applet that `arguments`, beginning with the program's name, ask for.
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
        Some("--help" | "-h" | "-?") => log::print(&help()),
        Some("--version" | "-V") => {
            log::print(concat!("nightlatch-boot ", env!("CARGO_PKG_VERSION"), "\n"))
        }
        _ => refuse(&format!("unknown applet {first:?}")),
    }
}

/// The applets: the name of each, and the text of its `--help`.
pub fn helps() -> impl Iterator<Item = (&'static str, &'static str)> {
    APPLETS.iter().map(|applet| (applet.names[0], applet.help))
}

fn named(name: &OsStr) -> Option<&'static Applet> {
    let name = name.to_str()?;
    APPLETS.iter().find(|applet| applet.names.contains(&name))
}

/// What the applet called `name` needs; nothing when there is none.
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
