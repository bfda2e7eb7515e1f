use super::*;
use crate::samples::{header, host_keys};
use nightlatch_core::secret_name::SecretName;

/// The values that would be printed where some machines have taken theirs.
fn taken(each: bool, dry_run: bool, done: &[&str]) -> Vec<(Option<String>, String)> {
    let hosts = [host_keys("web1", 1), host_keys("web2", 2)];
    let values = match each {
        true => Values::Each(vec![Secret::new(b"x".to_vec()), Secret::new(b"y".to_vec())]),
        false => Values::One(Secret::new(b"z".to_vec())),
    };
    let name = SecretName::new("a").unwrap();
    let mut report = Report::new(name, dry_run, Approvals::All(false));
    for (host, number) in hosts.iter().zip(1..) {
        match done.contains(&host.name.as_str()) {
            true => report.done(host.name.as_str(), &header(number, 1)),
            false => report.failed(host.name.as_str(), Failure::new(EX_DATAERR, "no")),
        }
    }
    let taken = values.taken(&hosts, &report).into_iter();
    let text = |value: &Secret| String::from_utf8(value.expose().to_vec()).unwrap();
    let owned = taken.map(|(name, value)| (name.map(str::to_owned), text(value)));
    owned.collect()
}

#[test]
fn only_values_that_are_somewhere_are_printed() {
    let line = |name: &str, value: &str| (Some(name.to_owned()), value.to_owned());
    let one = [(None, "z".to_owned())];
    assert_eq!(taken(false, false, &["web2"]), one);
    assert_eq!(taken(false, false, &[]), []);
    assert_eq!(taken(true, false, &["web2"]), [line("web2", "y")]);
    for each in [true, false] {
        assert_eq!(taken(each, true, &["web1", "web2"]), [], "a dry run");
    }
}

#[test]
fn the_first_failure_gives_the_exit_status() {
    let pipe = || Err(Failure::new(EX_NOINPUT, "closed"));
    let exit = |result: Result<u8, Failure>| result.unwrap_or_else(|it| it.exit());
    assert_eq!(exit(both(0, Ok(()))), 0);
    assert_eq!(exit(both(0, pipe())), EX_NOINPUT);
    assert_eq!(exit(both(EX_DATAERR, pipe())), EX_DATAERR);
}

#[test]
fn a_file_may_have_several_sealed_secrets() {
    let sealed = |host| SealedSecret::new(&header(host, 1), b"message").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f");
    let read = |text: &str| {
        std::fs::write(&file, text).unwrap();
        read_sealed(&file).map_err(|failure| failure.to_string())
    };
    let (one, two) = (sealed(1), sealed(2));
    let both = format!("{}\n{}\n", one.to_text(), two.to_text());
    assert_eq!(read(&both), Ok(vec![one.clone(), two]));
    assert_eq!(read(&one.to_base64()), Ok(vec![one]));
    assert_eq!(read("\n"), Ok(vec![]));
    assert!(read(&both[..both.len() - 40]).is_err());
    assert!(read(&format!("{both}more")).is_err());
}
