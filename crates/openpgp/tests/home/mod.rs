//! A GnuPG home of its own for one test, and gpg run in it; removed with its agent afterwards.

use std::process::{Command, Output};

use nightlatch_test_support::programs;

/// A temporary GnuPG home.
pub(crate) struct Home(tempfile::TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        // Under /tmp in any case: a socket's path has room for 107 bytes only.
        Self(tempfile::tempdir_in("/tmp").unwrap())
    }

    /// Runs gpg with `input` on its standard input.
    pub(crate) fn run(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut command = Command::new("gpg");
        command
            .arg("--homedir")
            .arg(self.0.path())
            .args(["--batch", "--quiet", "--no-tty", "--yes"])
            .args(arguments);
        let output = programs::run(&mut command, input);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "gpg {arguments:?}: {errors}");
        output
    }

    /// Makes a key for `name`: `PRIMARY/ENCRYPTION` in gpg's words.
    pub(crate) fn make_key(&self, name: &str, kind: &str) {
        self.make_key_at(name, kind, "20260101T000000", "0");
    }

    /// Makes a key at another time, that expires after `expires`.
    pub(crate) fn make_key_at(&self, name: &str, kind: &str, time: &str, expires: &str) {
        let (primary, encryption) = kind.split_once('/').unwrap();
        let primary = parameters("Key", primary);
        let encryption = parameters("Subkey", encryption);
        let script = format!(
            "%no-protection\n{primary}\nKey-Usage: sign,auth\n\
             {encryption}\nSubkey-Usage: encrypt\n\
             Name-Real: {name}\nExpire-Date: {expires}\n%commit\n"
        );
        self.run(
            &["--faked-system-time", time, "--full-generate-key"],
            script.as_bytes(),
        );
    }

    pub(crate) fn import(&self, key: &[u8]) {
        self.run(&["--import"], key);
    }

    /// Imports the revocation that gpg has made beside the key.
    pub(crate) fn revoke(&self, fingerprint: &str) {
        let file = format!("openpgp-revocs.d/{fingerprint}.rev");
        let text = std::fs::read_to_string(self.0.path().join(file)).unwrap();
        // gpg puts a colon before the armour, so that nobody imports it by accident.
        self.import(text.replace(":-----BEGIN", "-----BEGIN").as_bytes());
    }

    pub(crate) fn export_secret(&self, name: &str) -> Vec<u8> {
        self.run(&["--armor", "--export-secret-keys", name], b"")
            .stdout
    }

    /// Encrypts to `recipient` and signs by `signer`.
    pub(crate) fn seal(
        &self,
        recipient: &str,
        signer: &str,
        options: &[&str],
        plaintext: &[u8],
    ) -> Vec<u8> {
        let mut arguments = vec!["--trust-model", "always", "--local-user", signer];
        arguments.extend(options);
        if !options.contains(&"--hidden-recipient") {
            arguments.extend(["--recipient", recipient]);
        }
        arguments.extend(["--sign", "--encrypt"]);
        self.run(&arguments, plaintext).stdout
    }

    pub(crate) fn seal_unsigned(&self, recipient: &str, plaintext: &[u8]) -> Vec<u8> {
        let arguments = ["--trust-model", "always", "-r", recipient, "--encrypt"];
        self.run(&arguments, plaintext).stdout
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf")
            .arg("--homedir")
            .arg(self.0.path())
            .args(["--kill", "all"])
            .status();
    }
}

/// The lines of gpg's unattended key generation for one `Key` or `Subkey`.
fn parameters(which: &str, kind: &str) -> String {
    match kind {
        "ed25519" => format!("{which}-Type: EDDSA\n{which}-Curve: ed25519"),
        "cv25519" => format!("{which}-Type: ECDH\n{which}-Curve: cv25519"),
        rsa => {
            let bits = rsa.strip_prefix("rsa").unwrap();
            format!("{which}-Type: RSA\n{which}-Length: {bits}")
        }
    }
}
