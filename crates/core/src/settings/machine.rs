//! What the administrator of a machine wants of its boot: `[client]` of `client.conf` (client.conf(5)).

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::{
    Doubt, Location, Parsed, Place, Problem, SettingsError, SettingsWarning, suggest, value,
};
use crate::duration;
use crate::ini::{Entry, Ini, is_space};
use crate::interpolate::interpolate;

/// The one section that is read.
pub const SECTION: &str = "client";

/// The longest name of an interface, in bytes: `IFNAMSIZ` without its final NUL (netdevice(7)).
const MAX_INTERFACE: usize = 15;

/// Everything `[client]` can say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MachineSettings {
    /// Connect to this server instead of searching: `ADDRESS:PORT`.
    pub connect: Option<String>,
    /// The interfaces to use. Default: all that suit.
    pub interface: Vec<String>,
    /// Whether VLANs, bonds and bridges are taken from this machine's network configuration.
    pub network: bool,
    /// More options of the boot client, one an element.
    pub options: Vec<String>,
    /// How long a reboot takes, from the last check that succeeds to the first that does again.
    /// Default: what the last boots took.
    pub downtime: Option<Duration>,
    /// Whether a reboot is held up on a machine that would not come back.
    pub inhibit: bool,
}

impl Default for MachineSettings {
    fn default() -> Self {
        Self {
            connect: None,
            interface: Vec::new(),
            network: true,
            options: Vec::new(),
            downtime: None,
            inhibit: false,
        }
    }
}

impl MachineSettings {
    /// The words that the boot client gets before those of its command line.
    pub fn client_options(&self) -> Vec<String> {
        let mut words = Vec::new();
        if let Some(server) = &self.connect {
            words.push(format!("--connect={server}"));
        }
        if !self.interface.is_empty() {
            words.push(format!("--interface={}", self.interface.join(",")));
        }
        words.extend(self.options.iter().cloned());
        words
    }
}

/// Reads the file; `file` is its name in errors.
///
/// # Errors
/// All of them, in the order of lines.
pub fn parse(file: &str, text: &str) -> Result<Parsed<MachineSettings>, Vec<SettingsError>> {
    let (ini, faults) = Ini::recover(text);
    let mut reader = Reader {
        ini: &ini,
        file: file.into(),
        settings: MachineSettings::default(),
        warnings: Vec::new(),
    };
    let mut errors: Vec<SettingsError> = faults
        .into_iter()
        .map(|fault| SettingsError {
            place: reader.place(fault.line, fault.section.as_deref(), None),
            problem: fault.kind.into(),
        })
        .collect();
    for section in ini.sections() {
        if section.name() != SECTION {
            reader.doubt(section.line(), section.name(), None, Doubt::NotTheClient);
            continue;
        }
        for (key, entry) in section.entries() {
            if let Err(problem) = reader.take(key, entry) {
                let place = reader.place(entry.line(), Some(SECTION), Some(key));
                errors.push(SettingsError { place, problem });
            }
        }
    }
    if !errors.is_empty() {
        errors.sort_by_key(|error| error.place.location.line);
        return Err(errors);
    }
    Ok(Parsed {
        value: reader.settings,
        warnings: reader.warnings,
    })
}

/// Every key that means something.
pub const KEYS: [&str; 6] = [
    "connect",
    "interface",
    "network",
    "options",
    "downtime",
    "inhibit",
];

struct Reader<'i> {
    ini: &'i Ini,
    file: Arc<str>,
    settings: MachineSettings,
    warnings: Vec<SettingsWarning>,
}

impl Reader<'_> {
    fn take(&mut self, key: &str, entry: &Entry) -> Result<(), Problem> {
        let raw = entry.value();
        match key {
            "connect" => self.settings.connect = server(raw)?,
            "interface" => self.settings.interface = interfaces(raw)?,
            "network" => self.settings.network = value::boolean(&self.interpolated(raw)?)?,
            "options" => {
                let words = raw.split(is_space).filter(|word| !word.is_empty());
                self.settings.options = words.map(str::to_owned).collect();
            }
            "downtime" => {
                let text = self.interpolated(raw)?;
                let text = text.trim_matches(is_space);
                let given = (!text.is_empty()).then(|| duration::parse(text));
                self.settings.downtime = given.transpose()?;
            }
            "inhibit" => self.settings.inhibit = value::boolean(&self.interpolated(raw)?)?,
            _ => {
                let doubt = match suggest::nearest(key, KEYS) {
                    Some(suggestion) => Doubt::UnknownKey { suggestion },
                    None => Doubt::UnusedKey,
                };
                self.doubt(entry.line(), SECTION, Some(key), doubt);
            }
        }
        Ok(())
    }

    fn interpolated<'v>(&self, raw: &'v str) -> Result<Cow<'v, str>, Problem> {
        let section = self.ini.section(SECTION);
        Ok(interpolate(raw, &|key| section?.value(key))?)
    }

    fn place(&self, line: usize, section: Option<&str>, key: Option<&str>) -> Place {
        Place {
            location: Location {
                file: self.file.clone(),
                line,
            },
            section: section.map(str::to_owned),
            key: key.map(str::to_owned),
        }
    }

    fn doubt(&mut self, line: usize, section: &str, key: Option<&str>, doubt: Doubt) {
        let place = self.place(line, Some(section), key);
        self.warnings.push(SettingsWarning { place, doubt });
    }
}

/// Split at the last colon, as mandos-client(8mandos) does. The address itself is for the boot client
/// to understand.
fn server(raw: &str) -> Result<Option<String>, Problem> {
    let text = raw.trim_matches(is_space);
    if text.is_empty() {
        return Ok(None);
    }
    let port = text.rsplit_once(':').filter(|(address, _)| {
        !address.is_empty() && !address.contains(|c: char| is_space(c) || c == ',')
    });
    let port = port.and_then(|(_, port)| port.parse::<u16>().ok());
    match port {
        Some(port) if port != 0 => Ok(Some(text.to_owned())),
        _ => Err(Problem::Server(text.to_owned())),
    }
}

fn interfaces(raw: &str) -> Result<Vec<String>, Problem> {
    let names = raw.split(|c: char| is_space(c) || c == ',');
    names
        .filter(|name| !name.is_empty())
        .map(|name| {
            let fits = name.len() <= MAX_INTERFACE && !name.contains(['/', ':']);
            match fits && name != "." && name != ".." {
                true => Ok(name.to_owned()),
                false => Err(Problem::Interface(name.to_owned())),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> MachineSettings {
        let parsed = parse("client.conf", text).unwrap();
        assert_eq!(parsed.warnings, [], "{text}");
        parsed.value
    }

    #[test]
    fn all_keys_are_read() {
        let text = "[client]\nconnect = [fe80::1%eth0]:4711\ninterface = eth0, bond0\nnetwork = no\n\
                    options = --retry=5\n  --debug\ndowntime = PT5M\ninhibit = yes\n";
        let settings = read(text);
        let expected = MachineSettings {
            connect: Some("[fe80::1%eth0]:4711".into()),
            interface: vec!["eth0".into(), "bond0".into()],
            network: false,
            options: vec!["--retry=5".into(), "--debug".into()],
            downtime: Some(Duration::from_secs(300)),
            inhibit: true,
        };
        assert_eq!(settings, expected);
        assert_eq!(
            settings.client_options(),
            [
                "--connect=[fe80::1%eth0]:4711",
                "--interface=eth0,bond0",
                "--retry=5",
                "--debug"
            ]
        );
    }

    #[test]
    fn nothing_said_is_the_default() {
        let empty = "[client]\nconnect =\ninterface =\noptions =\ndowntime =\n";
        for text in ["", "# nothing\n", empty] {
            assert_eq!(read(text), MachineSettings::default(), "{text}");
        }
        assert!(MachineSettings::default().client_options().is_empty());
    }

    #[test]
    fn what_makes_no_sense_is_told_with_its_place() {
        let text =
            "[client]\nconnect = server\ninterface = a/b\nnetwork = perhaps\ndowntime = long\n";
        let errors = parse("client.conf", text).unwrap_err();
        let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            told[0],
            "client.conf:2: [client] connect: expected ADDRESS:PORT such as [fe80::1%eth0]:4711, found \"server\""
        );
        assert_eq!(told.len(), 4, "{told:?}");
        for bad in ["a:0", "a:70000", ":1", "a b:1", "a,b:1"] {
            assert!(parse("f", &format!("[client]\nconnect = {bad}\n")).is_err());
        }
    }

    #[test]
    fn what_nothing_reads_is_told() {
        let parsed = parse("f", "[clients]\n[client]\nconect = a:1\nx = y\n").unwrap();
        let told: Vec<String> = parsed.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "f:1: [clients]: only [client] is read in this file; this section is ignored",
                "f:3: [client] conect: nothing uses this key; did you mean connect?",
                "f:4: [client] x: nothing uses this key; it is ignored",
            ]
        );
    }

    #[test]
    fn the_sample_says_the_defaults() {
        let sample = include_str!("../../../../dist/sample/client.conf");
        assert_eq!(read(sample), MachineSettings::default());
        let used = sample.replace("\n;", "\n");
        let parsed = parse("client.conf", &used).unwrap();
        assert_eq!(parsed.warnings, []);
        for key in KEYS {
            assert!(sample.contains(&format!("\n;{key} =")), "{key}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(\\PC|\n){0,80}") {
            let _ = parse("f", &text);
            let _ = parse("f", &format!("[client]\n{text}"));
        }
    }
}
