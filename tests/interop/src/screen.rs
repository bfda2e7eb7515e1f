//! A program on a terminal: keys go in, and what a person would see comes out. The terminal is tmux's.

use std::process::{Command, Output};
use std::time::Duration;

use nightlatch_test_support::Deadline;
use tempfile::TempDir;

use crate::process::RunningProgram;

/// The shell script that runs the program and prints its exit status and the terminal's settings afterwards. (tmux
/// itself sometimes loses an exit status.)
const SHELL: &str = r#""$@"; echo "ended $?."; stty -a; exec sleep 1000"#;

/// A terminal with one program on it, ended with it on drop.
#[derive(Debug)]
pub struct TmuxScreen {
    folder: TempDir,
    server: RunningProgram,
}

impl TmuxScreen {
    /// Starts `program`, with its arguments and environment, on a terminal so large.
    pub fn start(program: &Command, columns: u16, rows: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("tmux");
        let mut server = Command::new("tmux");
        // In the foreground, so that it ends with this test whatever happens.
        server.args(["-D", "-f", "/dev/null", "-S"]).arg(&socket);
        // The inner terminal is tmux's own; the outer one does not matter.
        server.env("TERM", "screen").env("LC_ALL", "C.UTF-8");
        let screen = Self {
            server: RunningProgram::start("tmux", &mut server),
            folder,
        };
        let deadline = Deadline::start();
        // Its socket is there before it listens.
        let listens = |screen: &Self| {
            screen
                .run_tmux(&["set-option", "-g", "status", "off"])
                .status
                .success()
        };
        while !listens(&screen) {
            let why = format!("tmux never listened: {:?}", screen.server.log());
            assert!(screen.server.is_running() && !deadline.passed(), "{why}");
            std::thread::sleep(GLANCE);
        }
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let mut start = vec!["new-session", "-d", "-x", &columns, "-y", &rows];
        start.extend(["sh", "-c", SHELL, "sh", "env"]);
        let settings: Vec<String> = program
            .get_envs()
            .filter_map(|(name, value)| Some(format!("{}={}", name.to_str()?, value?.to_str()?)))
            .collect();
        start.extend(settings.iter().map(String::as_str));
        start.push(program.get_program().to_str().unwrap());
        start.extend(
            program
                .get_args()
                .map(|argument| argument.to_str().unwrap()),
        );
        screen.tmux(&start);
        screen
    }

    /// Presses keys, as tmux names them: `a`, `Down`, `C-k`, `M-v`.
    pub fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Types a text.
    pub fn type_text(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
    }

    /// Gives the terminal another size.
    pub fn resize(&self, columns: u16, rows: u16) {
        let (columns, rows) = (columns.to_string(), rows.to_string());
        self.tmux(&["resize-window", "-x", &columns, "-y", &rows]);
    }

    /// Writes on it past its program, as the kernel does on a console.
    pub fn write_over(&self, text: &str) {
        std::fs::write(self.ask("#{pane_tty}"), text).unwrap();
    }

    /// The text on the screen.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.tmux(&["capture-pane", "-p"]).stdout).into_owned()
    }

    /// Waits until `wanted` finds something on it.
    pub fn wait_for<T>(&self, what: &str, mut wanted: impl FnMut(&str) -> Option<T>) -> T {
        let deadline = Deadline::start();
        loop {
            let text = self.text();
            if let Some(found) = wanted(&text) {
                return found;
            }
            assert!(!deadline.passed(), "never saw {what}; the screen:\n{text}");
            std::thread::sleep(GLANCE);
        }
    }

    /// Waits until `text` stands on it.
    pub fn wait_for_text(&self, text: &str) {
        self.wait_for(text, |screen| screen.contains(text).then_some(()));
    }

    /// The process id of the program.
    pub fn pid(&self) -> u32 {
        let shell = self.ask("#{pane_pid}");
        let children = std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children"));
        children.unwrap().trim().parse().unwrap()
    }

    /// Waits for its end: its exit status, or 128 and the signal that ended it.
    pub fn wait_for_end(&self) -> i32 {
        self.wait_for("its end", |text| {
            let (_, after) = text.split_once("ended ")?;
            let (status, _) = after.split_once('.')?;
            status.parse().ok()
        })
    }

    /// Waits for its end, and asserts that the terminal is as a shell wants it: with lines, echo and
    /// signals, without a second screen or a mouse.
    pub fn assert_given_back(&self) {
        self.wait_for_end();
        let settings = self.wait_for("the settings", |text| {
            text.contains("-extproc").then(|| text.to_owned())
        });
        for setting in ["icanon", "echo", "isig", "opost"] {
            let is_on = settings.split([' ', ';', '\n']).any(|word| word == setting);
            assert!(is_on, "{setting} is off:\n{settings}");
        }
        assert_eq!(self.modes(), (false, false), "{settings}");
    }

    /// Two modes that the program has set: the alternate screen, and mouse reports.
    pub fn modes(&self) -> (bool, bool) {
        let modes = self.ask("#{alternate_on} #{mouse_any_flag}#{mouse_button_flag}");
        let (alternate, mouse) = modes.split_once(' ').unwrap();
        (alternate == "1", mouse.contains('1'))
    }

    fn ask(&self, format: &str) -> String {
        let output = self.tmux(&["display-message", "-p", format]);
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn tmux(&self, arguments: &[&str]) -> Output {
        let output = self.run_tmux(arguments);
        assert!(output.status.success(), "tmux {arguments:?}: {output:?}");
        output
    }

    fn run_tmux(&self, arguments: &[&str]) -> Output {
        let socket = self.folder.path().join("tmux");
        Command::new("tmux")
            .arg("-S")
            .arg(socket)
            .args(arguments)
            .output()
            .unwrap()
    }
}

impl Drop for TmuxScreen {
    fn drop(&mut self) {
        // The programs on its terminals are in sessions of their own; it ends them when it ends well.
        let _ = Command::new("tmux")
            .arg("-S")
            .arg(self.folder.path().join("tmux"))
            .arg("kill-server")
            .output();
    }
}

/// Between two looks at the screen.
const GLANCE: Duration = Duration::from_millis(20);
