//! Commands for the card beside the program under test, in a process of its own: the library finds pcscd by an environment
//! variable.

use std::ffi::CString;
use std::process::Command;
use std::thread;

use nightlatch_test_support::Deadline;
use pcsc::{Context, Disposition, Error, Protocols, Scope, ShareMode};

use super::world::{PAUSE, READER, World};

/// Set for the process that talks to the card: commands in hexadecimal digits, with white space between.
const APDUS: &str = "NIGHTLATCH_TEST_APDUS";

const SELECT: &str = "00a4040006d27600012401";

/// The algorithm attributes of an authentication key.
pub(crate) const ED25519: &str = "162b06010401da470f01";
pub(crate) const P256: &str = "132a8648ce3d030107";
pub(crate) const P384: &str = "132b81040022";

impl World {
    /// Sends commands to the card after its selection; gives the last answer. The card is left as it is.
    pub(crate) fn send(&self, apdus: &[&str]) -> String {
        let output = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "apdus::sends_commands",
                "--ignored",
                "--nocapture",
            ])
            .env(APDUS, format!("{SELECT} {}", apdus.join(" ")))
            .env("PCSCLITE_CSOCK_NAME", self.pcscd_socket())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let mut answers = said.lines().filter_map(|line| line.split_once("answer "));
        answers.next_back().unwrap().1.to_owned()
    }

    /// Gives the card a new authentication key.
    pub(crate) fn generate(&self, algorithm: &str) {
        let length = algorithm.len() / 2;
        let put = format!("00da00c3{length:02x}{algorithm}");
        let answer = self.send(&["00200083083132333435363738", &put, "0047800002a40000"]);
        // 61xx: the rest of a long public key.
        let status = &answer[answer.len() - 4..];
        assert!(status == "9000" || status.starts_with("61"), "{answer}");
    }

    /// The answer to an empty VERIFY: 9000, or 63Cx.
    pub(crate) fn pin_state(&self) -> String {
        self.send(&["00200082"])
    }
}

#[test]
#[ignore = "a part of other tests: it sends what they want to their card"]
fn sends_commands() {
    let apdus = std::env::var(APDUS).unwrap();
    let context = Context::establish(Scope::System).unwrap();
    let reader = CString::new(READER).unwrap();
    let deadline = Deadline::start();
    let card = loop {
        match context.connect(&reader, ShareMode::Shared, Protocols::ANY) {
            // pcscd has not yet noticed the end of an agent: until then, nobody reaches the card.
            Err(Error::SharingViolation) if !deadline.passed() => thread::sleep(PAUSE),
            card => break card.unwrap(),
        }
    };
    for apdu in apdus.split_whitespace() {
        let digits = apdu.as_bytes().chunks(2);
        let bytes: Vec<u8> = digits
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect();
        let mut room = [0; 4096];
        let answer = card.transmit(&bytes, &mut room).unwrap();
        let hex: String = answer.iter().map(|byte| format!("{byte:02x}")).collect();
        println!("answer {hex}");
    }
    card.disconnect(Disposition::LeaveCard)
        .map_err(|(_, error)| error)
        .unwrap();
}
