//! Common to the tests: a file system with a Mandos installation, and one for Nightlatch.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use nightlatch_core::client::saved::{ClientPresence, PresentClient, SavedClient};
use nightlatch_interop::administered::Administered;
use nightlatch_interop::programs::{Project, ours};
use nightlatch_interop::server::{Home, TestServer};
use nightlatch_store::{SqliteStore, Store};
use tempfile::TempDir;

/// Checks that never fail, and often enough that the first is soon over.
pub(crate) const UP: &str = "checker = true\ninterval = PT1S\ntimeout = PT1H";

/// The paths below the root of each file system.
const MANDOS: [&str; 2] = ["etc/mandos", "var/lib/mandos"];
const NIGHTLATCH: [&str; 2] = ["etc/nightlatch", "var/lib/nightlatch"];

/// Two file systems in one folder: `from` and `to`.
pub(crate) struct Move(TempDir);

impl Move {
    /// Nothing is there yet.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // A program that drops root must still reach its files.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self(folder)
    }

    /// The folders of a server that has ended.
    pub(crate) fn of(home: &Home) -> Self {
        let this = Self::new();
        for (from, place) in [home.conf(), home.state()].into_iter().zip(MANDOS) {
            let place = this.from(place);
            fs::create_dir_all(&place).unwrap();
            for entry in fs::read_dir(from).unwrap() {
                let path = entry.unwrap().path();
                fs::copy(&path, place.join(path.file_name().unwrap())).unwrap();
            }
        }
        this
    }

    /// A stock server with these sections, started and ended.
    pub(crate) fn of_stock(sections: &str) -> Self {
        Self::of_story(sections, |_| ())
    }

    /// A stock server with these sections that ran through `story`.
    ///
    /// One in five ends without having written its state: gpg's agent removes its own sockets at the same time as the
    /// server. The story then runs again.
    pub(crate) fn of_story(sections: &str, story: impl Fn(&Administered)) -> Self {
        loop {
            let fixture = Administered::start(Project::Stock, sections);
            story(&fixture);
            let this = Self::of(&fixture.server.stop());
            if this.pickle().exists() {
                return this;
            }
        }
    }

    pub(crate) fn from(&self, path: &str) -> PathBuf {
        self.0.path().join("from").join(path)
    }

    pub(crate) fn to(&self, path: &str) -> PathBuf {
        self.0.path().join("to").join(path)
    }

    /// The path of the state, a pickle.
    pub(crate) fn pickle(&self) -> PathBuf {
        self.from("var/lib/mandos/clients.pickle")
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(ours("nightlatch"));
        command.arg("import-mandos");
        command.arg("--from").arg(self.from(""));
        command.arg("--to").arg(self.to(""));
        command
    }

    /// Runs the import with these options and nobody to ask.
    pub(crate) fn import(&self, options: &[&str]) -> Output {
        let mut command = self.command();
        command.args(options).stdin(Stdio::null()).output().unwrap()
    }

    /// Runs the import, which must succeed. Returns its output.
    pub(crate) fn succeed(&self, options: &[&str]) -> String {
        let output = self.import(&[&["--yes"], options].concat());
        assert!(output.status.success(), "{}", errors(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// It must refuse with this status, and leave nothing behind; what it said.
    pub(crate) fn refuse(&self, status: i32, options: &[&str]) -> String {
        let before = listing(&self.to(""));
        let output = self.import(&[&["--yes"], options].concat());
        assert_eq!(output.status.code(), Some(status), "{}", errors(&output));
        assert_eq!(listing(&self.to("")), before);
        errors(&output)
    }

    /// The client that our server would find in its state.
    pub(crate) fn saved(&self, name: &str) -> Option<SavedClient> {
        let mut store = SqliteStore::open(&self.to(NIGHTLATCH[1])).unwrap();
        let mut clients = store.load().unwrap().clients.into_iter();
        clients.find(|client| client.name.as_str() == name)
    }

    /// The same, of one that exists.
    pub(crate) fn present(&self, name: &str) -> Box<PresentClient> {
        match self.saved(name).map(|client| client.presence) {
            Some(ClientPresence::Present(present)) => present,
            other => panic!("{name} is not present: {other:?}"),
        }
    }

    /// Starts our server on what was taken over.
    pub(crate) fn serve(self) -> TestServer {
        let [conf, state] = NIGHTLATCH.map(|place| format!("to/{place}"));
        TestServer::start(Project::Ours, Home::of(self.0, &conf, &state, None))
    }
}

pub(crate) fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Every file below a folder with what it holds.
pub(crate) fn listing(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        // A missing folder counts as empty.
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let content = fs::read(&path).unwrap();
                found.push((path, content));
            }
        }
    }
    found.sort();
    found
}

/// Runs Python, the one with the libraries of the stock server, and returns what it printed.
pub(crate) fn python(script: &str, arguments: &[&Path]) -> String {
    let mut command = Command::new("/usr/bin/python3");
    let output = command
        .args(["-c", script])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", errors(&output));
    String::from_utf8(output.stdout).unwrap()
}
