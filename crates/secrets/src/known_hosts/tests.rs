use super::*;
use crate::samples::host_keys as keys;

const OTHER: u8 = 9;

/// `--accept-changed-key` for the machine as it is in `hosts`.
fn accept(hosts: &[HostKeys], name: &str) -> String {
    let host = hosts.iter().find(|it| it.name.as_str() == name).unwrap();
    format!("{name}={}", host.openpgp.fingerprint())
}

/// The same keys under other names or ids.
fn but(keys: &HostKeys, name: &str, host: u8) -> HostKeys {
    HostKeys {
        openpgp: PublicKey::from_base64(&keys.openpgp.to_base64().unwrap()).unwrap(),
        ..crate::samples::host_keys(name, host)
    }
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn config(&self) -> ConfigFolder {
        ConfigFolder::at(&self.0.path().join("nightlatch"))
    }

    fn open(&self) -> KnownHosts {
        KnownHosts::open(self.config()).unwrap()
    }

    /// Checks and saves as one run of the program.
    fn run(&self, hosts: &[HostKeys], accepted: &[&str]) -> Result<usize, String> {
        let mut known = self.open();
        let accepted: Vec<Acceptance> = accepted.iter().map(|it| it.parse().unwrap()).collect();
        let news = known.check(hosts, &accepted);
        let news = news.map_err(|failure| failure.to_string())?;
        known.save(hosts).unwrap();
        Ok(news.len())
    }

    fn text(&self) -> String {
        fs::read_to_string(self.config().file(FILE)).unwrap()
    }
}

#[test]
fn keys_are_pinned_once_and_found_again() {
    let folder = Folder::new();
    let hosts = [keys("web1", 1), keys("two words", 2)];
    assert_eq!(folder.run(&hosts, &[]), Ok(2));
    assert_eq!(folder.run(&hosts, &[]), Ok(0));
    let lines: Vec<String> = hosts.iter().map(|it| Pin::of(it).line() + "\n").collect();
    assert_eq!(folder.text(), lines.concat());
    let found = folder.open().find("two words").unwrap();
    assert_eq!(Pin::of(&found), Pin::of(&hosts[1]));
    let failure = folder.open().find("web2").unwrap_err();
    assert!(failure.hint_text().unwrap().contains("--host-key"));
}

#[test]
fn a_changed_part_refuses_all_until_it_is_accepted() {
    let web = keys("web1", 1);
    let changes = [
        ("OpenPGP key", keys("web1", 1)),
        ("host key", but(&web, "web1", OTHER)),
        ("name web1, now db1", but(&web, "db1", 1)),
        ("OpenPGP key", keys("web1", OTHER)),
    ];
    for (said, changed) in changes {
        let folder = Folder::new();
        assert_eq!(folder.run(&[but(&web, "web1", 1)], &[]), Ok(1));
        let before = folder.text();
        let now = Pin::of(&changed);
        let hosts = [keys("new", 7), changed];
        let error = folder.run(&hosts, &[&accept(&hosts, "new")]).unwrap_err();
        assert!(error.contains(said), "{error}");
        assert!(error.contains("nothing was sealed or sent"), "{error}");
        if now.openpgp != web.openpgp.fingerprint() {
            for fingerprint in [now.openpgp, web.openpgp.fingerprint()] {
                assert!(error.contains(&fingerprint.to_string()), "{error}");
            }
        }
        assert_eq!(folder.text(), before, "{said}");
        let mut accepted = vec![format!("{}={}", now.name, now.openpgp)];
        if now.name.as_str() == "db1" {
            let error = folder.run(&hosts, &[&accepted[0]]).unwrap_err();
            assert!(error.contains(said), "{error}");
            accepted.push(format!("web1={}", now.openpgp));
        }
        let accepted: Vec<&str> = accepted.iter().map(String::as_str).collect();
        assert_eq!(folder.run(&hosts, &accepted), Ok(1 + accepted.len()));
        assert_eq!(folder.run(&hosts, &[]), Ok(0));
        assert_eq!(folder.text().lines().count(), 2, "the old pin is gone");
    }
}

#[test]
fn a_key_is_accepted_only_by_its_fingerprint() {
    let folder = Folder::new();
    folder.run(&[keys("web1", 1)], &[]).unwrap();
    let before = folder.text();
    let compared = [keys("web1", 1)];
    let failure = folder.open().check(&compared, &[]).unwrap_err();
    let accepted = accept(&compared, "web1");
    let hint = failure.hint_text().unwrap();
    let option = format!("--accept-changed-key {accepted};");
    assert!(hint.contains(&option), "{hint}");
    // The server names another key once the person has compared the first.
    let later = [keys("web1", 1)];
    let error = folder.run(&later, &[&accepted]).unwrap_err();
    assert!(error.contains("accepted key"), "{error}");
    assert_eq!(folder.text(), before);
    // At the first use, too.
    let error = folder.run(&[keys("db1", 2)], &[&accepted.replace("web1", "db1")]);
    assert!(error.unwrap_err().contains("accepted key"));
    assert_eq!(folder.run(&compared, &[&accepted]), Ok(1));
}

#[test]
fn who_accepts_one_machine_gives_up_no_pin_of_another() {
    let folder = Folder::new();
    let (web1, web2) = (keys("web1", 1), keys("web2", 2));
    folder
        .run(&[but(&web1, "web1", 1), but(&web2, "web2", 2)], &[])
        .unwrap();
    let before = folder.text();
    // The key of one machine for another: alone, and exchanged.
    let alone = [but(&web2, "web1", 1)];
    let exchanged = [but(&web2, "web1", 1), but(&web1, "web2", 2)];
    for hosts in [&alone[..], &exchanged] {
        let accepted = accept(hosts, "web1");
        let error = folder.run(hosts, &[&accepted]).unwrap_err();
        assert!(error.contains("name web2, now web1"), "{error}");
        assert_eq!(folder.text(), before);
    }
    let both = ["web1", "web2"].map(|name| accept(&exchanged, name));
    let news = folder.run(&exchanged, &[&both[0], &both[1]]);
    assert_eq!(news, Ok(2));
    assert_eq!(folder.text().lines().count(), 2);
}

#[test]
fn an_acceptance_is_a_name_and_a_fingerprint() {
    let fingerprint = "5A".repeat(20);
    for name in ["web1", "a=b", "-x", "two words", "$(id)"] {
        let read: Acceptance = format!("{name}={fingerprint}").parse().unwrap();
        assert_eq!(read.name.as_str(), name);
        assert_eq!(read.openpgp.to_string(), fingerprint);
    }
    let read: Acceptance = format!("$(id)={fingerprint}").parse().unwrap();
    let option = format!("--accept-changed-key '$(id)={fingerprint}'");
    assert_eq!(read.option(), option, "no shell runs a name");
    for text in ["web1", "web1=", "web1=5A", "=5A", "--dry-run"] {
        let error = text.parse::<Acceptance>().unwrap_err();
        assert!(error.contains("NAME=FINGERPRINT"), "{error}");
    }
}

#[test]
fn a_name_that_is_no_line_is_refused() {
    let forged = format!("a\n{}", Pin::of(&keys("web1", 1)).line());
    for name in ["", "DEFAULT", "a\u{1b}[2J", " a", "a ", forged.as_str()] {
        let error = machine_name(name).unwrap_err();
        assert!(error.contains(&format!("{name:?}")), "{error}");
    }
}

#[test]
fn two_machines_with_one_key_are_refused_whatever_is_accepted() {
    let folder = Folder::new();
    let web = keys("web1", 1);
    for twin in [but(&web, "web2", 2), keys("web2", 1)] {
        let hosts = [but(&web, "web1", 1), twin];
        let accepted = ["web1", "web2"].map(|name| accept(&hosts, name));
        let error = folder.run(&hosts, &[&accepted[0], &accepted[1]]);
        let error = error.unwrap_err();
        assert!(
            error.starts_with("web1 and web2 have the same key"),
            "{error}"
        );
    }
}

#[test]
fn two_machines_with_one_name_are_refused() {
    let folder = Folder::new();
    let error = folder.run(&[keys("web1", 1), keys("web1", 2)], &[]);
    assert_eq!(
        error,
        Err("two machines have the name web1: nothing was sealed".to_owned())
    );
}

#[test]
fn what_is_no_pin_is_refused_with_its_place_and_comments_stay() {
    let folder = Folder::new();
    let pin = Pin::of(&keys("web1", 1)).line();
    let text = format!("# mine\n\n{pin}\n");
    drop(folder.config().lock().unwrap());
    fs::write(folder.config().file(FILE), &text).unwrap();
    assert_eq!(folder.run(&[keys("web2", 2)], &[]), Ok(1));
    assert!(folder.text().starts_with(&text), "{}", folder.text());
    for line in ["web1", "ab cd web1", pin.trim_end_matches(" web1")] {
        fs::write(folder.config().file(FILE), format!("# x\n{line}\n")).unwrap();
        let failure = KnownHosts::open(folder.config()).unwrap_err().to_string();
        assert!(
            failure.contains("known-hosts:2: expected HOST-KEY-ID"),
            "{failure}"
        );
    }
}

#[test]
fn a_public_key_that_is_not_the_pinned_one_is_refused() {
    let folder = Folder::new();
    folder.run(&[keys("web1", 1)], &[]).unwrap();
    let id = KeyId::from_bytes([1; 32]).unwrap().to_string();
    let file = folder.config().file(KEYS).join(id);
    fs::write(&file, keys("x", OTHER).openpgp.to_base64().unwrap()).unwrap();
    let failure = folder.open().find("web1").unwrap_err().to_string();
    assert!(failure.contains("expected that of web1"), "{failure}");
}
