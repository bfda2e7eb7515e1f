use nightlatch_core::time::Wall;
use nightlatch_openpgp::{Algorithm, GenerateOptions, generate};

use super::*;

const OTHER: u8 = 9;

fn openpgp() -> PublicKey {
    let pair = generate(&GenerateOptions {
        primary: Algorithm::Curve25519,
        encryption: Algorithm::Curve25519,
        name: "host",
        comment: "",
        email: "",
        created: Wall::from_unix_micros(0),
        expires: None,
    });
    PublicKey::from_armored(pair.unwrap().public_armored.as_bytes()).unwrap()
}

fn keys(name: &str, host: u8) -> HostKeys {
    HostKeys {
        name: name.to_owned(),
        host: KeyId::from_bytes([host; 32]).unwrap(),
        openpgp: openpgp(),
    }
}

/// The same keys under other names or ids.
fn but(keys: &HostKeys, name: &str, host: u8) -> HostKeys {
    HostKeys {
        openpgp: PublicKey::from_base64(&keys.openpgp.to_base64().unwrap()).unwrap(),
        ..self::keys(name, host)
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
        let accepted: Vec<String> = accepted.iter().map(|it| (*it).to_owned()).collect();
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
        let name = changed.name.clone();
        let now = Pin::of(&changed);
        let hosts = [keys("new", 7), changed];
        let error = folder.run(&hosts, &["new"]).unwrap_err();
        assert!(error.contains(said), "{error}");
        assert!(error.contains("nothing was sealed or sent"), "{error}");
        if now.openpgp != web.openpgp.fingerprint() {
            for fingerprint in [now.openpgp, web.openpgp.fingerprint()] {
                assert!(error.contains(&fingerprint.to_string()), "{error}");
            }
        }
        assert_eq!(folder.text(), before, "{said}");
        assert_eq!(folder.run(&hosts, &[name.as_str()]), Ok(2));
        assert_eq!(folder.run(&hosts, &[]), Ok(0));
        assert_eq!(folder.text().lines().count(), 2, "the old pin is gone");
    }
}

#[test]
fn two_machines_with_one_key_are_refused_whatever_is_accepted() {
    let folder = Folder::new();
    let web = keys("web1", 1);
    for twin in [but(&web, "web2", 2), keys("web2", 1)] {
        let error = folder.run(&[but(&web, "web1", 1), twin], &["web1", "web2"]);
        let error = error.unwrap_err();
        assert!(
            error.starts_with("web1 and web2 have the same key"),
            "{error}"
        );
    }
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
    fs::write(&file, openpgp().to_base64().unwrap()).unwrap();
    let failure = folder.open().find("web1").unwrap_err().to_string();
    assert!(failure.contains("expected that of web1"), "{failure}");
}
