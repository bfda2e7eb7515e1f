//! Reads the named secrets and policies of a section.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::ClientSettings;
use super::secrets::{ConfiguredSecrets, POLICY, SECRET, SecretPolicy, is_key};
use super::section::SectionReader;
use crate::sealed_secret::SealedSecret;
use crate::secret_name::SecretName;
use crate::settings::{Problem, SettingsError, value};

impl<'i> SectionReader<'i> {
    /// The named secrets and policies. `settings` are those of the section.
    pub(super) fn named_secrets(&mut self, settings: &ClientSettings) -> ConfiguredSecrets {
        let entries = self.chain.iter().flat_map(|(section, _)| section.entries());
        let keys: BTreeSet<&'i str> = entries
            .map(|(key, _)| key)
            .filter(|it| is_key(it))
            .collect();
        let mut secrets = ConfiguredSecrets::default();
        for key in keys {
            let name = key.strip_prefix(SECRET).or(key.strip_prefix(POLICY));
            let Some(name) = self.secret_name(key, name.unwrap_or_default()) else {
                continue;
            };
            if key.starts_with(POLICY) {
                let policy = self.take(key, |text| text.parse().map_err(Problem::Policy));
                // Where the section is used all the same, nothing is released that a person was to decide on.
                let policy = policy.unwrap_or(SecretPolicy { approval: true });
                secrets.policies.insert(name, policy);
            } else if let Some(sealed) = self.sealed_secret(key, &name, settings) {
                secrets.sealed.insert(name, Arc::new(sealed));
            }
        }
        secrets
    }

    fn secret_name(&mut self, key: &str, name: &str) -> Option<SecretName> {
        let problem = match SecretName::new(name) {
            Ok(name) if !name.is_boot() => return Some(name),
            Ok(_) => Problem::NamedBoot,
            Err(error) => Problem::SecretName(error),
        };
        self.refuse(Some(key), problem);
        None
    }

    fn sealed_secret(
        &mut self,
        key: &str,
        name: &SecretName,
        settings: &ClientSettings,
    ) -> Option<SealedSecret> {
        let text = self.text(key)?;
        let bytes = match value::base64(&text) {
            Ok(bytes) => bytes,
            Err(fault) => {
                let mut place = self.place(key);
                // References shift the lines; then only the key's line is known.
                if let (Cow::Borrowed(_), Some((entry, _))) = (&text, self.find(key)) {
                    place.location.line = entry.line_of(fault.line);
                }
                let problem = fault.problem;
                self.errors.push(SettingsError { place, problem });
                return None;
            }
        };
        let problem = match SealedSecret::from_bytes(bytes.expose().to_vec()) {
            Ok(sealed) => match fits(&sealed, name, settings) {
                Ok(()) => return Some(sealed),
                Err(problem) => problem,
            },
            Err(error) => Problem::SealedSecret(error),
        };
        self.refuse(Some(key), problem);
        None
    }
}

/// Refuses a sealed secret that the machine of this section would refuse.
fn fits(
    sealed: &SealedSecret,
    name: &SecretName,
    settings: &ClientSettings,
) -> Result<(), Problem> {
    let header = sealed.header();
    let host = settings.host_key_id.ok_or(Problem::NoHostKeyId)?;
    if header.host != host {
        return Err(Problem::SecretOfOtherHost {
            found: Box::new(header.host),
            host: Box::new(host),
        });
    }
    if header.name != *name {
        return Err(Problem::SecretOfOtherName(header.name.clone()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::key_id::KeyId;
    use crate::sealed_secret::{SealedSecret, SecretHeader};
    use crate::secret_name::SecretName;
    use crate::settings::client::{ConfiguredSecrets, parse, parse_for_start};
    use crate::time::Wall;

    fn host(number: u8) -> KeyId {
        KeyId::from_bytes([number; 32]).unwrap()
    }

    fn sealed(number: u8, name: &str) -> SealedSecret {
        let header = SecretHeader {
            host: host(number),
            name: SecretName::new(name).unwrap(),
            serial: 7,
            created: Wall::from_unix_micros(0),
            expires: None,
        };
        SealedSecret::new(&header, b"message").unwrap()
    }

    /// The named secrets of a section with these lines, or its errors.
    fn read(lines: &str) -> Result<ConfiguredSecrets, Vec<String>> {
        let text = format!("[m]\nkey_id = {}\nsecret = YWJj\n{lines}\n", host(1));
        let parsed = parse(&[("f".to_owned(), text)])
            .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        assert_eq!(parsed.warnings, []);
        let client = parsed.value.into_iter().next();
        Ok(client.unwrap().named)
    }

    #[test]
    fn a_section_has_named_secrets_and_policies() {
        let secret = sealed(2, "postgres.password");
        let base64 = secret.to_base64();
        let (start, end) = base64.split_at(60);
        let named = read(&format!(
            "host_key_id = {}\nsecret.postgres.password =\n  {start}\n\t{end}\n\
             policy.postgres.password = approval\npolicy.pin = , approval approval\npolicy.free =",
            host(2)
        ))
        .unwrap();
        let name = |name| SecretName::new(name).unwrap();
        let found = named.sealed.get(&name("postgres.password"));
        assert_eq!(found.map(|it| &**it), Some(&secret));
        assert_eq!(named.sealed.len(), 1);
        for (of, approval) in [("postgres.password", true), ("pin", true), ("free", false)] {
            assert_eq!(named.needs_approval(&name(of)), approval, "{of}");
        }
    }

    #[test]
    fn what_a_machine_would_refuse_is_an_error_in_its_place() {
        let (of_2, of_3) = (sealed(2, "pin").to_base64(), sealed(3, "pin").to_base64());
        let key = format!("host_key_id = {}\n", host(2));
        for (lines, expected) in [
            (
                format!("{key}secret.pin = {of_3}"),
                format!("f:5: [m] secret.pin: the secret is sealed for the host key {}", host(3)),
            ),
            (
                format!("{key}secret.pni = {of_2}"),
                "f:5: [m] secret.pni: the secret is sealed under the name pin;".to_owned(),
            ),
            (
                format!("secret.pin = {of_2}"),
                "f:4: [m] secret.pin: a named secret is for a host key, and this section has no".to_owned(),
            ),
            (
                format!("{key}secret.pin = YWJj"),
                "f:5: [m] secret.pin: no sealed secret: it does not begin with the header".to_owned(),
            ),
            (
                format!("{key}secret.pin = YWJj\n  Y!"),
                "f:6: [m] secret.pin: expected base64".to_owned(),
            ),
            (
                format!("{key}secret.boot = {of_2}"),
                "f:5: [m] secret.boot: boot is the password of the disk".to_owned(),
            ),
            (
                "policy.-x = approval".to_owned(),
                "f:4: [m] policy.-x: a secret's name begins with".to_owned(),
            ),
            (
                "policy.pin = approval, Aproval".to_owned(),
                "f:4: [m] policy.pin: expected \"approval\", found \"Aproval\"; did you mean approval?".to_owned(),
            ),
        ] {
            let errors = read(&lines).unwrap_err();
            assert_eq!(errors.len(), 1, "{errors:?}");
            assert!(errors[0].starts_with(&expected), "{}", errors[0]);
        }
    }

    #[test]
    fn at_a_start_a_named_secret_with_a_fault_is_left_out_alone() {
        let (good, other) = (sealed(2, "good").to_base64(), sealed(3, "pin").to_base64());
        let text = format!(
            "[m]\nkey_id = {}\nsecret = YWJj\nhost_key_id = {}\nsecret.good = {good}\nsecret.pin = {other}\n\
             secret.refers = %(nowhere)s\npolicy.good = aproval\n",
            host(1),
            host(2)
        );
        let files = [("f".to_owned(), text.clone())];
        let (parsed, left_out) = parse_for_start(&files).unwrap();
        let lines: Vec<_> = left_out.iter().map(|it| it.place.location.line).collect();
        assert_eq!(lines, [6, 7, 8]);
        let named = &parsed.value[0].named;
        let good = SecretName::new("good").unwrap();
        assert_eq!(named.sealed.keys().collect::<Vec<_>>(), [&good]);
        assert!(named.needs_approval(&good));
        assert_eq!(parse(&files).unwrap_err().len(), 3);
        // Any other fault is one of the section.
        let faulty = [("f".to_owned(), text.replace("YWJj", "Y!"))];
        assert_eq!(parse_for_start(&faulty).unwrap_err().len(), 1);
    }

    #[test]
    fn a_public_key_is_base64() {
        let errors = read("host_openpgp = mDM!").unwrap_err();
        assert!(
            errors[0].starts_with("f:4: [m] host_openpgp: expected the base64"),
            "{errors:?}"
        );
        assert_eq!(
            read("host_openpgp = mDM\n  E"),
            Ok(ConfiguredSecrets::default())
        );
    }
}
