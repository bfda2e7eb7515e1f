//! `nightlatchd`, run for what only it may do: judge a configuration, write its state.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use nightlatch_console::failure::{EX_CONFIG, EX_IOERR, EX_UNAVAILABLE, Failure};
use nightlatch_core::client::saved::Saved;

const NAME: &str = "nightlatchd";

/// Folders of system programs, which are not on every administrator's search path.
const PLACES: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

pub(crate) struct Daemon(PathBuf);

impl Daemon {
    /// Beside this program, else where the system has it.
    pub(crate) fn find() -> Result<Self, Failure> {
        let own = std::env::current_exe().ok();
        let beside = own.as_deref().and_then(Path::parent).map(Path::to_owned);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let places = beside
            .into_iter()
            .chain(PLACES.map(PathBuf::from))
            .chain(std::env::split_paths(&path));
        places
            .map(|place| place.join(NAME))
            .find(|program| fs::metadata(program).is_ok_and(|it| it.is_file()))
            .map(Self)
            .ok_or_else(|| {
                Failure::new(EX_UNAVAILABLE, format!("cannot find {NAME}"))
                    .hint("install the server: it checks the configuration and writes its state")
            })
    }

    /// Lets it judge the configuration in `folder`.
    pub(crate) fn check_config(&self, folder: &Path) -> Result<(), Failure> {
        let mut command = Command::new(&self.0);
        command.arg("--check-config").arg("--configdir").arg(folder);
        let output = self.start(&mut command)?.wait_with_output();
        let output = output.map_err(|error| self.failed(error))?;
        self.expect(
            &output,
            "does not accept the configuration; nothing was changed",
        )
    }

    /// Hands `saved` over, to be its state in `statedir`.
    pub(crate) fn import_state(
        &self,
        saved: &Saved,
        folder: &Path,
        statedir: &Path,
        replace: bool,
    ) -> Result<(), Failure> {
        let mut command = Command::new(&self.0);
        command.args(["--import-state", "-", "--configdir"]);
        command.arg(folder).arg("--statedir").arg(statedir);
        if replace {
            command.arg("--replace-state");
        }
        let mut child = self.start(&mut command)?;
        let written = match child.stdin.take() {
            Some(pipe) => hand_over(saved, pipe),
            None => Ok(()),
        };
        let output = child
            .wait_with_output()
            .map_err(|error| self.failed(error))?;
        // Where it refused, it need not have read everything; what it says counts.
        self.expect(&output, "did not take the state over; nothing was changed")?;
        written.map_err(|error| self.failed(error))
    }

    fn start(&self, command: &mut Command) -> Result<Child, Failure> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| self.failed(error))
    }

    fn failed(&self, error: io::Error) -> Failure {
        Failure::new(EX_IOERR, format!("cannot run {}", self.0.display())).because(error)
    }

    /// It must have ended well; what it said otherwise is passed on.
    fn expect(&self, output: &Output, what: &str) -> Result<(), Failure> {
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        // Its own hints name its own options.
        let lines = said.lines().filter(|line| !line.starts_with("hint: "));
        let said: Vec<&str> = lines.map(str::trim).collect();
        let failure = Failure::new(EX_CONFIG, format!("{NAME} {what}: {}", said.join("; ")));
        Err(match output.status.code() {
            Some(73) => failure.hint("give --force to replace the state that is there"),
            _ => failure,
        })
    }
}

fn hand_over(saved: &Saved, pipe: impl Write) -> io::Result<()> {
    let mut pipe = BufWriter::new(pipe);
    nightlatch_handover::write(saved, &mut pipe)?;
    pipe.flush()
}
