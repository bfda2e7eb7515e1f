//! Facts about the machine, as the doctor has gathered them. Plain values: tests make them up.

use std::path::PathBuf;

use nightlatch_core::settings::card::CardSettings;

use crate::pcscd_access::PcscdAccess;
use crate::report::StatusReport;

/// Everything that the rules look at.
#[derive(Debug)]
pub(super) struct DoctorFacts {
    pub(super) pcscd: PcscdAccess,
    pub(super) conf: ConfFacts,
    pub(super) agent: Result<StatusReport, AgentFault>,
    /// The agent's socket for SSH clients.
    pub(super) agent_socket: PathBuf,
    /// `SSH_AUTH_SOCK` of the environment.
    pub(super) ssh_auth_sock: Option<PathBuf>,
    /// Processes of programs that are known to use cards.
    pub(super) processes: Vec<ProcessFact>,
    /// The folders of GnuPG that are there.
    pub(super) gnupg: Vec<GnupgFacts>,
    /// True when GnuPG's program for cards is installed.
    pub(super) has_scdaemon: bool,
    /// The instances of nightlatch-card-unlock@ that are enabled.
    pub(super) unlocks: Vec<String>,
}

/// card.conf.
#[derive(Debug)]
pub(super) struct ConfFacts {
    pub(super) path: PathBuf,
    /// Its settings, or all that is wrong in it in lines.
    pub(super) settings: Result<CardSettings, String>,
    /// The file, and its folder, if they are there.
    pub(super) owners: Vec<OwnedFile>,
}

/// A file or folder with its owner.
#[derive(Debug)]
pub(super) struct OwnedFile {
    pub(super) path: PathBuf,
    pub(super) owner: u32,
    pub(super) mode: u32,
}

/// The agent has not told its state.
#[derive(Debug)]
pub(super) struct AgentFault {
    pub(super) text: String,
    pub(super) hint: Option<String>,
}

/// A process.
#[derive(Debug)]
pub(super) struct ProcessFact {
    /// The first 15 bytes of its name.
    pub(super) name: String,
    pub(super) id: u32,
    pub(super) user: u32,
}

/// A folder with GnuPG's configuration.
#[derive(Debug)]
pub(super) struct GnupgFacts {
    pub(super) folder: PathBuf,
    /// `enable-ssh-support` in gpg-agent.conf.
    pub(super) ssh_support: bool,
    /// `disable-ccid` in scdaemon.conf.
    pub(super) disable_ccid: bool,
}
