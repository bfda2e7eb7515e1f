//! The applet `parameters`: prints for the boot system's scripts what the kernel's command line asks of them.

use std::io;

use nightlatch_core::kernel_command_line::KernelParameters;

use crate::applet::{Applet, Ending, Privilege};
use crate::cli::{self, CliAction};
use crate::client;
use crate::client::interfaces::InterfaceSelection;
use crate::client::options::{self, ClientOptions};
use crate::exit::Exit;
use crate::kernel_command_line;
use crate::log::{self, AppletLog, format_error};
use crate::plugin_runner;

pub(crate) const APPLET: Applet = Applet {
    names: &["parameters"],
    about: "say what the kernel's command line asks for",
    help: HELP,
    privilege: Privilege::None,
    start: |applet, arguments| {
        let action = cli::parse_debug(arguments);
        let run = |_, log| Ok::<_, io::Error>(Ending::Exit(run(log)));
        applet.run(action, |debug| *debug, run)
    },
};

const HELP: &str = "\
Usage: nightlatch-boot parameters [-?V] [--debug] [--help] [--usage] [--version]

Tells what the kernel's command line (mandos=, nightlatch=, ip=) and the client's options ask of the
boot system's scripts:

  off                     start nothing
  network [INTERFACE...]  configure addresses, beside the search: some server cannot be reached without;
                          on these interfaces, where the client was told which to use

      --debug    tell on standard error how the command line was understood
  -?, --help     show this help
      --usage    show a short usage message
  -V, --version  show the version

Example, in a script of the initramfs:
  case $(nightlatch-boot parameters) in off) exit ;; esac

NIGHTLATCH_INTERFACE names the interface that the boot system has chosen, as for the client.
";

fn run(log: AppletLog) -> Exit {
    let parameters = kernel_command_line::of_this_boot();
    parameters
        .warnings
        .iter()
        .for_each(|warning| log.info(warning));
    log.debug(|| format!("{parameters:?}"));
    if parameters.off {
        return log::print("off\n");
    }
    // The client logs what is wrong with its options, and ends.
    let options = client_options(&parameters, log).unwrap_or_default();
    let network = client::definition(&options);
    match parameters.needs_addresses(&options.connect, &network) {
        true => log::print(&format!("{}\n", network_line(&options.selection))),
        false => Exit::Success,
    }
}

fn network_line(selection: &InterfaceSelection) -> String {
    let names = match selection {
        InterfaceSelection::Named(names) | InterfaceSelection::Only(names) => names.as_slice(),
        InterfaceSelection::Suitable | InterfaceSelection::AsTheyAre => &[],
    };
    [&["network".to_owned()], names].concat().join(" ")
}

/// The options of the client at this boot: of its file, of the plugin runner's, and of the kernel's command line. Nothing
/// where it is not started, or not with these.
fn client_options(parameters: &KernelParameters, log: AppletLog) -> Option<ClientOptions> {
    let more = plugin_runner::client_arguments(parameters)?;
    let read = options::configured().map(|options| options::parse(options, more));
    match read {
        Ok(Ok(CliAction::Run(mut options))) => {
            client::use_fallback(&mut options, log);
            Some(*options)
        }
        Ok(Ok(_)) => None,
        Ok(Err(error)) => {
            log.debug(|| error.to_string());
            None
        }
        Err(error) => {
            log.debug(|| format_error(&error));
            None
        }
    }
}
