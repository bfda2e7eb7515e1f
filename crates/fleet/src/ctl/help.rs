//! Usage, help and version of `nightlatch ctl`.

/// The release of Mandos whose grammar this is.
const SPEAKS: &str = "mandos-ctl 1.8.16";

/// The first lines of the help.
pub(super) const USAGE: &str = "\
usage: nightlatch ctl [-h] [--version] [-a] [-v] [-j] [-e | -d] [-b]
                      [--start-checker | --stop-checker] [-V] [-r] [-c COMMAND]
                      [-t TIME] [--extended-timeout TIME] [-i TIME]
                      [--approve-by-default | --deny-by-default]
                      [--approval-delay TIME] [--approval-duration TIME]
                      [-H STRING] [-s FILENAME] [-A | -D] [--debug] [--check]
                      [client ...]";

/// The whole help.
pub(super) const HELP: &str = "\
usage: nightlatch ctl [options] [client ...]

Does what mandos-ctl does, with its options, its table and its JSON. For everyday
use there are friendlier verbs: see nightlatch --help.

positional arguments:
  client                Client name

options:
  -h, --help            show this help message and exit
  --version             show version number and exit
  -a, --all             Select all clients
  -v, --verbose         Print all fields
  -j, --dump-json       Dump client data in JSON format
  -e, --enable          Enable client
  -d, --disable         Disable client
  -b, --bump-timeout    Take the client as just proved to be up
  --start-checker       Start checker for client
  --stop-checker        Stop checker for client
  -V, --is-enabled      Check if client is enabled: exit status 0 if so, else 1
  -r, --remove          Remove client
  -c COMMAND, --checker COMMAND
                        Set checker command for client
  -t TIME, --timeout TIME
                        Set timeout for client
  --extended-timeout TIME
                        Set extended timeout for client
  -i TIME, --interval TIME
                        Set checker interval for client
  --approve-by-default  Set client to be approved by default
  --deny-by-default     Set client to be denied by default
  --approval-delay TIME
                        Set delay before client approve/deny
  --approval-duration TIME
                        Set duration of one client approval
  -H STRING, --host STRING
                        Set host for client
  -s FILENAME, --secret FILENAME
                        Set password blob (file) for client; - is standard input
  -A, --approve         Approve any current client request
  -D, --deny            Deny any current client request
  --debug               Show D-Bus calls on standard error
  --check               Test the program itself

examples:
  nightlatch ctl --verbose
  nightlatch ctl --timeout=PT10M --interval=PT2M foo bar
  nightlatch ctl --disable --all
";

/// The output of `--version`.
pub(super) fn version() -> String {
    format!(
        "nightlatch {} (speaks {SPEAKS})\n",
        env!("CARGO_PKG_VERSION")
    )
}
