use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, symlink};
use std::path::Path;

use nightlatch_core::time::Wall;
use nightlatch_openpgp::Algorithm;
use nightlatch_proto::tls::RawKeyKind;
use tempfile::TempDir;

use super::*;
use crate::boot_files::CLIENT_CONF;
use crate::image::{show, stage};
use crate::keys::{Existing, NewKeys};

/// The files of a machine with the program and, in `keys`, its keys.
fn machine(keys: &str) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("usr/sbin")).unwrap();
    // Stands in for the program, which refuses what it does not know.
    let program = "#!/bin/sh\ncase \"$*\" in *--nonsense*) echo unknown >&2; exit 64 ;; esac\n";
    script(root.path(), "usr/sbin/nightlatch-boot", program);
    let keys = root.path().join(keys);
    fs::create_dir_all(keys.parent().unwrap()).unwrap();
    let new = NewKeys {
        name: "machine",
        email: "",
        comment: "",
        primary: Algorithm::Curve25519,
        encryption: Algorithm::Curve25519,
        expires: None,
        tls: RawKeyKind::Ed25519,
        created: Wall::from_unix_micros(0),
    };
    keys::KeyDirectory::new(&keys)
        .make(&new, Existing::Refuse)
        .unwrap();
    root
}

fn write(root: &Path, path: &str, mode: u32, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = OpenOptions::new();
    let file = file.write(true).create_new(true).mode(mode).open(path);
    file.unwrap().write_all(text.as_bytes()).unwrap();
}

/// A script, which the system refuses to run while anybody has it open for writing: another test's child.
fn script(root: &Path, path: &str, text: &str) {
    write(root, &format!("{path}.new"), 0o755, text);
    let copied = std::process::Command::new("cp")
        .arg("-p")
        .arg(root.join(format!("{path}.new")))
        .arg(root.join(path))
        .status();
    assert!(copied.unwrap().success());
    fs::remove_file(root.join(format!("{path}.new"))).unwrap();
}

fn paths(plan: &ImagePlan) -> Vec<&str> {
    let files = plan.files.iter().map(|one| one.path.as_str());
    let links = plan.links.iter().map(|one| one.path.as_str());
    let programs = plan.programs.iter().map(|one| one.path.as_str());
    files.chain(links).chain(programs).collect()
}

/// The text of a file that was made for the image.
fn made<'p>(plan: &'p ImagePlan, name: &str) -> &'p str {
    let path = format!("{FOLDER}/{name}");
    let file = plan.files.iter().find(|file| file.path == path).unwrap();
    match &file.source {
        FileSource::Text(text) => text,
        FileSource::Copy(_) => panic!("{name} is a copy"),
    }
}

const KEYS: &str = "etc/nightlatch/keys";

#[test]
fn a_machine_without_settings_has_its_keys_and_one_program_in_the_image() {
    let root = machine(KEYS);
    // Nothing of a server goes in, wherever it lies.
    for file in [
        "clients.conf",
        "nightlatch.conf",
        "keys/.new-keys.partial",
        "keys/luks-header-x.img",
    ] {
        write(
            root.path(),
            &format!("etc/nightlatch/{file}"),
            0o600,
            "secret",
        );
    }
    let plan = ImagePlan::of(root.path()).unwrap();
    assert_eq!(
        paths(&plan),
        [
            "/conf/conf.d/nightlatch/pubkey.txt",
            "/conf/conf.d/nightlatch/seckey.txt",
            "/conf/conf.d/nightlatch/tls-pubkey.pem",
            "/conf/conf.d/nightlatch/tls-privkey.pem",
            "/lib/mandos/plugins.d/mandos-client",
            "/usr/bin/nightlatch-boot",
        ]
    );
    assert_eq!(plan.remarks, Vec::<String>::new());
    assert!(
        plan.files
            .iter()
            .all(|file| file.mode == 0o400 && file.owner == Owner::ROOT)
    );
}

#[test]
fn a_boot_tries_the_servers_that_the_agent_remembers_unless_others_are_named() {
    let root = machine(KEYS);
    let state = "var/lib/nightlatch-agent/state/remembered-servers";
    write(
        root.path(),
        state,
        0o600,
        "[fe80::1]:4711\nserver.example:1\n",
    );
    let name = "remembered-servers";
    let plan = ImagePlan::of(root.path()).unwrap();
    assert_eq!(made(&plan, name), "[fe80::1]:4711\n");
    // It is the agent's folder: nothing in it can keep an image from being made.
    let file = root.path().join(state);
    fs::remove_file(&file).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &file,
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    let plan = ImagePlan::of(root.path()).unwrap();
    assert!(
        plan.remarks[0].contains("expected a file"),
        "{:?}",
        plan.remarks
    );
    fs::remove_file(&file).unwrap();
    write(root.path(), state, 0o600, "[fe80::1]:4711\n");
    let connect = "[client]\nconnect = 192.0.2.1:4711\n";
    write(root.path(), "etc/nightlatch/client.conf", 0o644, connect);
    let plan = ImagePlan::of(root.path()).unwrap();
    assert!(!paths(&plan).contains(&format!("{FOLDER}/{name}").as_str()));
}

#[test]
fn a_machine_without_keys_is_told_how_to_get_them() {
    let root = tempfile::tempdir().unwrap();
    let failure = ImagePlan::of(root.path()).unwrap_err();
    assert_eq!(failure.exit(), EX_NOINPUT);
    let text = failure.to_string();
    assert!(text.starts_with("this machine has no keys in "), "{text}");
}

#[test]
fn keys_of_two_machines_are_refused() {
    let (root, other) = (machine(KEYS), machine(KEYS));
    let key = "etc/nightlatch/keys/tls-pubkey.pem";
    fs::copy(other.path().join(key), root.path().join(key)).unwrap();
    assert!(ImagePlan::of(root.path()).is_err());
}

#[test]
fn what_mandos_has_is_taken_where_we_have_none_and_said_so() {
    let root = machine("etc/keys/mandos");
    let path = root.path();
    write(
        path,
        "etc/mandos/plugin-runner.conf",
        0o644,
        "# none\n--disable=x # y\n",
    );
    write(path, "etc/mandos/plugins.d/own", 0o755, "");
    write(path, "etc/mandos/plugins.d/mandos-client", 0o755, "");
    write(path, "etc/mandos/plugins.d/README", 0o644, "");
    write(path, "etc/mandos/plugin-helpers/help", 0o755, "");
    write(
        path,
        "etc/passwd",
        0o644,
        "_mandos:x:105:110::/:/bin/false\n",
    );
    fs::create_dir_all(path.join("etc/nightlatch/plugins.d")).unwrap();
    let plan = ImagePlan::of(path).unwrap();
    let paths = paths(&plan);
    assert!(paths.contains(&"/lib/mandos/plugins.d/own"));
    assert!(paths.contains(&"/lib/mandos/plugin-helpers/help"));
    // A client of the administrator's own stands in the place of ours.
    assert!(plan.links.is_empty() && paths.contains(&"/lib/mandos/plugins.d/mandos-client"));
    assert_eq!(
        made(&plan, "plugin-runner.conf"),
        "--userid=105\n--groupid=110\n# none\n--disable=x # y\n"
    );
    let remarks = plan.remarks.join("\n");
    for said in [
        "/etc/nightlatch/keys has no keys",
        "plugins.d has none",
        "README: expected an exec",
    ] {
        assert!(remarks.contains(said), "{remarks}");
    }
}

#[test]
fn settings_become_options_of_the_client() {
    let root = machine(KEYS);
    let text = "[client]\nconnect = 192.0.2.1:47\ninterface = eth0\noptions = --retry=5\nfoo = 1\n";
    write(root.path(), CLIENT_CONF, 0o644, text);
    let plan = ImagePlan::of(root.path()).unwrap();
    assert_eq!(
        made(&plan, "client.options"),
        "--connect=192.0.2.1:47\n--interface=eth0\n--retry=5\n"
    );
    assert_eq!(plan.remarks.len(), 1);
    fs::write(
        root.path().join(CLIENT_CONF),
        "[client]\noptions = --nonsense\n",
    )
    .unwrap();
    let failure = ImagePlan::of(root.path()).unwrap_err();
    assert_eq!(failure.exit(), EX_CONFIG);
    assert!(failure.to_string().ends_with("unknown"));
}

#[test]
fn the_learned_network_goes_along_as_it_is_and_names_mean_what_a_boot_has() {
    let root = machine(KEYS);
    let conf = "# mine\n[eth0]\nmatch-mac = 52:54:00:00:00:01\n[eth0.5]\nkind = vlan\nid = 5\nparent = eth0\n\
                stands-for = br0\n[bad]\nkind = tun\n";
    write(root.path(), "etc/nightlatch/network.conf", 0o600, conf);
    let settings = "[client]\nconnect = [fe80::1%br0]:47\ninterface = br0, eth1\n";
    write(root.path(), CLIENT_CONF, 0o644, settings);
    // Nothing else of a network counts: this is another machine's root.
    write(
        root.path(),
        "etc/netplan/x.yaml",
        0o644,
        "network: {vlans: {x: {id: 1, link: eth9}}}",
    );
    let plan = ImagePlan::of(root.path()).unwrap();
    let place = format!("{FOLDER}/network.conf");
    let file = plan.files.iter().find(|file| file.path == place).unwrap();
    let source = root.path().join("etc/nightlatch/network.conf");
    assert_eq!(file.source, FileSource::Copy(source));
    assert_eq!((file.mode, file.owner), (0o644, Owner::ROOT));
    assert_eq!(plan.modules, ["ipv6", "8021q"]);
    assert_eq!(
        made(&plan, "client.options"),
        "--connect=[fe80::1%eth0.5]:47\n--interface=eth0.5,eth1\n"
    );
    assert!(
        plan.remarks[0].contains("network.conf: line 10: expected one of device"),
        "{:?}",
        plan.remarks
    );
    fs::write(root.path().join(CLIENT_CONF), "[client]\nnetwork = no\n").unwrap();
    assert!(!paths(&ImagePlan::of(root.path()).unwrap()).contains(&place.as_str()));
}

#[test]
fn a_network_hook_brings_its_files_and_modules() {
    let root = machine(KEYS);
    let hooks = "etc/nightlatch/network-hooks.d";
    script(
        root.path(),
        &format!("{hooks}/wireless"),
        "#!/bin/sh\n[ \"$1\" = \"$MODE\" ] || exit 1\ncase \"$MODE\" in\nfiles) echo /bin/sh; echo /etc/passwd /etc/other;\
         echo nowhere; echo /etc/../x;;\nmodules) echo tun; echo 'a b'; echo tun;;\nesac\n",
    );
    write(root.path(), &format!("{hooks}/wireless.conf"), 0o600, "psk");
    write(root.path(), &format!("{hooks}/no hook"), 0o755, "");
    let plan = ImagePlan::of(root.path()).unwrap();
    let programs: Vec<&str> = plan.programs.iter().map(|one| one.path.as_str()).collect();
    assert_eq!(
        programs,
        [
            "/usr/bin/nightlatch-boot",
            "/bin/sh",
            "/etc/other",
            "/lib/mandos/network-hooks.d/wireless"
        ]
    );
    assert_eq!(plan.modules, ["ipv6", "tun"]);
    let conf = plan.files.last().unwrap();
    assert_eq!((conf.mode, conf.owner), (0o600, Owner::ROOT));
    assert_eq!(plan.remarks.len(), 3, "{:?}", plan.remarks);
}

#[test]
fn a_faulty_file_of_settings_is_refused() {
    let root = machine(KEYS);
    write(root.path(), CLIENT_CONF, 0o644, "[client]\nconnect = x\n");
    assert_eq!(ImagePlan::of(root.path()).unwrap_err().exit(), EX_CONFIG);
}

#[test]
fn no_key_is_ever_shown() {
    let root = machine(KEYS);
    let plan = ImagePlan::of(root.path()).unwrap();
    let key = fs::read_to_string(root.path().join(KEYS).join("tls-privkey.pem")).unwrap();
    let secret = key.lines().nth(1).unwrap();
    for shown in [
        show::people(&plan, false),
        show::json(&plan).unwrap(),
        show::shell(&plan),
    ] {
        assert!(!shown.contains(secret) && !format!("{plan:?}").contains(secret));
    }
}

// What is made for the image lies in a folder that everybody can go to, for as long as that takes and when it is killed.
#[test]
fn no_account_but_root_owns_a_key_whatever_accounts_there_are() {
    for accounts in ["", "_mandos:x:105:110::/:\n", "_nightlatch:x:106:111::/:\n"] {
        let root = machine(KEYS);
        write(root.path(), "etc/passwd", 0o644, accounts);
        let plan = ImagePlan::of(root.path()).unwrap();
        let folder = plan
            .directories
            .iter()
            .find(|it| it.path == FOLDER)
            .unwrap();
        assert_eq!((folder.mode, folder.owner), (0o700, Owner::ROOT));
        let mut keys = plan.files.iter().filter(|it| it.path.starts_with(FOLDER));
        assert!(keys.all(|it| it.owner == Owner::ROOT), "{accounts}");
    }
}

#[test]
fn a_folder_that_is_there_already_becomes_what_the_plan_says_and_a_link_is_refused() {
    if !nightlatch_test_support::is_root() {
        return;
    }
    let root = machine(KEYS);
    let plan = ImagePlan::of(root.path()).unwrap();
    let image = tempfile::tempdir().unwrap();
    let folder = image.path().join("conf/conf.d/nightlatch");
    fs::create_dir_all(&folder).unwrap();
    std::os::unix::fs::chown(&folder, Some(65534), Some(65534)).unwrap();
    stage::write(&plan, image.path()).unwrap();
    let about = fs::metadata(&folder).unwrap();
    assert_eq!(
        (about.mode() & 0o7777, about.uid(), about.gid()),
        (0o700, 0, 0)
    );
    fs::remove_dir_all(&folder).unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::set_permissions(
        outside.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    symlink(outside.path(), &folder).unwrap();
    assert!(stage::write(&plan, image.path()).is_err());
    assert_eq!(fs::metadata(outside.path()).unwrap().mode() & 0o7777, 0o755);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn what_is_staged_has_its_modes_and_stays_within_its_folder() {
    if !nightlatch_test_support::is_root() {
        return;
    }
    let root = machine(KEYS);
    write(
        root.path(),
        CLIENT_CONF,
        0o644,
        "[client]\nconnect = 192.0.2.1:47\n",
    );
    let plan = ImagePlan::of(root.path()).unwrap();
    let image = tempfile::tempdir().unwrap();
    let image = image.path();
    fs::create_dir_all(image.join("usr/lib")).unwrap();
    // What would lead out of the image on the machine leads to a place in it.
    symlink("/usr/lib", image.join("lib")).unwrap();
    for _ in 0..2 {
        stage::write(&plan, image).unwrap();
    }
    let folder = image.join("conf/conf.d/nightlatch");
    let about = |name: &str| {
        let about = fs::metadata(folder.join(name)).unwrap();
        (about.mode() & 0o7777, about.uid(), about.gid())
    };
    assert_eq!(about(""), (0o700, 0, 0));
    assert_eq!(about("seckey.txt"), (0o400, 0, 0));
    assert_eq!(about("client.options"), (0o644, 0, 0));
    assert_eq!(
        fs::read(folder.join("seckey.txt")).unwrap(),
        fs::read(root.path().join(KEYS).join("seckey.txt")).unwrap()
    );
    let link = image.join("usr/lib/mandos/plugins.d/mandos-client");
    assert_eq!(
        fs::read_link(link).unwrap(),
        Path::new("/usr/bin/nightlatch-boot")
    );
    let shell = show::shell(&plan);
    let program = root.path().join("usr/sbin/nightlatch-boot");
    assert_eq!(
        shell,
        format!(
            "module\tipv6\nprogram\t{}\t/usr/bin/nightlatch-boot\n",
            program.display()
        )
    );
}
