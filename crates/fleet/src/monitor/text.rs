//! Text that may go to a terminal, and lengths of time in words.
//!
//! A client's name, host and checker come from outside: nothing of them may command the terminal, hide
//! or change the order of what stands beside it.

use std::borrow::Cow;
use std::time::Duration;

use unicode_width::UnicodeWidthChar;

/// The characters that the terminal can show.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) enum Charset {
    /// All of Unicode, as UTF-8.
    Utf8,
    Ascii,
}

/// The characters that pictures are made of.
#[derive(Debug)]
pub(crate) struct Glyphs {
    /// A part of a bar that is left.
    pub(crate) full: &'static str,
    /// A part of a bar that is gone.
    pub(crate) gone: &'static str,
    /// A line across.
    pub(crate) line: &'static str,
    /// Shows that text was cut off.
    pub(crate) cut: &'static str,
    /// The marked row.
    pub(crate) mark: &'static str,
    /// Between two facts.
    pub(crate) dot: &'static str,
    /// A column that grows downwards.
    pub(crate) rising: &'static str,
    /// A column that grows upwards.
    pub(crate) falling: &'static str,
    /// Replaces a character that cannot be shown.
    pub(crate) unknown: char,
}

const UTF8: Glyphs = Glyphs {
    full: "━",
    gone: "─",
    line: "─",
    cut: "…",
    mark: "›",
    dot: "·",
    rising: "↓",
    falling: "↑",
    unknown: '\u{fffd}',
};

const ASCII: Glyphs = Glyphs {
    full: "=",
    gone: ".",
    line: "-",
    cut: "~",
    mark: ">",
    dot: "|",
    rising: "v",
    falling: "^",
    unknown: '?',
};

impl Charset {
    /// Its characters for pictures.
    pub(crate) const fn glyphs(self) -> &'static Glyphs {
        match self {
            Self::Utf8 => &UTF8,
            Self::Ascii => &ASCII,
        }
    }

    /// `text` with everything replaced that this terminal cannot show or must not get.
    pub(crate) fn clean(self, text: &str) -> Cow<'_, str> {
        if text.chars().all(|c| self.shows(c)) {
            return Cow::Borrowed(text);
        }
        let unknown = self.glyphs().unknown;
        let shown = text
            .chars()
            .map(|c| if self.shows(c) { c } else { unknown });
        Cow::Owned(shown.collect())
    }

    fn shows(self, c: char) -> bool {
        match self {
            Self::Ascii => matches!(c, ' '..='~'),
            Self::Utf8 => !c.is_control() && !is_unseen(c),
        }
    }
}

/// Characters that are not seen themselves and change what is: the general category Cf and the line
/// separators of the Unicode Character Database, variation selectors and tags.
const fn is_unseen(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{600}'..='\u{605}'
            | '\u{61c}'
            | '\u{6dd}'
            | '\u{70f}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Columns that `text` takes.
pub(crate) fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

fn char_width(c: char) -> usize {
    c.width().unwrap_or(0)
}

/// The places at which a long text may be broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Break {
    /// Between words, and inside those that are longer than a line.
    Words,
    Any,
}

/// `text`, which is clean, in lines of at most `columns`; at least one line.
pub(crate) fn wrap(text: &str, columns: usize, place: Break) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    loop {
        let end = fitting(rest, columns);
        if end == rest.len() {
            lines.push(rest);
            return lines;
        }
        let (line, after) = rest.split_at(end);
        let space = line.rfind(' ').filter(|_| !after.starts_with(' '));
        match space {
            Some(space) if place == Break::Words && space > 0 => {
                lines.push(&rest[..space]);
                rest = &rest[space + 1..];
            }
            _ => {
                lines.push(line);
                rest = match place {
                    Break::Words => after.trim_start_matches(' '),
                    Break::Any => after,
                };
            }
        }
    }
}

/// Bytes of `text` that fit into `columns`: at least one character of a text that is not empty.
fn fitting(text: &str, columns: usize) -> usize {
    let mut used = 0;
    for (index, c) in text.char_indices() {
        used += char_width(c);
        if used > columns && index > 0 {
            return index;
        }
    }
    text.len()
}

/// A length of time in one unit, rounded down, and to the second when it is short: `1:05`, `4 min`, `7 h`,
/// `12 d`. A screen full of these is calm, and little is sent over a slow line.
pub(crate) fn roughly(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..120 => exactly(time),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// As [`roughly`], for what is past: `now`, `4 min ago`.
pub(crate) fn ago(time: Duration) -> String {
    match time.as_secs() {
        0..60 => "now".to_owned(),
        60..120 => "1 min ago".to_owned(),
        _ => format!("{} ago", roughly(time)),
    }
}

/// A length of time to the second, rounded down: `0:09`, `1:02:03`.
pub(crate) fn exactly(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn lengths_of_time_are_short() {
        let said = |seconds| roughly(SECOND * seconds);
        assert_eq!(said(0), "0:00");
        assert_eq!(said(119), "1:59");
        assert_eq!(said(120), "2 min");
        assert_eq!(said(7_199), "119 min");
        assert_eq!(said(7_200), "2 h");
        assert_eq!(said(200_000), "2 d");
        assert_eq!(exactly(SECOND * 3_723), "1:02:03");
        assert_eq!(ago(SECOND * 59), "now");
        assert_eq!(ago(SECOND * 119), "1 min ago");
        assert_eq!(ago(SECOND * 7_300), "2 h ago");
    }

    #[test]
    fn nothing_unseen_is_shown() {
        let hostile = "a\u{1b}[2J\u{9b}1m\r\n\t\u{202e}b\u{200d}\u{2028}\u{feff}";
        assert_eq!(
            Charset::Utf8.clean(hostile),
            "a\u{fffd}[2J\u{fffd}1m\u{fffd}\u{fffd}\u{fffd}\u{fffd}b\u{fffd}\u{fffd}\u{fffd}"
        );
        assert_eq!(Charset::Ascii.clean("bär"), "b?r");
        assert_eq!(Charset::Utf8.clean("bär"), "bär");
    }

    #[test]
    fn words_stay_whole_where_they_can() {
        assert_eq!(wrap("one two three", 8, Break::Words), ["one two", "three"]);
        assert_eq!(wrap("one two", 7, Break::Words), ["one two"]);
        assert_eq!(wrap("abcdefgh ij", 5, Break::Words), ["abcde", "fgh", "ij"]);
        assert_eq!(wrap("one two", 5, Break::Any), ["one t", "wo"]);
        assert_eq!(wrap("", 5, Break::Words), [""]);
        assert_eq!(wrap("日本語", 4, Break::Any), ["日本", "語"]);
    }

    proptest! {
        #[test]
        fn wrapped_lines_fit_and_lose_nothing(text in "[a-z日 ]{0,60}", columns in 2_usize..20) {
            let lines = wrap(&text, columns, Break::Any);
            prop_assert_eq!(lines.concat(), text.clone());
            let words = wrap(&text, columns, Break::Words);
            let without = |text: &str| text.replace(' ', "");
            prop_assert_eq!(without(&words.concat()), without(&text));
            for line in lines.iter().chain(&words) {
                prop_assert!(width(line) <= columns);
            }
        }
    }
}
