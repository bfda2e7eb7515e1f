//! The applet `parameters`: tells the boot system's scripts what the kernel's command line asks of them.

use std::ffi::OsString;
use std::process::ExitCode;

use nightlatch_core::connect::Servers;
use nightlatch_core::network::Definition;
use nightlatch_core::network::reach::reach;

use crate::cli::{self, About};
use crate::client::{self, options};
use crate::exit::Exit;
use crate::kernel_command_line::{Addresses, Parameters};
use crate::log::{self, Log, chain};

const NAME: &str = "parameters";

const ABOUT: About = About {
    name: NAME,
    help: HELP,
};

/// The text of `--help`.
pub const HELP: &str = "\
Usage: nightlatch-boot parameters [-?V] [--debug] [--help] [--usage] [--version]

Tells what the kernel's command line (mandos=, nightlatch=, ip=) and the client's options ask of the
boot system's scripts, a word a line:

  off      start nothing
  network  configure addresses first: no server can be reached without
  beside   configure addresses while servers are looked for: some can be reached without

      --debug    tell on standard error how the command line was understood
  -?, --help     show this help
      --usage    show a short usage message
  -V, --version  show the version

Example, in a script of the initramfs:
  case $(nightlatch-boot parameters) in off) exit ;; esac
";

/// Runs the applet with the arguments that follow its name.
pub fn run(arguments: Vec<OsString>) -> ExitCode {
    cli::run(&ABOUT, cli::only_debug(arguments), tell)
}

fn tell(debug: bool) -> ExitCode {
    let log = Log::new(NAME, debug);
    let parameters = Parameters::of_this_boot();
    parameters
        .warnings
        .iter()
        .for_each(|warning| log.say(warning));
    log.debug(|| format!("{parameters:?}"));
    if parameters.off {
        return log::print("off\n");
    }
    // The client says what is wrong with its options, and ends for it.
    let (servers, network) = match options::configured() {
        Ok(options) => {
            let network = client::definition(options.network.as_deref());
            (options.connect, network)
        }
        Err(error) => {
            log.debug(|| chain(&error));
            <(Servers, Definition)>::default()
        }
    };
    let is_routed = |address| reach(&network, address).is_ok_and(|route| !route.by_dhcp);
    match parameters.addresses(&servers, is_routed) {
        Addresses::First => log::print("network\n"),
        Addresses::Beside => log::print("beside\n"),
        Addresses::NotNeeded => Exit::Success.into(),
    }
}
