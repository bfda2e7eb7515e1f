//! `make run`: the main job end to end on one machine, with nothing to set up.
//!
//! Two hosts in network namespaces joined by a cable where it is root, loopback otherwise.
#![forbid(unsafe_code)]

use std::io::{IsTerminal, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use nightlatch_interop::netns::{self, NetnsHost, cable};
use nightlatch_interop::process::RunningProgram;
use nightlatch_interop::programs::ours;
use nightlatch_test_support::programs::succeed;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    // The checker, which is another user, looks for a file in it.
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o711)).unwrap();
    let demonstration = Demonstration::new(folder.path().to_owned());
    demonstration.introduce();

    let mut teller = Teller::default();
    demonstration.make_a_disk(&mut teller);
    demonstration.enrol(&mut teller);
    let server = demonstration.serve(&mut teller);
    let password = demonstration.reboot(&mut teller);
    demonstration.open(&mut teller, &password);
    demonstration.steal(&mut teller, &server);
    demonstration.ask_again(&mut teller, &server);
    server.terminate();
    println!("\nEverything above was real: nothing is mocked, and all of it is gone now.");
}

/// Says in one line what happened and how long it took.
#[derive(Default)]
struct Teller {
    step: u32,
}

impl Teller {
    fn tell<T>(&mut self, what: &str, act: impl FnOnce() -> (T, String)) -> T {
        self.step += 1;
        // The time shown is the demonstration's, no rule depends on it.
        #[allow(clippy::disallowed_methods)]
        let start = Instant::now();
        let (result, happened) = act();
        let took = start.elapsed().as_secs_f64();
        let step = self.step;
        let (bold, plain) = if std::io::stdout().is_terminal() {
            ("\x1b[1m", "\x1b[0m")
        } else {
            ("", "")
        };
        println!("{step}  {bold}{what:<9}{plain} {happened}  ({took:.2} s)");
        result
    }
}

/// The hosts and programs of the story.
struct Demonstration {
    folder: PathBuf,
    network: DemonstrationNetwork,
}

enum DemonstrationNetwork {
    /// The server and the machine that reboots, joined by a cable.
    Cable {
        server: NetnsHost,
        machine: NetnsHost,
    },
    /// A port of the loopback interface.
    Loopback(std::cell::Cell<u16>),
}

/// The interface of either host.
const INTERFACE: &str = "lan0";

/// The passphrase that the disk had before.
const PASSPHRASE: &[u8] = b"the owner's own passphrase";

impl Demonstration {
    fn new(folder: PathBuf) -> Self {
        let network = if netns::available() {
            let (server, machine) = (NetnsHost::new("server"), NetnsHost::new("machine"));
            cable((&server, INTERFACE), (&machine, INTERFACE));
            server.ip(&["link", "set", INTERFACE, "up"]);
            DemonstrationNetwork::Cable { server, machine }
        } else {
            DemonstrationNetwork::Loopback(std::cell::Cell::new(0))
        };
        Self { folder, network }
    }

    fn introduce(&self) {
        let place = match &self.network {
            DemonstrationNetwork::Cable { .. } => {
                "two hosts in network namespaces, joined by a cable; no IPv4, no DHCP, no router"
            }
            DemonstrationNetwork::Loopback(_) => {
                "loopback, for network namespaces need root (`sudo make run` shows discovery too)"
            }
        };
        println!("Nightlatch, the whole story, in {}", self.folder.display());
        println!("Network: {place}\n");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn make_a_disk(&self, teller: &mut Teller) {
        teller.tell("disk", || {
            let disk = self.path("disk.luks");
            std::fs::File::create(&disk)
                .unwrap()
                .set_len(32 << 20)
                .unwrap();
            let mut format = Command::new("cryptsetup");
            format.args([
                "luksFormat",
                "--batch-mode",
                "--type",
                "luks2",
                "--pbkdf",
                "pbkdf2",
            ]);
            format
                .args(["--pbkdf-force-iterations", "1000", "--key-file", "-"])
                .arg(&disk);
            succeed(&mut format, PASSPHRASE);
            (
                (),
                "a LUKS2 container of 32 MiB, closed with its owner's passphrase".into(),
            )
        });
    }

    fn enrol(&self, teller: &mut Teller) {
        teller.tell("enrol", || {
            std::fs::write(self.path("alive"), "").unwrap();
            std::fs::write(self.path("passphrase"), PASSPHRASE).unwrap();
            std::fs::create_dir(self.path("conf")).unwrap();
            let mut enroll = Command::new(ours("nightlatch"));
            enroll.args(["enroll", "--name", "tower"]).arg("--dir").arg(self.path("keys"));
            enroll.arg("--key-file").arg(self.path("passphrase")).arg(self.path("disk.luks"));
            enroll.arg("--checker").arg(format!("test -e {}", self.path("alive").display()));
            let section = String::from_utf8(succeed(&mut enroll, b"")).unwrap();
            // The story is short: so are its deadlines.
            let section = format!("{section}\ninterval = PT1S\ntimeout = PT3S\nextended_timeout = PT3S\n");
            write_private(&self.path("conf/clients.conf"), &section);
            std::fs::write(self.path("conf/nightlatch.conf"), "[DEFAULT]\n").unwrap();
            ((), "keys for the machine \"tower\", a random key in a slot of its own, its section for the server".into())
        });
    }

    fn serve(&self, teller: &mut Teller) -> RunningProgram {
        teller.tell("serve", || {
            let mut command = self.on_server(&ours("nightlatchd"));
            command
                .arg("--configdir")
                .arg(self.path("conf"))
                .arg("--statedir")
                .arg(self.path("state"));
            // No message bus of the real machine takes part.
            command
                .arg("--no-dbus")
                .env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent");
            let running = match &self.network {
                DemonstrationNetwork::Cable { .. } => {
                    RunningProgram::start("nightlatchd", &mut command)
                }
                DemonstrationNetwork::Loopback(port) => {
                    let socket = TcpListener::bind("[::1]:0").unwrap();
                    port.set(socket.local_addr().unwrap().port());
                    command.args(["--no-zeroconf", "--socket", "0"]);
                    RunningProgram::start_with(
                        "nightlatchd",
                        &mut command,
                        Stdio::from(OwnedFd::from(socket)),
                    )
                }
            };
            running.wait_for("that it listens", |line| {
                line.to_lowercase().contains("now listening").then_some(())
            });
            (
                running,
                "nightlatchd watches over \"tower\" with a check every second".into(),
            )
        })
    }

    fn reboot(&self, teller: &mut Teller) -> Vec<u8> {
        teller.tell("reboot", || {
            let output = self.boot_client().finish();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "the boot client failed:\n{said}");
            let how = match &self.network {
                DemonstrationNetwork::Cable { .. } => {
                    "the boot client brought its interface up, found the server by mDNS over IPv6 link-local, proved its \
                     key and decrypted its disk password"
                }
                DemonstrationNetwork::Loopback(_) => "the boot client connected, proved its key and decrypted its disk password",
            };
            let length = output.stdout.len();
            (output.stdout, format!("{how} of {length} bytes"))
        })
    }

    fn open(&self, teller: &mut Teller, password: &[u8]) {
        teller.tell("open", || {
            let mut open = Command::new("cryptsetup");
            open.args(["open", "--test-passphrase", "--key-file", "-"])
                .arg(self.path("disk.luks"));
            succeed(&mut open, password);
            (
                (),
                "that password opens the disk (cryptsetup open --test-passphrase)".into(),
            )
        });
    }

    fn steal(&self, teller: &mut Teller, server: &RunningProgram) {
        teller.tell("steal", || {
            std::fs::remove_file(self.path("alive")).unwrap();
            let line = server.wait_for("that tower is disabled", |line| {
                (line.contains("tower") && line.contains("disabled")).then(|| line.to_owned())
            });
            ((), format!("\"tower\" is unplugged, its checks fail, and its deadline passes. The server says:\n             {line}"))
        });
    }

    fn ask_again(&self, teller: &mut Teller, server: &RunningProgram) {
        let seen = server.log().len();
        teller.tell("refused", || {
            let client = self.boot_client();
            server.wait_from(seen, "the refusal", |line| line.contains("client is disabled").then_some(()));
            let output = client.terminate();
            assert_eq!(output.stdout, b"", "a disabled machine got its password");
            ((), "a thief asks for the password and gets nothing until a person enables the machine again".into())
        });
    }

    fn boot_client(&self) -> RunningProgram {
        let mut command = self.on_machine(&ours("nightlatch-boot"));
        command.args([
            "client",
            "--retry",
            "1",
            "--network-hook-dir",
            "/nonexistent",
        ]);
        for (option, file) in [
            ("--pubkey", "keys/pubkey.txt"),
            ("--seckey", "keys/seckey.txt"),
            ("--tls-privkey", "keys/tls-privkey.pem"),
            ("--tls-pubkey", "keys/tls-pubkey.pem"),
        ] {
            command.arg(option).arg(self.path(file));
        }
        if let DemonstrationNetwork::Loopback(port) = &self.network {
            command.args([
                "--interface",
                "none",
                "--connect",
                &format!("::1:{}", port.get()),
            ]);
        }
        RunningProgram::start("nightlatch-boot", &mut command)
    }

    fn on_server(&self, program: &Path) -> Command {
        match &self.network {
            DemonstrationNetwork::Cable { server, .. } => server.command(program),
            DemonstrationNetwork::Loopback(_) => Command::new(program),
        }
    }

    fn on_machine(&self, program: &Path) -> Command {
        match &self.network {
            DemonstrationNetwork::Cable { machine, .. } => machine.command(program),
            DemonstrationNetwork::Loopback(_) => Command::new(program),
        }
    }
}

/// Born private: the server refuses a file of secrets that others can read.
fn write_private(path: &Path, text: &str) {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}
