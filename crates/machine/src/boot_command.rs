//! The command line that the next boot gives its client: by client.conf, plugin-runner.conf and the kernel's command
//! line, as the programs of the image understand them.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nightlatch_console::failure::{EX_UNAVAILABLE, Failure};
use nightlatch_core::connect::ServerList;
use nightlatch_core::kernel_command_line::KernelParameters;
use nightlatch_core::settings::machine::MachineSettings;
use rustix::fs::{MemfdFlags, memfd_create};

use crate::boot_files;

/// Files of boot loaders with the kernel's command line: on lines after one word and a kernel, or as the whole file.
const GRUB: [&str; 2] = ["boot/grub/grub.cfg", "boot/grub2/grub.cfg"];
const ENTRIES: [&str; 3] = [
    "boot/loader/entries",
    "boot/efi/loader/entries",
    "efi/loader/entries",
];
const WHOLE: [&str; 1] = ["etc/kernel/cmdline"];

/// The command line of the boot that runs.
const RUNNING: &str = "proc/cmdline";

/// The options of the boot client at the next boot.
#[derive(Clone, Debug, Default)]
pub(crate) struct BootCommand {
    /// The client's options, in their order: the last one of a kind counts.
    pub(crate) arguments: Vec<String>,
    /// Number of leading arguments that come from the client's own file. Interfaces and servers of later ones replace theirs.
    from_file: usize,
    /// True when the client is not started at all.
    pub(crate) is_off: bool,
    /// The source of the kernel's command line, for a sentence.
    pub(crate) kernel_line: String,
    /// The parameters on the kernel's command line.
    pub(crate) parameters: KernelParameters,
    /// Complaints of the programs of the image about their options.
    pub(crate) complaints: Vec<String>,
}

impl BootCommand {
    /// The options that the next boot gives the client of the machine below `root`, whose settings are `settings`.
    ///
    /// # Errors
    /// When the program of the image is not installed or cannot be run, or a file cannot be read.
    pub(crate) fn of(root: &Path, settings: &MachineSettings) -> Result<Self, Failure> {
        let program = boot_files::program(root)?;
        let (line, from) = kernel_line(root);
        let runner = boot_files::runner_options(root, &mut Vec::new())?;
        let failed = |error: io::Error| {
            let what = format!("cannot run {}", program.display());
            Failure::new(EX_UNAVAILABLE, what).because(error)
        };
        let [config, line_file] = [runner.as_bytes(), line.as_bytes()].map(in_memory);
        let (config, line_file) = (config.map_err(failed)?, line_file.map_err(failed)?);
        let shown = Command::new(&program)
            .args(["plugin-runner", "--config-file"])
            .arg(path_of(&config))
            .arg("--show-client")
            .arg(path_of(&line_file))
            .stdin(Stdio::null())
            .output()
            .map_err(failed)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let errors = text(&shown.stderr);
        let complaints = errors.lines().filter(|line| !line.contains("hint: "));
        let arguments = settings.arguments();
        let mut command = Self {
            from_file: arguments.len(),
            arguments,
            is_off: shown.status.code() == Some(EX_UNAVAILABLE.into()),
            parameters: KernelParameters::parse(&line),
            kernel_line: from,
            complaints: complaints
                .map(|line| line.trim_start_matches("nightlatch-boot plugin-runner: "))
                .map(|line| without_places(line, &config, &line_file))
                .collect(),
        };
        let more = text(&shown.stdout);
        command.arguments.extend(more.lines().map(str::to_owned));
        if let Some(device) = fallback_interface(root)
            && command.interfaces().is_empty()
        {
            command.arguments.push(format!("--interface={device}"));
        }
        if !shown.status.success() && !command.is_off && command.complaints.is_empty() {
            let complaint = format!("plugin-runner.conf cannot be read: {}", shown.status);
            command.complaints.push(complaint);
        }
        Ok(command)
    }

    /// Those of a machine where only its settings are known.
    pub(crate) fn of_settings(settings: &MachineSettings) -> Self {
        let arguments = settings.arguments();
        Self {
            from_file: arguments.len(),
            arguments,
            ..Self::default()
        }
    }

    /// The servers that are connected to. The client leaves out what names none.
    pub(crate) fn servers(&self) -> ServerList {
        let values = self.last_values("connect", 'c');
        ServerList::from_options(values.iter().map(String::as_str))
    }

    /// The interfaces that are used; none for all that suit.
    pub(crate) fn interfaces(&self) -> Vec<String> {
        let lists = self.last_values("interface", 'i');
        let names = lists.iter().flat_map(|list| list.split(','));
        let names = names.filter(|name| !name.is_empty());
        names.map(str::to_owned).collect()
    }

    /// The options but those of these names, with their values where they have some: for a rehearsal, which says them
    /// itself.
    pub(crate) fn without(&self, names: &[(&str, Option<char>, bool)]) -> Vec<String> {
        let mut kept = Vec::new();
        let mut arguments = self.arguments.iter();
        while let Some(argument) = arguments.next() {
            let named = names.iter().find(|(name, letter, _)| {
                let long = argument.strip_prefix("--").unwrap_or_default();
                let given = long.split('=').next().unwrap_or_default();
                let short = argument.strip_prefix('-').and_then(|it| it.chars().next());
                (!given.is_empty() && name.starts_with(given))
                    || (long.is_empty() && short.is_some() && short == *letter)
            });
            match named {
                None => kept.push(argument.clone()),
                Some((_, _, has_value)) => {
                    let is_short = !argument.starts_with("--");
                    let inside = argument.contains('=') || (is_short && argument.len() > 2);
                    if *has_value && !inside {
                        arguments.next();
                    }
                }
            }
        }
        kept
    }

    /// The values of an option that replaces those of the file.
    fn last_values(&self, name: &str, letter: char) -> Vec<String> {
        let end = self.from_file.min(self.arguments.len());
        let (file, line) = self.arguments.split_at(end);
        match values(line, name, letter) {
            none if none.is_empty() => values(file, name, letter),
            values => values,
        }
    }
}

/// The values of an option among `arguments`, by its name, a beginning of it, or its letter.
fn values(arguments: &[String], name: &str, letter: char) -> Vec<String> {
    let mut values = Vec::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let long = argument.strip_prefix("--").filter(|it| !it.is_empty());
        let value = match long {
            Some(long) => {
                let (given, value) = match long.split_once('=') {
                    Some((given, value)) => (given, Some(value.to_owned())),
                    None => (long, None),
                };
                if !name.starts_with(given) {
                    continue;
                }
                value
            }
            None => match argument.strip_prefix('-').map(|it| it.strip_prefix(letter)) {
                Some(Some("")) => None,
                Some(Some(value)) => Some(value.to_owned()),
                _ => continue,
            },
        };
        values.extend(value.or_else(|| arguments.next().cloned()));
    }
    values
}

/// A complaint by the names that an administrator knows.
fn without_places(line: &str, config: &OwnedFd, kernel: &OwnedFd) -> String {
    let [config, kernel] = [config, kernel].map(|it| path_of(it).display().to_string());
    line.replace(&config, "plugin-runner.conf")
        .replace(&kernel, "the kernel's command line")
}

/// Options may hold secrets of plugins: they are in no file.
fn in_memory(bytes: &[u8]) -> io::Result<OwnedFd> {
    let memory = memfd_create("options", MemfdFlags::CLOEXEC)?;
    let mut file = File::from(memory);
    file.write_all(bytes)?;
    Ok(file.into())
}

fn path_of(memory: &OwnedFd) -> PathBuf {
    format!("/proc/{}/fd/{}", std::process::id(), memory.as_raw_fd()).into()
}

/// The interface that initramfs-tools gives the client where nothing else names one: `DEVICE` of initramfs.conf(5), which
/// files beside it override. `None` where something else makes the images.
fn fallback_interface(root: &Path) -> Option<String> {
    if !boot_files::has_initramfs_tools(root) {
        return None;
    }
    let folder = root.join("etc/initramfs-tools");
    let more = fs::read_dir(folder.join("conf.d")).into_iter().flatten();
    let mut files: Vec<PathBuf> = more.flatten().map(|entry| entry.path()).collect();
    files.sort();
    files.insert(0, folder.join("initramfs.conf"));
    let texts = files
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok());
    let device = texts.filter_map(|text| device_of(&text)).next_back()?;
    Some(device).filter(|name| !name.is_empty())
}

/// The last `DEVICE` that a file of initramfs-tools sets, without its quotes.
fn device_of(text: &str) -> Option<String> {
    let value = |line: &str| {
        let value = line.trim_start().strip_prefix("DEVICE=")?;
        let word = value
            .split([' ', '\t', '#', ';'])
            .next()
            .unwrap_or_default();
        Some(word.trim_matches(['"', '\'']).to_owned())
    };
    text.lines().filter_map(value).next_back()
}

/// The kernel's command line of the next boot, and where it is from: what the boot loader has for the first of its
/// entries, or else that of the boot that runs.
fn kernel_line(root: &Path) -> (String, String) {
    let read = |place: &str| fs::read_to_string(root.join(place)).ok();
    for place in GRUB {
        if let Some(line) = read(place).as_deref().and_then(of_grub) {
            return (line, format!("/{place}"));
        }
    }
    for folder in ENTRIES {
        let entries = fs::read_dir(root.join(folder))
            .into_iter()
            .flatten()
            .flatten();
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name.ends_with(".conf"))
            .collect();
        // The one with the highest version boots, where nobody chose another.
        names.sort();
        for name in names.iter().rev() {
            let place = format!("{folder}/{name}");
            if let Some(line) = read(&place).as_deref().and_then(of_entry) {
                return (line, format!("/{place}"));
            }
        }
    }
    for place in WHOLE {
        if let Some(line) = read(place) {
            return (line, format!("/{place}"));
        }
    }
    (read(RUNNING).unwrap_or_default(), format!("/{RUNNING}"))
}

/// The arguments of the first kernel in a configuration of GRUB.
fn of_grub(text: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let loads = words.next()?;
        if !matches!(loads, "linux" | "linuxefi" | "linux16") {
            return None;
        }
        words.next()?;
        Some(words.collect::<Vec<_>>().join(" "))
    })
}

/// The options of an entry (the Boot Loader Specification, "type #1").
fn of_entry(text: &str) -> Option<String> {
    let options = text.lines().filter_map(|line| line.strip_prefix("options"));
    let options: Vec<&str> = options.map(str::trim).collect();
    (!options.is_empty()).then(|| options.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(arguments: &[&str]) -> BootCommand {
        BootCommand {
            arguments: arguments.iter().map(|it| (*it).to_owned()).collect(),
            ..BootCommand::default()
        }
    }

    #[test]
    fn all_servers_count_however_the_option_is_written() {
        for (arguments, servers) in [
            (
                &["--connect=192.0.2.1:1", "--connect", "192.0.2.2:2"][..],
                "192.0.2.1:1, 192.0.2.2:2",
            ),
            (&["-c", "192.0.2.2:2"], "192.0.2.2:2"),
            (&["-c192.0.2.2:2", "--debug", "-cx"], "192.0.2.2:2"),
            (&["--con=192.0.2.2:2"], "192.0.2.2:2"),
            (&["-c", "192.0.2.1:1", "-cnone", "-c::1:1"], "[::1]:1"),
            (&["--debug", "--", "-x"], ""),
        ] {
            assert_eq!(
                command(arguments).servers().to_string(),
                servers,
                "{arguments:?}"
            );
        }
        let names = command(&["-i", "a,b", "--interface=c", "--int", "d,"]).interfaces();
        assert_eq!(names, ["a", "b", "c", "d"]);
    }

    #[test]
    fn servers_and_interfaces_of_the_command_line_replace_those_of_the_file() {
        let all = ["-c::1:1", "-c::1:2", "-ia", "-ib", "-c::1:3", "-ic"];
        for (from_file, servers, interfaces) in [
            (4, "[::1]:3", &["c"][..]),
            (6, "[::1]:1, [::1]:2, [::1]:3", &["a", "b", "c"]),
            (5, "[::1]:1, [::1]:2, [::1]:3", &["c"]),
        ] {
            let command = BootCommand {
                from_file,
                ..command(&all)
            };
            assert_eq!(command.servers().to_string(), servers);
            assert_eq!(command.interfaces(), interfaces);
        }
    }

    #[test]
    fn what_a_rehearsal_says_itself_is_left_out() {
        let all = [
            "-i",
            "a",
            "--debug",
            "--int=b",
            "-ic",
            "--retry",
            "5",
            "--connect=[::1]:4",
            "-d",
        ];
        let names = [("interface", Some('i'), true), ("debug", None, false)];
        let kept = command(&all).without(&names);
        assert_eq!(kept, ["--retry", "5", "--connect=[::1]:4", "-d"]);
    }

    #[test]
    fn the_command_line_of_the_next_boot_is_that_of_the_boot_loader() {
        let root = tempfile::tempdir().unwrap();
        let write = |place: &str, text: &str| {
            let path = root.path().join(place);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let line = || kernel_line(root.path());
        write("proc/cmdline", "now\n");
        assert_eq!(line(), ("now\n".to_owned(), "/proc/cmdline".to_owned()));
        write("etc/kernel/cmdline", "kernel\n");
        assert_eq!(line().0, "kernel\n");
        write("boot/loader/entries/a-6.1.conf", "options old\n");
        write(
            "boot/loader/entries/a-6.2.conf",
            "title x\noptions ro\noptions  ip=dhcp\n",
        );
        assert_eq!(line().0, "ro ip=dhcp");
        write(
            "boot/grub/grub.cfg",
            "menuentry 'x' {\n\tlinux\t/vmlinuz root=x  ro ip=dhcp\n\tinitrd /i\n}\nlinux /old no\n",
        );
        let (text, from) = line();
        assert_eq!(
            (text.as_str(), from.as_str()),
            ("root=x ro ip=dhcp", "/boot/grub/grub.cfg")
        );
    }

    #[test]
    fn the_interface_of_initramfs_tools_is_that_of_its_last_file() {
        let root = tempfile::tempdir().unwrap();
        let write = |place: &str, text: &str| {
            let path = root.path().join(place);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let device = || fallback_interface(root.path());
        write(
            "etc/initramfs-tools/initramfs.conf",
            "# DEVICE=x\nDEVICE=eth0\n",
        );
        assert_eq!(device(), None);
        write("usr/sbin/update-initramfs", "");
        assert_eq!(device().as_deref(), Some("eth0"));
        write(
            "etc/initramfs-tools/conf.d/net",
            "DEVICE='eth1' # or eth2\n",
        );
        assert_eq!(device().as_deref(), Some("eth1"));
        write("etc/initramfs-tools/conf.d/zz", "DEVICE=\n");
        assert_eq!(device(), None);
    }
}
