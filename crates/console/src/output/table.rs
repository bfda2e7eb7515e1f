//! Tables for people: aligned columns, a heading, nothing after the last column.

use super::Style;

/// The text and style of a cell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// A cell in a style. Control characters are shown as they are written in a program, so that no
    /// value can move the terminal's cursor.
    pub fn new(text: impl AsRef<str>, style: Style) -> Self {
        Self {
            text: visible(text.as_ref()),
            style,
        }
    }

    /// A cell as it is.
    pub fn plain(text: impl AsRef<str>) -> Self {
        Self::new(text, Style::Plain)
    }
}

/// `text` without control characters.
pub fn visible(text: &str) -> String {
    if !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    let shown = text.chars().map(|character| match character {
        control if control.is_control() => control.escape_debug().to_string(),
        other => other.to_string(),
    });
    shown.collect()
}

/// Columns by which the second line of a row is indented.
const INDENT: usize = 4;

/// Lines the rows up under their headings, two spaces between columns. On a terminal, a row that is too long
/// goes on in the next line, with a whole cell.
pub fn render<const N: usize>(headings: [&str; N], rows: &[[Cell; N]], coloured: bool) -> String {
    let columns = super::columns().unwrap_or(usize::MAX);
    render_in(columns, headings, rows, coloured)
}

fn render_in<const N: usize>(
    columns: usize,
    headings: [&str; N],
    rows: &[[Cell; N]],
    coloured: bool,
) -> String {
    let headings = headings.map(|heading| Cell::new(heading, Style::Bold));
    let mut widths = [0; N];
    for row in std::iter::once(&headings).chain(rows) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(width_of(&cell.text));
        }
    }
    let mut text = String::new();
    for row in std::iter::once(&headings).chain(rows) {
        let mut line = String::new();
        // Columns of this line of the terminal that are taken, and those that the next cell begins after.
        let (mut taken, mut owed) = (0, 0);
        for (cell, width) in row.iter().zip(widths) {
            let own = width_of(&cell.text);
            if own > 0 {
                if taken > 0 && taken + owed + own > columns {
                    line.push('\n');
                    (taken, owed) = (0, INDENT);
                }
                line.extend(std::iter::repeat_n(' ', owed));
                line.push_str(&cell.style.paint(&cell.text, coloured));
                taken += owed + own;
                owed = 0;
            }
            owed += width - own + 2;
        }
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// Columns of the terminal. Every character counts as one: names of machines are no more.
fn width_of(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_end_with_their_text() {
        let rows = [
            [
                Cell::plain("foo.example"),
                Cell::plain(""),
                Cell::plain("x"),
            ],
            [Cell::plain("a\x1b[2J"), Cell::plain("yes"), Cell::plain("")],
        ];
        assert_eq!(
            render(["NAME", "UP", "Z"], &rows, false),
            "NAME         UP   Z\n\
             foo.example       x\n\
             a\\u{1b}[2J   yes\n"
        );
    }

    #[test]
    fn a_row_that_is_too_long_is_broken_between_its_cells() {
        let rows = [
            [
                Cell::plain("host2.example"),
                Cell::new("2 min ago", Style::Good),
                Cell::plain("host2.example"),
            ],
            [Cell::plain("a"), Cell::plain("never"), Cell::plain("a")],
        ];
        let headings = ["NAME", "LAST SEEN", "HOST"];
        let text = |columns| render_in(columns, headings, &rows, false);
        assert_eq!(
            text(30),
            "NAME           LAST SEEN  HOST\n\
             host2.example  2 min ago\n    host2.example\n\
             a              never      a\n"
        );
        assert_eq!(text(39), text(usize::MAX));
        // Nothing is lost where not even a cell fits.
        let words = |text: &str| {
            text.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(words(&text(1)), words(&text(80)));
    }

    #[test]
    fn colour_takes_no_room() {
        let rows = [[Cell::new("a", Style::Good), Cell::plain("b")]];
        let text = render(["NAME", "UP"], &rows, true);
        assert!(text.ends_with("\x1b[32ma\x1b[0m     b\n"), "{text:?}");
    }
}
