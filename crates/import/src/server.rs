//! A stock server: what is there, what becomes of it, and how it is put in place.
//!
//! The state goes first, to the program that owns it; the configuration takes its place after that and
//! `clients.conf` last. Whatever fails before leaves a server without clients.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use nightlatch_console::failure::{EX_DATAERR, EX_NOINPUT, EX_OSERR, EX_UNAVAILABLE, Failure};
use nightlatch_core::client::saved::Saved;
use nightlatch_sys::privileges;
use zeroize::Zeroizing;

use super::conf::{self, Clients, ServerConf};
use super::daemon::Daemon;
use super::files::{self, below, make_folder, put_in_place, write_new};
use super::report::ImportReport;
use super::running;
use super::state::{self, StockState};
use super::take;

/// The stock server's own places.
const CONF: &str = "/etc/mandos/mandos.conf";
const CLIENTS: &str = "/etc/mandos/clients.conf";
const STATEDIR: &str = "/var/lib/mandos";
const STATE: &str = "clients.pickle";
const DEFAULTS: &str = "/etc/default/mandos";

const OUR_FOLDER: &str = "/etc/nightlatch";
const OUR_STATEDIR: &str = "/var/lib/nightlatch";
const OUR_CONF: &str = "nightlatch.conf";
const OUR_CLIENTS: &str = "clients.conf";
const OUR_MORE_CLIENTS: &str = "clients.d";

/// Folder of the new files until the state is taken over.
const STAGE: &str = ".import-mandos";

/// The group that may read the configuration at a reload, where the host has it.
const OUR_GROUP: &str = "_nightlatch";

/// The steps of the import of a server.
pub(crate) struct ServerPlan {
    conf: Option<ServerConf>,
    clients: Clients,
    /// `None` without a state.
    saved: Option<Saved>,
    folder: PathBuf,
    statedir: PathBuf,
}

pub(crate) fn is_there(from: &Path) -> bool {
    below(from, CLIENTS.as_ref()).exists()
}

impl ServerPlan {
    /// Reads everything, judges it and tells it; changes nothing.
    pub(crate) fn new(
        from: &Path,
        to: &Path,
        without_state: bool,
        ssh_hostkey: bool,
        report: &mut ImportReport,
    ) -> Result<Self, Failure> {
        let (conf_file, clients_file) = (below(from, CONF.as_ref()), below(from, CLIENTS.as_ref()));
        let folder = below(to, OUR_FOLDER.as_ref());
        let statedir = below(to, OUR_STATEDIR.as_ref());
        report.heading(format!("Mandos server in {}", from.display()));
        if from == Path::new("/") {
            refuse_running()?;
        }
        let conf = conf_file
            .exists()
            .then(|| conf::server(&conf_file))
            .transpose()?;
        let clients = conf::clients(&clients_file, from, ssh_hostkey)?;
        if conf.is_some() {
            report.takes(&conf_file, &folder.join(OUR_CONF));
        }
        report.takes(&clients_file, &folder.join(OUR_CLIENTS));
        let stock_statedir = conf.as_ref().and_then(|conf| conf.statedir.as_deref());
        let state_file = below(from, stock_statedir.unwrap_or(STATEDIR.as_ref())).join(STATE);
        let saved = match read_state(&state_file, without_state)? {
            Some(state) => {
                report.takes(&state_file, &statedir);
                Some(take::state(&state, &clients.clients, report)?)
            }
            None => {
                report.line("no state: every client starts as clients.conf says");
                None
            }
        };
        let left_out = conf.iter().flat_map(|conf| &conf.left_out);
        left_out
            .chain(&clients.remarks)
            .for_each(|line| report.not_taken(line));
        command_line(from, report);
        Ok(Self {
            conf,
            clients,
            saved,
            folder,
            statedir,
        })
    }

    /// Files and folders that the import would overwrite.
    pub(crate) fn in_the_way(&self) -> Vec<PathBuf> {
        let mut places = vec![self.folder.join(OUR_CONF), self.folder.join(OUR_CLIENTS)];
        places.retain(|place| files::holds_settings(place));
        places
    }

    pub(crate) fn carry_out(&self, force: bool) -> Result<(), Failure> {
        let more = self.folder.join(OUR_MORE_CLIENTS);
        let no_others = |mut entries: fs::ReadDir| entries.next().is_none();
        if !fs::read_dir(&more).map_or(true, no_others) {
            return Err(
                Failure::new(EX_UNAVAILABLE, format!("{} holds clients", more.display()))
                    .hint("move them away, import, and put them back"),
            );
        }
        let daemon = Daemon::find()?;
        make_folder(&self.folder, 0o750)?;
        let stage = Stage::new(&self.folder)?;
        if let Some(conf) = &self.conf {
            write_new(&stage.0.join(OUR_CONF), 0o640, conf.text.as_bytes())?;
        }
        write_new(
            &stage.0.join(OUR_CLIENTS),
            0o600,
            self.clients.text.as_bytes(),
        )?;
        daemon.check_config(&stage.0)?;
        if let Some(saved) = &self.saved {
            if let Some(parent) = self.statedir.parent() {
                fs::create_dir_all(parent).map_err(files::cannot_make(parent))?;
            }
            daemon.import_state(saved, &stage.0, &self.statedir, force)?;
        }
        self.open_to_the_service(&stage.0)?;
        for name in [OUR_CONF, OUR_CLIENTS] {
            let new = stage.0.join(name);
            if new.exists() {
                put_in_place(&new, &self.folder.join(name))?;
            }
        }
        Ok(())
    }

    /// Lets the server's group read the configuration, so that a reload needs no restart.
    fn open_to_the_service(&self, stage: &Path) -> Result<(), Failure> {
        let failed = |error| Failure::new(EX_OSERR, "cannot look up accounts").because(error);
        let Some(account) = privileges::account(OUR_GROUP).map_err(failed)? else {
            return Ok(());
        };
        if !privileges::is_root() {
            return Ok(());
        }
        let clients = stage.join(OUR_CLIENTS);
        chown(&self.folder, None, Some(account.gid))
            .and_then(|()| chown(&clients, None, Some(account.gid)))
            .and_then(|()| {
                let mode = std::os::unix::fs::PermissionsExt::from_mode(0o640);
                fs::set_permissions(&clients, mode)
            })
            .map_err(files::cannot_make(&clients))
    }
}

/// The folder of files that wait. Whatever is left in it goes with it.
struct Stage(PathBuf);

impl Stage {
    fn new(folder: &Path) -> Result<Self, Failure> {
        let stage = folder.join(STAGE);
        // What an import that was cut short has left.
        let _ = fs::remove_dir_all(&stage);
        make_folder(&stage, 0o700)?;
        Ok(Self(stage))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn refuse_running() -> Result<(), Failure> {
    match running::mandos() {
        Some(pid) => Err(Failure::new(
            EX_UNAVAILABLE,
            format!("a Mandos server runs here (process {pid})"),
        )
        .hint("stop it, so that it writes its state: systemctl stop mandos")),
        None => Ok(()),
    }
}

/// The state; `None` when there is none and that is known.
fn read_state(file: &Path, without_state: bool) -> Result<Option<StockState>, Failure> {
    let there = file.exists();
    let shown = file.display();
    match (there, without_state) {
        (false, true) => return Ok(None),
        (false, false) => {
            return Err(
                Failure::new(EX_NOINPUT, format!("there is no state in {shown}")).hint(
                    "a Mandos server that runs has none, and one that ended without writing it has forgotten \
                     who was disabled: start it, disable those clients again and stop it, or give \
                     --without-state: every client then starts as clients.conf says",
                ),
            );
        }
        (true, true) => {
            return Err(Failure::new(EX_UNAVAILABLE, format!("there is a state in {shown}"))
                .hint("leave --without-state out: without it, clients that were disabled would be enabled"));
        }
        (true, false) => {}
    }
    let bytes: Zeroizing<Vec<u8>> = files::read(file)?;
    let state = state::read(&bytes).map_err(|error| {
        Failure::new(EX_DATAERR, format!("{shown} is not taken over"))
            .because(error)
            .hint("a Mandos server of version 1.8 rewrites it when it is started and stopped")
    })?;
    Ok(Some(state))
}

/// Options on the command line are the init system's business; some of them say where things are.
fn command_line(from: &Path, report: &mut ImportReport) {
    let file = below(from, DEFAULTS.as_ref());
    let text = fs::read_to_string(&file).unwrap_or_default();
    for (number, line) in (1..).zip(text.lines()) {
        let Some((name, value)) = line.trim().split_once('=') else {
            continue;
        };
        let value = value.trim_matches(['"', '\'', ' ']);
        let default = name == "CONFIGDIR" && value == "/etc/mandos";
        if name.starts_with('#') || value.is_empty() || default {
            continue;
        }
        report.not_taken(format!(
            "{}:{number}: {name}={value}: give it to nightlatchd, which has the same options",
            file.display()
        ));
    }
}
