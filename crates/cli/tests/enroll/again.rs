//! Disks that are enrolled already: what is said, replaced, rotated and taken back; and outputs that take nothing.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use super::support::*;
use super::{Machine, header};

fn tokens(disk: &Path) -> Vec<serde_json::Value> {
    let mut cryptsetup = Command::new("cryptsetup");
    cryptsetup.args(["luksDump", "--dump-json-metadata"]);
    let json: serde_json::Value =
        serde_json::from_slice(&succeed(cryptsetup.arg(disk), b"")).unwrap();
    json["tokens"]
        .as_object()
        .unwrap()
        .values()
        .cloned()
        .collect()
}

/// The names of saved headers.
fn backups(machine: &Machine) -> Vec<std::ffi::OsString> {
    let Ok(entries) = fs::read_dir(machine.at("keys")) else {
        return Vec::new();
    };
    let names = entries.map(|entry| entry.unwrap().file_name());
    names
        .filter(|name| name.to_str().unwrap().ends_with(".img"))
        .collect()
}

/// `rotate` or `unenroll`.
fn verb(machine: &Machine, verb: &str, disk: &Path, more: &[&str]) -> Output {
    let mut command = nightlatch(&[verb, "--dir"]);
    command.arg(machine.at("keys"));
    if verb == "rotate" && !more.contains(&"--finish") {
        command
            .arg("--no-ssh")
            .arg("--key-file")
            .arg(machine.at("old"));
    }
    run(command.args(more).arg(disk), b"")
}

#[test]
fn standard_output_that_takes_nothing_leaves_the_disk_as_it_was() {
    let machine = Machine::new();
    let disk = machine.disk("disk");
    let before = header(&disk);
    let full = "/dev/full";
    for redirection in [">&-", ">/dev/null", &format!(">{full}"), "1<keyfile"] {
        let command = machine.command(&[&disk], &[]);
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let words: Vec<String> = words
            .map(|it| format!("'{}'", it.to_str().unwrap()))
            .collect();
        let mut shell = Command::new("sh");
        shell
            .arg("-c")
            .arg(format!("{} {redirection}", words.join(" ")));
        fs::write(machine.at("keyfile"), "x").unwrap();
        let output = run(shell.current_dir(machine.0.path()), b"");
        assert!(!output.status.success(), "{redirection}");
        assert!(
            stderr(&output).contains("standard output"),
            "{}",
            stderr(&output)
        );
        assert!(header(&disk) == before, "{redirection}");
        assert!(
            !machine.at("keys").exists(),
            "{redirection}: not even keys were made"
        );
    }
}

/// Enrols a disk with a reader that is there while the key is being added, and leaves without having read anything:
/// this fails, and the disk is as before.
fn enroll_unread(machine: &Machine, disk: &Path, options: &[&str]) {
    let (reader, writer) = std::io::pipe().unwrap();
    let child = machine
        .command(&[disk], options)
        .stdout(writer)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut section = [PollFd::new(&reader, PollFlags::IN)];
    let patience = Timespec {
        tv_sec: 120,
        tv_nsec: 0,
    };
    let came = poll(&mut section, Some(&patience));
    assert_eq!(came, Ok(1), "no section came");
    assert_eq!(slots(disk), ["0", "1"]);
    drop(reader);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(74), "{}", stderr(&output));
    assert_eq!(slots(disk), ["0"]);
}

#[test]
fn a_reader_that_leaves_without_reading_costs_the_new_key_slot() {
    let machine = Machine::new();
    let disk = machine.disk("disk");
    enroll_unread(&machine, &disk, &[]);
    assert!(tokens(&disk).is_empty());
    assert!(backups(&machine).is_empty());
}

#[test]
fn a_second_enrolment_says_so_and_replaces_the_key_slot_unless_one_is_to_be_added() {
    let machine = Machine::new();
    let disk = machine.disk("disk");
    let gnupg = |section: &str| Gnupg::with_keys(&machine.at("keys")).open(section);
    let first = machine.enroll(&[&disk], &[]);
    let first = gnupg(&first);
    let added = run(&mut machine.command(&[&disk], &["--add"]), b"");
    assert!(stderr(&added).contains("is enrolled already, as \"foo\" in key slot 1: it stays"));
    let added = gnupg(std::str::from_utf8(&added.stdout).unwrap());
    assert!(opens(&disk, &first) && opens(&disk, &added));
    assert_eq!(slots(&disk), ["0", "1", "2"]);
    let third = run(&mut machine.command(&[&disk], &[]), b"");
    assert!(third.status.success());
    assert!(
        stderr(&third).contains("removed the earlier key slot 1"),
        "{}",
        stderr(&third)
    );
    let third = gnupg(std::str::from_utf8(&third.stdout).unwrap());
    assert!(opens(&disk, &third) && opens(&disk, b"old"));
    assert!(!opens(&disk, &first) && !opens(&disk, &added));
    assert_eq!(slots(&disk), ["0", "3"]);
    let tokens = tokens(&disk);
    assert_eq!(tokens.len(), 1);
    assert_eq!(
        (&tokens[0]["type"], &tokens[0]["name"]),
        (&"nightlatch".into(), &"foo".into())
    );
    assert_eq!(tokens[0]["keyslots"], serde_json::json!(["3"]));
}

#[test]
fn without_a_free_key_slot_nothing_is_left_behind() {
    let machine = Machine::new();
    let disk = machine.disk("disk");
    loop {
        let mut add = Command::new("cryptsetup");
        add.args(["luksAddKey", "--batch-mode", "--key-file", "-"]);
        add.args(["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"]);
        if !run(add.arg(&disk).arg(machine.at("old")), b"old")
            .status
            .success()
        {
            break;
        }
    }
    let before = header(&disk);
    let output = machine.refused(&[&disk], &[]);
    assert_eq!(output.status.code(), Some(69));
    let said = stderr(&output);
    assert!(
        said.contains("no free key slot") && said.contains("hint: cryptsetup luksDump"),
        "{said}"
    );
    assert!(header(&disk) == before);
    assert!(backups(&machine).is_empty());
    // One that finds out only when it tries leaves no header either.
    let other = machine.disk("other");
    let search = machine
        .cryptsetup("case \"$*\" in *luksAddKey*) echo All key slots full. >&2; exit 1;; esac");
    let output = run(machine.command(&[&other], &[]).env("PATH", search), b"");
    let said = stderr(&output);
    assert!(said.contains("hint: cryptsetup luksDump"), "{said}");
    assert!(backups(&machine).is_empty());
}

#[test]
fn a_detached_header_is_enrolled_rotated_and_taken_back() {
    let machine = Machine::new();
    let (data, header) = (machine.at("data"), machine.at("header"));
    for file in [&data, &header] {
        fs::File::create(file).unwrap().set_len(17 << 20).unwrap();
    }
    let mut format = Command::new("cryptsetup");
    format.args(["luksFormat", "--batch-mode", "--type", "luks2"]);
    format.args([
        "--pbkdf",
        "pbkdf2",
        "--pbkdf-force-iterations",
        "1000",
        "--header",
    ]);
    succeed(format.arg(&header).arg(&data).arg("-"), b"old");
    let untouched = fs::read(&data).unwrap();
    let output = machine.refused(&[&data], &[]);
    assert!(stderr(&output).contains("--header"), "{}", stderr(&output));
    let section = machine.enroll(&[&data], &["--header", path(&header)]);
    let password = Gnupg::with_keys(&machine.at("keys")).open(&section);
    assert!(opens(&header, &password));
    assert_eq!(slots(&header), ["0", "1"]);
    let rotated = verb(&machine, "rotate", &data, &["--header", path(&header)]);
    assert!(rotated.status.success(), "{}", stderr(&rotated));
    assert!(!opens(&header, &password));
    let back = verb(&machine, "unenroll", &data, &["--header", path(&header)]);
    assert!(back.status.success(), "{}", stderr(&back));
    assert_eq!(slots(&header), ["0"]);
    assert!(fs::read(&data).unwrap() == untouched);
}

#[test]
fn a_key_is_rotated_at_once_or_in_two_steps() {
    let machine = Machine::new();
    let disk = machine.disk("disk");
    let output = verb(&machine, "rotate", &disk, &[]);
    assert_eq!(output.status.code(), Some(69), "{}", stderr(&output));
    assert!(stderr(&output).contains("hint: enroll it"));
    let gnupg = |section: &[u8]| {
        let section = std::str::from_utf8(section).unwrap();
        Gnupg::with_keys(&machine.at("keys")).open(section)
    };
    let first = gnupg(machine.enroll(&[&disk], &[]).as_bytes());
    let output = verb(&machine, "rotate", &disk, &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(text.starts_with("[foo]\n"), "{text}");
    let second = gnupg(&output.stdout);
    assert!(opens(&disk, &second) && !opens(&disk, &first));
    let output = verb(&machine, "rotate", &disk, &["--keep-old"]);
    let third = gnupg(&output.stdout);
    assert!(opens(&disk, &second) && opens(&disk, &third));
    let output = verb(&machine, "rotate", &disk, &["--finish"]);
    assert!(output.status.success() && output.stdout.is_empty());
    assert!(!opens(&disk, &second) && opens(&disk, &third) && opens(&disk, b"old"));
    assert_eq!(tokens(&disk).len(), 1);
}

/// The calls of cryptsetup(8) that change a disk.
const CHANGING: [&str; 4] = ["luksAddKey", "token import", "luksKillSlot", "token remove"];

#[test]
fn killed_before_or_after_any_change_the_disk_opens_and_the_next_rotation_mends_it() {
    for change in CHANGING {
        for moment in ["before", "after"] {
            let machine = Machine::new();
            let disk = machine.disk("disk");
            let first = machine.enroll(&[&disk], &[]);
            let first = Gnupg::with_keys(&machine.at("keys")).open(&first);
            let words = change.split(' ').collect::<Vec<_>>().join("*");
            let kill = "kill -KILL $PPID; exit 1";
            let script = match moment {
                "before" => kill.to_owned(),
                _ => format!("/usr/sbin/cryptsetup \"$@\"; {kill}"),
            };
            let search = machine.cryptsetup(&format!("case \"$*\" in *{words}*) {script};; esac"));
            let mut command = nightlatch(&["rotate", "--no-ssh", "--dir"]);
            command
                .arg(machine.at("keys"))
                .arg("--key-file")
                .arg(machine.at("old"));
            let output = run(command.arg(&disk).env("PATH", search), b"");
            let signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
            assert_eq!(signal, Some(9), "{change} {moment}: {}", stderr(&output));
            assert!(opens(&disk, b"old"));
            if output.stdout.is_empty() {
                assert!(
                    opens(&disk, &first),
                    "{change} {moment}: no section, and the old key gone"
                );
            }
            let next = verb(&machine, "rotate", &disk, &[]);
            assert!(
                next.status.success(),
                "{change} {moment}: {}",
                stderr(&next)
            );
            let password = std::str::from_utf8(&next.stdout).unwrap();
            let password = Gnupg::with_keys(&machine.at("keys")).open(password);
            assert!(
                opens(&disk, &password) && !opens(&disk, &first),
                "{change} {moment}"
            );
            assert_eq!(tokens(&disk).len(), 1, "{change} {moment}");
        }
    }
}

#[test]
fn unenroll_removes_the_key_slots_and_keys_and_says_what_the_server_needs() {
    let machine = Machine::new();
    let (disk, other) = (machine.disk("disk"), machine.disk("other"));
    let section = machine.enroll(&[&disk, &other], &[]);
    let password = Gnupg::with_keys(&machine.at("keys")).open(&section);
    let output = verb(&machine, "unenroll", &disk, &["--dry-run"]);
    assert!(output.status.success() && opens(&disk, &password));
    let output = verb(&machine, "unenroll", &disk, &["--keep-keys"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(opens(&disk, b"old") && !opens(&disk, &password) && opens(&other, &password));
    assert!(tokens(&disk).is_empty());
    assert!(machine.at("keys/seckey.txt").exists());
    let output = verb(&machine, "unenroll", &other, &[]);
    let said = stderr(&output);
    assert!(output.status.success(), "{said}");
    let key_id = value(&section, "key_id");
    for part in [
        "nightlatch remove foo",
        &key_id,
        "initramfs",
        "luks-header-",
    ] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    for file in [
        "seckey.txt",
        "pubkey.txt",
        "tls-privkey.pem",
        "tls-pubkey.pem",
    ] {
        assert!(!machine.at("keys").join(file).exists(), "{file}");
    }
    let output = verb(&machine, "unenroll", &other, &[]);
    assert_eq!(output.status.code(), Some(69));
}

#[test]
fn what_nothing_else_opens_is_not_taken_back() {
    let machine = Machine::new();
    let disk = machine.disk("disk");
    machine.enroll(&[&disk], &[]);
    let mut kill = Command::new("cryptsetup");
    succeed(
        kill.args(["luksKillSlot", "--batch-mode"])
            .arg(&disk)
            .arg("0"),
        b"",
    );
    let output = verb(&machine, "unenroll", &disk, &[]);
    assert_eq!(output.status.code(), Some(69));
    assert!(
        stderr(&output).contains("nothing else opens"),
        "{}",
        stderr(&output)
    );
    assert_eq!(slots(&disk), ["1"]);
    assert!(machine.at("keys/seckey.txt").exists());
}

/// The installer's key slot goes: a person is left with what else opens the disk.
fn kill_slot(disk: &Path, slot: &str) {
    let mut kill = Command::new("cryptsetup");
    kill.args(["luksKillSlot", "--batch-mode"]);
    succeed(kill.arg(disk).arg(slot), b"");
}

#[test]
fn an_unbound_key_slot_does_not_count_as_one_that_opens_the_disk() {
    let machine = Machine::new();
    let disk = machine.disk("disk");
    let section = machine.enroll(&[&disk], &[]);
    let password = Gnupg::with_keys(&machine.at("keys")).open(&section);
    let mut add = Command::new("cryptsetup");
    add.args(["luksAddKey", "--batch-mode", "--unbound", "--key-size=256"]);
    add.args(["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"]);
    succeed(add.arg(&disk).arg(machine.at("old")), b"");
    kill_slot(&disk, "0");
    assert_eq!(slots(&disk), ["1", "2"]);
    let output = verb(&machine, "unenroll", &disk, &[]);
    assert!(opens(&disk, &password), "{}", stderr(&output));
    assert_eq!(output.status.code(), Some(69), "{}", stderr(&output));
    assert!(stderr(&output).contains("nothing else opens"));
    assert!(machine.at("keys/seckey.txt").exists());
}

#[test]
fn a_failed_enrolment_trusts_no_server() {
    let machine = Machine::new();
    let disk = machine.disk("disk");
    enroll_unread(&machine, &disk, &["--server-key-id", super::SERVER]);
    let trusted = fs::read_to_string(machine.at("keys/trusted-servers")).unwrap_or_default();
    assert!(!trusted.contains(super::SERVER), "{trusted}");
}

/// Enrols `disk` as the system `name` with keys of its own, or carries out another verb for it.
fn system(machine: &Machine, words: &[&str], name: &str, disk: &Path) -> Output {
    let mut command = nightlatch(words);
    command.arg("--dir").arg(machine.at(name));
    if words[0] == "enroll" {
        command.args(["--name", name]);
    }
    if words[0] != "unenroll" && !words.contains(&"--finish") {
        command.arg("--no-ssh");
        command.arg("--key-file").arg(machine.at("old"));
    }
    let output = run(command.arg(disk), b"");
    assert!(output.status.success(), "{words:?}: {}", stderr(&output));
    output
}

#[test]
fn two_systems_on_one_disk_leave_each_other_alone() {
    let machine = Machine::new();
    let disk = machine.disk("disk");
    let open = |name: &str, output: &Output| {
        let section = std::str::from_utf8(&output.stdout).unwrap();
        assert!(section.starts_with(&format!("[{name}]\n")), "{section}");
        Gnupg::with_keys(&machine.at(name)).open(section)
    };
    let first = system(&machine, &["enroll"], "debian", &disk);
    let first = open("debian", &first);
    let rescue = system(&machine, &["enroll", "--add"], "rescue", &disk);
    let rescue = open("rescue", &rescue);
    let output = system(&machine, &["rotate"], "debian", &disk);
    let second = open("debian", &output);
    assert!(opens(&disk, &second) && opens(&disk, &rescue) && !opens(&disk, &first));
    let said = stderr(&output);
    assert!(
        said.contains("\"rescue\" in key slot 2 with other keys: it stays"),
        "{said}"
    );
    // In two steps: the newest of the disk is the other system's.
    let third = system(&machine, &["rotate", "--keep-old"], "debian", &disk);
    let third = open("debian", &third);
    let newer = system(&machine, &["rotate"], "rescue", &disk);
    let newer = open("rescue", &newer);
    system(&machine, &["rotate", "--finish"], "debian", &disk);
    assert!(opens(&disk, &third) && opens(&disk, &newer));
    assert!(!opens(&disk, &second) && !opens(&disk, &rescue));
    let fourth = system(&machine, &["enroll"], "debian", &disk);
    let fourth = open("debian", &fourth);
    assert!(opens(&disk, &fourth) && opens(&disk, &newer) && !opens(&disk, &third));
    let output = system(&machine, &["unenroll"], "debian", &disk);
    assert!(opens(&disk, &newer) && opens(&disk, b"old") && !opens(&disk, &fourth));
    assert!(!stderr(&output).contains("nightlatch remove rescue"));
    assert_eq!(tokens(&disk).len(), 1);
    // What has no keys here any more is nobody else's to take.
    let output = verb(&machine, "unenroll", &disk, &[]);
    assert_eq!(output.status.code(), Some(69), "{}", stderr(&output));
    assert!(opens(&disk, &newer));
}

#[test]
fn killed_before_or_after_any_change_an_unenrolment_is_finished_by_the_next() {
    for change in ["luksKillSlot", "token remove"] {
        for moment in ["before", "after"] {
            let machine = Machine::new();
            let disk = machine.disk("disk");
            machine.enroll(&[&disk], &[]);
            let words = change.replace(' ', "*");
            let kill = "kill -KILL $PPID; exit 1";
            let script = match moment {
                "before" => kill.to_owned(),
                _ => format!("/usr/sbin/cryptsetup \"$@\"; {kill}"),
            };
            let search = machine.cryptsetup(&format!("case \"$*\" in *{words}*) {script};; esac"));
            let mut command = nightlatch(&["unenroll", "--dir"]);
            command.arg(machine.at("keys")).arg(&disk);
            let output = run(command.env("PATH", search), b"");
            let signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
            assert_eq!(signal, Some(9), "{change} {moment}: {}", stderr(&output));
            let next = verb(&machine, "unenroll", &disk, &[]);
            // After the last step there is nothing left to finish.
            let nothing_left = (change, moment) == ("token remove", "after");
            assert_eq!(next.status.success(), !nothing_left, "{}", stderr(&next));
            assert_eq!(slots(&disk), ["0"], "{change} {moment}");
            assert!(tokens(&disk).is_empty(), "{change} {moment}");
            assert!(!machine.at("keys/seckey.txt").exists(), "{change} {moment}");
        }
    }
}

#[test]
fn the_only_key_slot_that_a_person_knows_is_not_replaced() {
    let machine = Machine::new();
    let disk = machine.disk("disk");
    let section = machine.enroll(&[&disk], &[]);
    // As after --passphrase: a person knows what the enrolment's key slot holds, and nothing else.
    let first = machine.at("first");
    let known = Gnupg::with_keys(&machine.at("keys")).open(&section);
    fs::write(&first, &known).unwrap();
    kill_slot(&disk, "0");
    let before = header(&disk);
    for (name, more) in [("rotate", &[][..]), ("enroll", &["--name", "foo"][..])] {
        let mut command = nightlatch(&[name, "--no-ssh", "--key-file"]);
        command.arg(&first).arg("--dir").arg(machine.at("keys"));
        let output = run(command.args(more).arg(&disk), b"");
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(69), "{name}: {said}");
        assert!(said.contains("hint: ") && said.contains("cryptsetup luksAddKey"));
        assert!(header(&disk) == before, "{name}");
    }
    let mut keep = nightlatch(&["rotate", "--no-ssh", "--keep-old", "--key-file"]);
    keep.arg(&first).arg("--dir").arg(machine.at("keys"));
    succeed(keep.arg(&disk), b"");
    let output = verb(&machine, "rotate", &disk, &["--finish"]);
    assert_eq!(output.status.code(), Some(69), "{}", stderr(&output));
    assert!(opens(&disk, &known));
}
