//! A guest: a prepared machine in an emulator, with its console and QEMU's monitor. Ended on drop; its disks stay
//! unchanged.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::console::{Console, ConsoleMatch};
use crate::images::{BootSystem, DebianRelease, GuestMachine, MachineKind, ROOT_UUID};
use crate::lan::Tap;
use crate::paths::qemu;

/// Limit for any expected output of a guest: only a hang takes this long.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// The hardware and the kernel's command line of a guest.
#[derive(Debug)]
pub struct GuestConfig<'a> {
    machine: &'a GuestMachine,
    system: BootSystem,
    arguments: Vec<String>,
    taps: Vec<Tap>,
    disks: Vec<PathBuf>,
    image: &'static str,
    plugged: bool,
}

/// A running guest.
#[derive(Debug)]
pub struct Guest {
    child: Child,
    keyboard: Mutex<ChildStdin>,
    console: Arc<Console>,
    mark: String,
    /// Up to where the console has been waited for.
    read: Mutex<usize>,
    folder: TempDir,
    /// The number of its disks.
    disks: usize,
}

impl<'a> GuestConfig<'a> {
    /// This machine, unlocked by this system, with a card at `tap`.
    pub fn new(machine: &'a GuestMachine, system: BootSystem, tap: Tap) -> Self {
        let arguments = ["console=ttyS0", "loglevel=4", "mitigations=off", "ro"];
        let mut arguments: Vec<String> = arguments.map(str::to_owned).into();
        arguments.push("root=/dev/mapper/root_crypt".to_owned());
        if machine.kind != MachineKind::Booted {
            arguments.push("init=/nightlatch-boot-test-init".to_owned());
        }
        if system != BootSystem::InitramfsTools {
            arguments.push(format!("rd.luks.name={ROOT_UUID}=root_crypt"));
        }
        if system == BootSystem::DracutWithoutSystemd {
            arguments.push(format!("rd.luks.uuid={ROOT_UUID}"));
        }
        Self {
            machine,
            system,
            arguments,
            taps: vec![tap],
            disks: vec![machine.file("root.luks")],
            image: match system {
                BootSystem::InitramfsTools => "initramfs-tools.img",
                BootSystem::Dracut => "dracut.img",
                BootSystem::DracutWithoutSystemd => "dracut-without-systemd.img",
            },
            plugged: true,
        }
    }

    /// With a word more on the kernel's command line.
    #[must_use]
    pub fn with(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// With a card that the guest finds before the others.
    #[must_use]
    pub fn with_first_card(mut self, tap: Tap) -> Self {
        self.taps.insert(0, tap);
        self
    }

    /// With a second encrypted volume, which is opened at boot too.
    #[must_use]
    pub fn with_second_volume(mut self) -> Self {
        self.disks.push(self.machine.file("data.luks"));
        match self.system {
            BootSystem::InitramfsTools => self.image = "initramfs-tools-two.img",
            BootSystem::Dracut | BootSystem::DracutWithoutSystemd => {
                let data = crate::images::DATA_UUID;
                self.arguments
                    .push(format!("rd.luks.name={data}=data_crypt"));
            }
        }
        self
    }

    /// With a disk more.
    #[must_use]
    pub fn with_disk(mut self, file: PathBuf) -> Self {
        self.disks.push(file);
        self
    }

    /// With the network cable not plugged in.
    #[must_use]
    pub fn unplugged(mut self) -> Self {
        self.plugged = false;
        self
    }

    /// Switches it on. What it says goes to the file `log` too.
    pub fn start(self, log: &Path) -> Guest {
        let folder = tempfile::tempdir().unwrap();
        let monitor = folder.path().join("monitor");
        let log = File::create(log).unwrap();
        let mut command = self.command(&monitor);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log.try_clone().unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start QEMU: {error}"));
        let console = Arc::new(Console::new());
        let (shared, output) = (Arc::clone(&console), child.stdout.take().unwrap());
        std::thread::spawn(move || shared.follow(output, log));
        let guest = Guest {
            keyboard: Mutex::new(child.stdin.take().unwrap()),
            child,
            console,
            mark: format!(
                "ROOT-IS-OPEN {} on /dev/mapper/root_crypt",
                self.machine.mark
            ),
            read: Mutex::new(0),
            folder,
            disks: self.disks.len(),
        };
        if !self.plugged {
            guest.set_link(false);
            guest.monitor("cont", json!({}));
        }
        guest
    }

    fn command(&self, monitor: &Path) -> Command {
        let cpu = match self.machine.suite {
            DebianRelease::Bookworm => "Nehalem,+aes,+pclmulqdq",
            DebianRelease::Trixie => "max,-cx16,-erms,-fsrm,-la57",
        };
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.taps[0].netns]);
        command.arg(qemu("usr/bin/qemu-system-x86_64"));
        // Debian's QEMU has its firmware in folders of several packages, and parts of it as modules.
        command.env("QEMU_MODULE_DIR", qemu("usr/lib/x86_64-linux-gnu/qemu"));
        command.arg("-L").arg(qemu("usr/share/qemu"));
        command.arg("-L").arg(qemu("usr/share/seabios"));
        command.args(["-M", "q35", "-accel", "tcg,thread=multi", "-cpu", cpu]);
        command.args(["-smp", "1", "-m", "1024", "-nodefaults", "-display", "none"]);
        if self.machine.kind != MachineKind::Booted {
            command.arg("-no-reboot");
        }
        command.args(["-serial", "stdio", "-device", "virtio-rng-pci"]);
        command
            .arg("-qmp")
            .arg(format!("unix:{},server=on,wait=off", monitor.display()));
        for (number, tap) in self.taps.iter().enumerate() {
            let (name, mac) = (&tap.name, tap.mac());
            command.arg("-netdev");
            command.arg(format!(
                "tap,id=n{number},ifname={name},script=no,downscript=no"
            ));
            command.arg("-device").arg(format!(
                "virtio-net-pci,id=card{number},netdev=n{number},mac={mac},romfile="
            ));
        }
        for disk in &self.disks {
            let disk = disk.display();
            command.arg("-drive").arg(format!(
                "file={disk},if=virtio,format=raw,snapshot=on,cache=unsafe"
            ));
        }
        command.arg("-kernel").arg(self.machine.file("vmlinuz"));
        command.arg("-initrd").arg(self.machine.file(self.image));
        command.arg("-append").arg(self.arguments.join(" "));
        if !self.plugged {
            // Waits for the monitor before its first instruction.
            command.arg("-S");
        }
        command
    }
}

impl Guest {
    /// Waits until it says `text`, after what was waited for before: when that was.
    pub fn wait_for(&self, text: &str) -> Duration {
        self.wait_for_any(&[text]).at
    }

    /// Waits until it says one of `texts`, after what was waited for before.
    pub fn wait_for_any(&self, texts: &[&str]) -> ConsoleMatch {
        let mut read = self.read.lock().unwrap();
        match self.console.wait(*read, texts, PATIENCE) {
            Ok(found) => {
                *read = found.end;
                found
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Waits until its decrypted root says so: when that was.
    pub fn wait_for_root(&self) -> Duration {
        self.wait_for(&self.mark)
    }

    /// The time of the first `text` on its console.
    pub fn time_of(&self, text: &str) -> Option<Duration> {
        self.console.find(0, &[text]).map(|found| found.at)
    }

    /// All that stands on its console.
    pub fn text(&self) -> String {
        self.console.text(0)
    }

    /// Time since it was started.
    pub fn now(&self) -> Duration {
        self.console.now()
    }

    /// The processor time that the emulator has used, seconds: proc(5), `stat`.
    pub fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let ticks = |field: Option<&str>| field.unwrap().parse::<f64>().unwrap();
        let mut fields = fields.split(' ').skip(11);
        (ticks(fields.next()) + ticks(fields.next())) / TICKS
    }

    /// Fails when its root has been opened.
    pub fn assert_locked(&self) {
        assert_eq!(self.time_of("ROOT-IS-OPEN"), None, "the root is open");
    }

    /// Types a line.
    pub fn type_line(&self, text: &str) {
        let mut keyboard = self.keyboard.lock().unwrap();
        keyboard.write_all(format!("{text}\n").as_bytes()).unwrap();
        keyboard.flush().unwrap();
    }

    /// Runs a command by the init of the opened root: what it said.
    pub fn run(&self, command: &str) -> String {
        let from = *self.read.lock().unwrap();
        self.type_line(command);
        self.wait_for("STATUS-0-");
        self.console.text(from)
    }

    /// Runs a command in a shell on the console, and returns its output.
    pub fn run_in_shell(&self, command: &str) -> String {
        let from = *self.read.lock().unwrap();
        // The terminal shows what is typed, and the shell does once more: neither is the end.
        let end = "EN''D";
        self.type_line(&format!("{command}; echo {end}"));
        self.wait_for("END");
        let output = self.console.text(from);
        let shown = output.rfind(end).map_or(0, |at| at + end.len());
        output[shown..].to_owned()
    }

    /// The network's state when the root was opened.
    pub fn network(&self) -> String {
        let text = self.text().replace('\r', "");
        let (_, after) = text.split_once("NETWORK-BEGIN\n").expect("no network told");
        after
            .split_once("NETWORK-END")
            .expect("not told to its end")
            .0
            .to_owned()
    }

    /// Plugs the cable of its first card in, or out.
    pub fn set_link(&self, up: bool) {
        self.monitor("set_link", json!({"name": "card0", "up": up}));
    }

    /// Cuts its power: it does nothing more.
    pub fn cut_power(&self) {
        self.monitor("stop", json!({}));
    }

    /// Gives it power again after [`Self::cut_power`]: it boots, with what its disk holds.
    pub fn restore_power(&self) {
        self.monitor("system_reset", json!({}));
        self.monitor("cont", json!({}));
    }

    /// All that it has written to its disks: QEMU keeps it in files that have no name any more.
    pub fn written_disks(&self) -> Vec<Vec<u8>> {
        let folder = format!("/proc/{}/fd", self.child.id());
        let open = std::fs::read_dir(folder).unwrap();
        let open = open.map(|entry| entry.unwrap().path());
        let is_snapshot = |fd: &PathBuf| {
            let file = std::fs::read_link(fd).unwrap_or_default();
            file.to_string_lossy().contains("/vl.")
        };
        let written: Vec<_> = open
            .filter(is_snapshot)
            .map(|fd| std::fs::read(fd).unwrap())
            .collect();
        assert_eq!(written.len(), self.disks, "the files of its disks");
        written
    }

    /// All of its memory, into a file.
    pub fn memory(&self) -> Vec<u8> {
        let file = self.folder.path().join("memory");
        self.monitor("stop", json!({}));
        let size = 1024_u64 << 20;
        let arguments = json!({"val": 0, "size": size, "filename": file});
        self.monitor("pmemsave", arguments);
        let memory = std::fs::read(&file).unwrap();
        std::fs::remove_file(file).unwrap();
        self.monitor("cont", json!({}));
        memory
    }

    /// Has QEMU carry out a command (QEMU QMP Reference Manual).
    fn monitor(&self, command: &str, arguments: Value) {
        let socket = self.folder.path().join("monitor");
        let stream = loop {
            // It is made some moments after the start.
            match UnixStream::connect(&socket) {
                Ok(stream) => break stream,
                Err(_) if self.console.now() < PATIENCE => std::thread::sleep(POLL_INTERVAL),
                Err(error) => panic!("QEMU has no monitor: {error}"),
            }
        };
        let mut answers = BufReader::new(stream.try_clone().unwrap()).lines();
        for request in [
            json!({"execute": "qmp_capabilities"}),
            json!({"execute": command, "arguments": arguments}),
        ] {
            writeln!(&stream, "{request}").unwrap();
            loop {
                let answer = answers.next().expect("QEMU's monitor has gone").unwrap();
                let answer: Value = serde_json::from_str(&answer).unwrap();
                assert!(answer.get("error").is_none(), "{request}: {answer}");
                if answer.get("return").is_some() {
                    break;
                }
            }
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Between two looks for a file that QEMU makes.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Clock ticks a second, as Linux gives them to programs (`USER_HZ`).
const TICKS: f64 = 100.0;
