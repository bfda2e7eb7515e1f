//! The areas of the screen: the same for drawing and for the mouse.

use ratatui::layout::Rect;

use crate::monitor::event::Size;
use crate::monitor::fleet::order::Sort;
use crate::monitor::help;

/// Least width of a usable screen, in characters.
const LEAST_COLUMNS: u16 = 40;
/// Least height of a usable screen, in lines.
const LEAST_ROWS: u16 = 9;

/// Least width, in characters, for the details beside the table.
const BESIDE: u16 = 120;
/// Least width for the column of the host.
const WITH_HOST: u16 = 100;

/// Least width for the column of the last proof of life.
const WITH_SEEN: u16 = 72;
/// Least width for bars of the time left.
const WITH_BAR: u16 = 56;

/// The title, and the line at the bottom.
const FRAME: u16 = 2;
/// A line of its own above each pane.
const HEADING: u16 = 1;

/// The areas of the screen. One that is not shown has no height.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Areas {
    /// True when the terminal is too small for anything else.
    pub(crate) too_small: bool,
    /// The uppermost line.
    pub(crate) title: Rect,
    /// The server's warnings: one line, or no height.
    pub(crate) warning: Rect,
    /// The requests, without their heading above.
    pub(crate) requests: Rect,
    /// The heading of the table.
    pub(crate) heading: Rect,
    /// The rows of the table.
    pub(crate) table: Rect,
    /// The columns of the table.
    pub(crate) columns: TableColumns,
    /// The details, without their heading above.
    pub(crate) details: Rect,
    /// The log, without its heading above.
    pub(crate) log: Rect,
    /// The lowest line.
    pub(crate) bottom: Rect,
    /// All between title and bottom: where the help is.
    pub(crate) body: Rect,
    /// Lines of the help, on this screen or below it.
    pub(crate) help_lines: usize,
}

/// The columns of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct TableColumns {
    pub(crate) name: Column,
    /// The host; of no width on a narrow screen.
    pub(crate) host: Column,
    pub(crate) state: Column,
    /// The bar of the time left; of no width on a narrow screen.
    pub(crate) bar: Column,
    /// The time left.
    pub(crate) left: Column,
    /// The last proof of life; of no width on a narrow screen.
    pub(crate) seen: Column,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Column {
    pub(crate) x: u16,
    pub(crate) width: u16,
}

impl Column {
    const fn holds(self, column: u16) -> bool {
        column >= self.x && column < self.x + self.width
    }
}

impl TableColumns {
    /// On a narrow screen, first the time of the last check is left out, then the bar: name, state and
    /// time left are always there.
    fn of(area: Rect) -> Self {
        const STATE: u16 = 8;
        const LEFT: u16 = 7;
        const SEEN: u16 = 11;
        const GAP: u16 = 2;
        // The mark stands in the first column.
        const MARK: u16 = 2;
        let bar = if area.width < WITH_BAR {
            0
        } else {
            (area.width / 5).min(24)
        };
        let seen = if area.width < WITH_SEEN { 0 } else { SEEN };
        let fixed = MARK + GAP + STATE + GAP + bar + 1 + LEFT + GAP + seen;
        let words = area.width.saturating_sub(fixed);
        let (name, host, after_host) = if area.width >= WITH_HOST {
            let host = (words - GAP) / 2;
            (words - GAP - host, host, GAP)
        } else {
            (words, 0, 0)
        };
        let mut x = area.x + MARK;
        let mut column = |width: u16, gap: u16| {
            let column = Column { x, width };
            x += width + gap;
            column
        };
        Self {
            name: column(name, GAP),
            host: column(host, after_host),
            state: column(STATE, GAP),
            bar: column(bar, 1),
            left: column(LEFT, GAP),
            seen: column(seen, 0),
        }
    }

    /// The order that a click on the heading at `column` asks for.
    pub(crate) fn sort_at(&self, column: u16) -> Option<Sort> {
        let sorts = [
            (self.name, Sort::Name),
            (self.state, Sort::State),
            (self.bar, Sort::Deadline),
            (self.left, Sort::Deadline),
        ];
        let hit = sorts.into_iter().find(|(place, _)| place.holds(column));
        hit.map(|(_, sort)| sort)
    }
}

impl Areas {
    /// Rows of the table on the screen.
    pub(crate) fn table_rows(&self) -> usize {
        self.table.height.into()
    }

    /// Rows of requests on the screen.
    pub(crate) fn request_rows(&self) -> usize {
        self.requests.height.into()
    }

    /// Lines of details on the screen.
    pub(crate) fn details_rows(&self) -> usize {
        self.details.height.into()
    }

    /// Lines of log on the screen.
    pub(crate) fn log_rows(&self) -> usize {
        self.log.height.into()
    }

    /// Lines of help on the screen.
    pub(crate) fn help_rows(&self) -> usize {
        self.body.height.into()
    }
}

/// The parts of the screen that take room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Parts {
    pub(crate) size: Size,
    pub(crate) has_warnings: bool,
    /// Number of requests that wait.
    pub(crate) waiting: usize,
    pub(crate) has_details: bool,
    pub(crate) has_log: bool,
}

/// Divides the screen among `parts`.
pub(crate) fn areas(parts: Parts) -> Areas {
    let (columns, rows) = (parts.size.columns, parts.size.rows);
    let whole = Rect::new(0, 0, columns, rows);
    if columns < LEAST_COLUMNS || rows < LEAST_ROWS {
        return Areas {
            too_small: true,
            body: whole,
            ..Areas::default()
        };
    }
    let body = Rect::new(0, 1, columns, rows - FRAME);
    let beside = columns >= BESIDE;
    let mut rest = body;
    let warning = Rect {
        height: u16::from(parts.has_warnings),
        ..body
    };
    rest.y += warning.height;
    rest.height -= warning.height;

    let waiting = u16::try_from(parts.waiting).unwrap_or(u16::MAX);
    let requests = waiting.min((body.height / 4).max(1));
    let requests = if waiting == 0 {
        Rect::default()
    } else {
        top(&mut rest, requests)
    };

    // From the bottom: the log, above it the details unless they stand beside, above these the table.
    let open = parts.has_details;
    let log = match (parts.has_log, open && !beside) {
        (false, _) => Rect::default(),
        (true, true) => bottom(&mut rest, body.height / 6),
        (true, false) => bottom(&mut rest, body.height / 3),
    };
    let details = match (open, beside) {
        (false, _) => Rect::default(),
        (true, true) => right(&mut rest, columns * 2 / 5),
        (true, false) => {
            let half = rest.height / 2;
            bottom(&mut rest, half)
        }
    };
    let heading = Rect {
        height: rest.height.min(HEADING),
        ..rest
    };
    let table = below(rest);
    Areas {
        too_small: false,
        title: Rect::new(0, 0, columns, 1),
        warning,
        requests,
        heading,
        table,
        columns: TableColumns::of(table),
        details,
        log,
        bottom: Rect::new(0, rows - 1, columns, 1),
        body,
        help_lines: help::height(columns),
    }
}

/// Takes a heading and `height` rows off the top of `rest`; gives the rows.
fn top(rest: &mut Rect, height: u16) -> Rect {
    let taken = Rect {
        height: (height + HEADING).min(rest.height),
        ..*rest
    };
    rest.y += taken.height;
    rest.height -= taken.height;
    below(taken)
}

/// The same from the bottom.
fn bottom(rest: &mut Rect, height: u16) -> Rect {
    let height = (height.max(1) + HEADING).min(rest.height);
    rest.height -= height;
    below(Rect {
        y: rest.y + rest.height,
        height,
        ..*rest
    })
}

/// Takes a column for a line and `width` columns off the right of `rest`; gives those below a heading.
fn right(rest: &mut Rect, width: u16) -> Rect {
    let width = width.min(rest.width);
    rest.width -= width + 1;
    below(Rect {
        x: rest.x + rest.width + 1,
        width,
        ..*rest
    })
}

/// The area below the heading.
fn below(area: Rect) -> Rect {
    let height = area.height.saturating_sub(HEADING);
    Rect {
        y: area.y + area.height.min(HEADING),
        height,
        ..area
    }
}
