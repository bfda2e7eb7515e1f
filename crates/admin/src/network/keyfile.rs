//! The dialect of systemd's and NetworkManager's files: sections may stand several times and keys too,
//! a comment is a line of its own, a backslash at its end goes on with the next line (systemd.syntax(7)).

/// One assignment, in the order of the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry<'t> {
    /// The section it stands in, by its name.
    pub section: &'t str,
    /// Which of the sections of the file it is: those of one name are told apart.
    pub block: usize,
    /// The key.
    pub key: &'t str,
    /// The value, without white space at its ends.
    pub value: String,
    /// The line, from 1.
    pub line: usize,
}

/// A file split into its assignments, and the lines that are none.
pub fn entries(text: &str) -> (Vec<Entry<'_>>, Vec<usize>) {
    let mut entries: Vec<Entry<'_>> = Vec::new();
    let mut stray = Vec::new();
    let mut section = None;
    let mut block = 0;
    let mut continues = false;
    for (number, raw) in text.lines().enumerate() {
        let line = raw.trim();
        if line.starts_with(['#', ';']) || (line.is_empty() && !continues) {
            continue;
        }
        if std::mem::take(&mut continues)
            && let Some(entry) = entries.last_mut()
        {
            let more = line.strip_suffix('\\');
            continues = more.is_some();
            entry.value.push(' ');
            entry.value.push_str(more.unwrap_or(line).trim());
            continue;
        }
        let header = line.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
        if let Some(name) = header {
            section = Some(name);
            block += 1;
            continue;
        }
        let (Some(section), Some((key, value))) = (section, line.split_once('=')) else {
            stray.push(number + 1);
            continue;
        };
        let more = value.strip_suffix('\\');
        continues = more.is_some();
        entries.push(Entry {
            section,
            block,
            key: key.trim(),
            value: more.unwrap_or(value).trim().to_owned(),
            line: number + 1,
        });
    }
    (entries, stray)
}

/// A yes or no, as both programs read it (systemd.syntax(7)).
pub fn yes(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Ok(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Ok(false),
        _ => Err(format!("expected yes or no, found {text:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_and_keys_may_stand_several_times_and_lines_go_on() {
        let text = "; note\n[Network]\nVLAN=a\nVLAN = b \\\n c\n[Network]\nDHCP=yes\nstray\n";
        let (entries, stray) = entries(text);
        let read: Vec<_> = entries
            .iter()
            .map(|e| (e.section, e.block, e.key, e.value.as_str(), e.line))
            .collect();
        assert_eq!(
            read,
            [
                ("Network", 1, "VLAN", "a", 3),
                ("Network", 1, "VLAN", "b c", 4),
                ("Network", 2, "DHCP", "yes", 7),
            ]
        );
        assert_eq!(stray, [8]);
    }
}
