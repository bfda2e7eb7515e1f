//! A private message bus that takes the system bus's place for the programs under test.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::process::RunningProgram;
use crate::programs::peer_library;
use crate::server::our_account;

/// Everybody may own any name and call anybody.
const OPEN: &str = "<policy context=\"default\"><allow user=\"*\"/><allow own=\"*\"/>\
    <allow send_type=\"method_call\"/><allow send_destination=\"*\" eavesdrop=\"true\"/>\
    <allow receive_sender=\"*\" eavesdrop=\"true\"/></policy>";

/// A running bus, ended on drop.
#[derive(Debug)]
pub struct Bus {
    folder: TempDir,
    daemon: RunningProgram,
}

impl Bus {
    /// Starts it and waits until it answers.
    pub fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), OPEN)
    }

    /// A bus that denies what a system bus denies, apart from what `policies` (elements of a
    /// configuration file) allow.
    pub fn strict(policies: &str) -> Self {
        let deny = "<policy context=\"default\"><allow user=\"*\"/><deny own=\"*\"/>\
            <deny send_type=\"method_call\"/><allow send_type=\"signal\"/>\
            <allow send_requested_reply=\"true\" send_type=\"method_return\"/>\
            <allow send_requested_reply=\"true\" send_type=\"error\"/>\
            <allow receive_type=\"method_call\"/><allow receive_type=\"method_return\"/>\
            <allow receive_type=\"error\"/><allow receive_type=\"signal\"/>\
            <allow send_destination=\"org.freedesktop.DBus\"/></policy>";
        Self::start_in(tempfile::tempdir().unwrap(), &format!("{deny}{policies}"))
    }

    /// Ends it, and starts another at the same address.
    #[must_use]
    pub fn restart(self) -> Self {
        let Self { folder, daemon } = self;
        daemon.kill();
        Self::start_in(folder, OPEN)
    }

    fn start_in(folder: TempDir, policies: &str) -> Self {
        let socket = folder.path().join("bus");
        let configuration = folder.path().join("bus.conf");
        let text = format!(
            "<busconfig><type>system</type><listen>unix:path={}</listen><auth>EXTERNAL</auth>\
             {policies}</busconfig>",
            socket.display()
        );
        std::fs::write(&configuration, text).unwrap();
        // Left over by a killed bus.
        let _ = std::fs::remove_file(&socket);
        let mut command = Command::new("dbus-daemon");
        command
            .arg("--nofork")
            .arg("--nopidfile")
            .arg("--print-address=2");
        command.arg("--config-file").arg(&configuration);
        know_our_account(&mut command, folder.path());
        let daemon = RunningProgram::start("dbus-daemon", &mut command);
        daemon.wait_for("its address", |line| {
            line.starts_with("unix:path=").then_some(())
        });
        // Programs that gave up being root must reach it too.
        open_to_all(folder.path());
        open_to_all(&socket);
        Self { folder, daemon }
    }

    /// The value for `DBUS_SYSTEM_BUS_ADDRESS`.
    pub fn address(&self) -> String {
        format!("unix:path={}", self.folder.path().join("bus").display())
    }
}

/// dbus-daemon refuses a user without a name; our server has such a user on a host without the packages' accounts.
fn know_our_account(command: &mut Command, folder: &Path) {
    let account = our_account();
    let lines = [
        (
            "passwd",
            format!(
                "nightlatch-test:x:{}:{}::/:/bin/false\n",
                account.uid, account.gid
            ),
        ),
        ("group", format!("nightlatch-test:x:{}:\n", account.gid)),
    ];
    for (database, line) in lines {
        let mut text = std::fs::read_to_string(Path::new("/etc").join(database)).unwrap();
        text.push_str(&line);
        let file = folder.join(database);
        std::fs::write(&file, text).unwrap();
        command.env(format!("NSS_WRAPPER_{}", database.to_uppercase()), file);
    }
    command.env("LD_PRELOAD", peer_library("libnss_wrapper.so"));
}

fn open_to_all(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
}
