//! Puts text on the screen. Everything goes through here, so that nothing from outside reaches the
//! terminal as it came.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::Style;

use crate::monitor::text::{Glyphs, width};
use crate::monitor::theme::{Role, TerminalFeatures};

/// A buffer with the means to draw on it.
#[derive(Debug)]
pub(crate) struct Brush<'a> {
    buffer: &'a mut Buffer,
    look: TerminalFeatures,
}

impl<'a> Brush<'a> {
    /// A brush for `buffer`.
    pub(crate) fn new(buffer: &'a mut Buffer, look: TerminalFeatures) -> Self {
        Self { buffer, look }
    }

    /// The characters for pictures.
    pub(crate) const fn glyphs(&self) -> &'static Glyphs {
        self.look.charset.glyphs()
    }

    /// Writes at most `columns` of `text`, and shows where it was cut. Gives where it ended.
    pub(crate) fn text(&mut self, x: u16, y: u16, columns: u16, text: &str, role: Role) -> u16 {
        // The terminal may have become smaller than it was said to be.
        if !self.buffer.area.contains(Position::new(x, y)) {
            return x;
        }
        let text = self.look.charset.clean(text);
        // Nothing stays of what was there before.
        let style = Style::reset().patch(self.look.style(role));
        if width(&text) <= usize::from(columns) {
            return self
                .buffer
                .set_stringn(x, y, &text, columns.into(), style)
                .0;
        }
        let cut = self.glyphs().cut;
        let most = columns.saturating_sub(1);
        let (end, _) = self.buffer.set_stringn(x, y, &text, most.into(), style);
        let left = (x + columns).saturating_sub(end);
        self.buffer.set_stringn(end, y, cut, left.into(), style).0
    }

    /// Writes `text` so that it ends at the end of `columns`.
    pub(crate) fn right(&mut self, x: u16, y: u16, columns: u16, text: &str, role: Role) -> u16 {
        let clean = self.look.charset.clean(text);
        let free = usize::from(columns).saturating_sub(width(&clean));
        let skip = u16::try_from(free).unwrap_or(columns);
        self.text(x + skip, y, columns - skip, text, role)
    }

    /// Draws a line across with a title in it. Gives the column after the title.
    pub(crate) fn rule(&mut self, x: u16, y: u16, columns: u16, title: &str, role: Role) -> u16 {
        let line = self.glyphs().line.repeat(columns.into());
        self.text(x, y, columns, &line, Role::Quiet);
        if columns < 4 {
            return x;
        }
        let room = columns - 4;
        let end = self.text(x + 2, y, room + 1, &format!(" {title} "), role);
        end.min(x + columns)
    }

    /// Draws a bar of which `part`, from 0 to 1, is left.
    pub(crate) fn bar(&mut self, x: u16, y: u16, columns: u16, part: f64) {
        // Rounded up: an empty bar has nothing left. Between 0 and `columns`, so that it fits.
        let full = (part * f64::from(columns))
            .ceil()
            .clamp(0.0, columns.into()) as u16;
        let glyphs = self.glyphs();
        let left = glyphs.full.repeat(full.into());
        let gone = glyphs.gone.repeat((columns - full).into());
        let end = self.text(x, y, full, &left, Role::of_part(part));
        self.text(end, y, columns - full, &gone, Role::Quiet);
    }

    /// Gives `area` the style of the marked row, whatever its content.
    pub(crate) fn mark(&mut self, area: Rect) {
        let style = Style::reset().patch(self.look.marked());
        self.buffer.set_style(area, style);
    }
}
