//! The command line of `nightlatch get`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use nightlatch_core::agent_files::{CREDENTIALS, GET_FOLDER, GET_SOCKET};
use nightlatch_core::duration;
use nightlatch_core::secret_name::SecretName;

/// The options of `get`.
#[derive(Args, Debug)]
pub struct GetOptions {
    /// The name of the secret, as it is: a unit's name must not be escaped
    #[arg(value_name = "NAME", value_parser = name)]
    pub(crate) name: SecretName,

    /// How long to keep trying when no server answers: 90s, PT5M, 0 for one try, or forever. A request that waits for an
    /// approval is not given up before it is decided
    #[arg(long, value_name = "DURATION", default_value = "90s", value_parser = wait)]
    pub(crate) wait: Wait,

    /// Print the value even if standard output is a terminal
    #[arg(long, conflicts_with = "credential")]
    pub(crate) print: bool,

    /// Print nothing, and write the value for LoadCredential= of services: into a file of this name, below
    /// --credentials-dir and readable by root only
    #[arg(long)]
    pub(crate) credential: bool,

    /// Remove that file, and ask for nothing
    #[arg(long, requires = "credential", conflicts_with = "unit")]
    pub(crate) remove: bool,

    /// The unit that runs this command. Units that need it, and failed because it did, are started once the file is there
    #[arg(long, value_name = "UNIT", requires = "credential")]
    pub(crate) unit: Option<String>,

    /// The folder of those files. It must be a ramfs, which is never written to a disk
    #[arg(long, value_name = "DIR", default_value = CREDENTIALS)]
    pub(crate) credentials_dir: PathBuf,

    /// The socket of nightlatch-agent
    #[arg(long, value_name = "FILE", default_value_os_t = socket())]
    pub(crate) socket: PathBuf,

    /// Tell on standard error what happens as lines of JSON. The value is never JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// The time in which a server must answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wait {
    AtMost(Duration),
    Forever,
}

fn socket() -> PathBuf {
    PathBuf::from(GET_FOLDER).join(GET_SOCKET)
}

fn wait(text: &str) -> Result<Wait, String> {
    match text {
        "forever" => Ok(Wait::Forever),
        "0" => Ok(Wait::AtMost(Duration::ZERO)),
        "" => {
            Err("expected a duration such as 90s or PT5M, 0 or forever; found nothing".to_owned())
        }
        _ => match duration::parse(text) {
            Ok(length) => Ok(Wait::AtMost(length)),
            Err(error) => Err(format!("{error}, 0 or forever; found {text:?}")),
        },
    }
}

/// The instance of a unit that was escaped (systemd-escape(1)) is refused: two units would share one file, and the end of
/// one would take it from the other.
fn name(text: &str) -> Result<SecretName, String> {
    let plain = text.replace(r"\x2d", "-");
    let name = SecretName::new(&plain).map_err(|error| format!("{error}; found {text:?}"))?;
    if plain != text {
        return Err(format!(
            "the name is escaped: expected {plain}, found {text}; use the unit nightlatch-secret@{plain}.service"
        ));
    }
    match name.is_boot() {
        true => Err(
            "boot is the password of the disk, which a boot gets; expected the name of a named secret"
                .to_owned(),
        ),
        false => Ok(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_wait_is_a_duration_or_for_ever() {
        for (text, expected) in [
            ("90s", Wait::AtMost(Duration::from_secs(90))),
            ("PT5M", Wait::AtMost(Duration::from_secs(300))),
            ("0", Wait::AtMost(Duration::ZERO)),
            ("forever", Wait::Forever),
        ] {
            assert_eq!(wait(text), Ok(expected));
        }
        for text in ["", "90", "soon", "-1s", "1.5s"] {
            let error = wait(text).unwrap_err();
            assert!(error.contains("forever; found"), "{error}");
        }
    }

    #[test]
    fn the_instance_of_a_unit_is_a_name_and_not_escaped() {
        let plain = |text: &str| name(text).map(|it| it.to_string());
        assert_eq!(plain("card-pin"), Ok("card-pin".to_owned()));
        let escaped = plain(r"card\x2dpin").unwrap_err();
        assert!(
            escaped.contains("nightlatch-secret@card-pin.service"),
            "{escaped}"
        );
        assert_eq!(
            plain("postgres.password"),
            Ok("postgres.password".to_owned())
        );
        for text in ["boot", "card/pin", r"\x2dpin", r"a\x2fb", "", "../x", "A"] {
            assert!(name(text).is_err(), "{text}");
        }
    }
}
