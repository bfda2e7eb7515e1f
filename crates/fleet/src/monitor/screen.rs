//! The terminal: taken over, drawn on, and given back as it was on every way out.

use std::env;
use std::io::{self, BufWriter, Stdout, Write};
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui::backend::{Backend, CrosstermBackend};
use ratatui::buffer::Buffer;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{DisableMouseCapture, EnableMouseCapture};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};
use ratatui::layout::{Position, Rect};

use crate::monitor::draw;
use crate::monitor::event::Size;
use crate::monitor::state::State;
use crate::monitor::text::Charset;
use crate::monitor::theme::TerminalFeatures;

/// Bytes of the buffer for one frame, which goes out in one write: a whole screen with its colours fits.
const FRAME: usize = 64 * 1024;

/// Terminals that have no colours.
const COLOURLESS: [&str; 2] = ["dumb", "vt"];

/// True while the terminal is in our mode. Restoring it twice would also restore the cursor, over the message of a
/// panic.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The terminal while this program draws on it.
#[derive(Debug)]
pub(crate) struct Screen {
    backend: CrosstermBackend<BufWriter<Stdout>>,
    /// The last frame; `None` when the screen is unknown.
    shown: Option<(Buffer, Option<Position>)>,
    mouse: bool,
}

impl Screen {
    /// Takes the terminal over.
    pub(crate) fn open() -> io::Result<Self> {
        give_back_on_panic();
        let out = BufWriter::with_capacity(FRAME, io::stdout());
        let screen = Self {
            backend: CrosstermBackend::new(out),
            shown: None,
            mouse: true,
        };
        screen.take()?;
        Ok(screen)
    }

    /// Draws the state. Only the cells that differ from the last frame are sent to the terminal, and nothing if none does.
    pub(crate) fn draw(&mut self, state: &State) -> io::Result<()> {
        let (columns, rows) = size()?;
        let area = Rect::new(0, 0, columns, rows);
        let mut next = Buffer::empty(area);
        let cursor = draw::draw(state, &mut next);
        let before = match self.shown.take() {
            Some(shown) if shown.0.area == area => shown,
            _ => {
                self.backend.clear()?;
                (Buffer::empty(area), Some(Position::ORIGIN))
            }
        };
        let changes = before.0.diff(&next);
        if !changes.is_empty() || cursor != before.1 {
            self.backend.draw(changes.into_iter())?;
            match cursor {
                Some(position) => {
                    self.backend.set_cursor_position(position)?;
                    self.backend.show_cursor()?;
                }
                None => self.backend.hide_cursor()?,
            }
            Backend::flush(&mut self.backend)?;
        }
        self.shown = Some((next, cursor));
        Ok(())
    }

    /// Forgets what is on the screen: the next frame is drawn whole.
    pub(crate) fn forget(&mut self) {
        self.shown = None;
    }

    /// Turns the terminal's reports of the mouse on or off.
    pub(crate) fn set_mouse(&mut self, mouse: bool) -> io::Result<()> {
        self.mouse = mouse;
        if mouse {
            execute!(io::stdout(), EnableMouseCapture)
        } else {
            execute!(io::stdout(), DisableMouseCapture)
        }
    }

    /// Gives the terminal back for a while.
    pub(crate) fn leave(&self) {
        give_back();
    }

    /// Takes the terminal over again.
    pub(crate) fn take_again(&mut self) -> io::Result<()> {
        // It may have been set to anything meanwhile.
        let _ = disable_raw_mode();
        self.forget();
        self.take()
    }

    fn take(&self) -> io::Result<()> {
        TAKEN.store(true, Ordering::Relaxed);
        enable_raw_mode()?;
        execute!(io::stdout(), EnterAlternateScreen)?;
        if self.mouse {
            execute!(io::stdout(), EnableMouseCapture)?;
        }
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Restores the terminal. Errors are ignored: they occur when the terminal is gone.
fn give_back() {
    if !TAKEN.swap(false, Ordering::Relaxed) {
        return;
    }
    let mut out = io::stdout();
    let _ = execute!(out, DisableMouseCapture, LeaveAlternateScreen, Show);
    let _ = disable_raw_mode();
    let _ = out.flush();
}

/// Restores the terminal before the message of a panic is printed.
fn give_back_on_panic() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        give_back();
        before(panic);
    }));
}

pub(crate) fn screen_size() -> io::Result<Size> {
    let (columns, rows) = size()?;
    Ok(Size { columns, rows })
}

/// The abilities of the terminal, by the environment.
pub(crate) fn look() -> TerminalFeatures {
    look_by(|name| env::var(name).ok().filter(|value| !value.is_empty()))
}

fn look_by(variable: impl Fn(&str) -> Option<String>) -> TerminalFeatures {
    // The first that is set counts (setlocale(3)).
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find_map(&variable);
    let locale = locale.unwrap_or_default().to_ascii_lowercase();
    let utf8 = locale.contains("utf-8") || locale.contains("utf8");
    let terminal = variable("TERM").unwrap_or_else(|| "dumb".to_owned());
    let colourless = COLOURLESS.iter().any(|start| terminal.starts_with(start));
    TerminalFeatures {
        charset: if utf8 { Charset::Utf8 } else { Charset::Ascii },
        colour: variable("NO_COLOR").is_none() && !colourless,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look_of(environment: &[(&str, &str)]) -> (Charset, bool) {
        let look = look_by(|name| {
            let found = environment.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        });
        (look.charset, look.colour)
    }

    #[test]
    fn the_environment_says_what_can_be_shown() {
        let xterm = ("TERM", "xterm-256color");
        let utf8 = ("LANG", "sv_SE.UTF-8");
        assert_eq!(look_of(&[xterm, utf8]), (Charset::Utf8, true));
        assert_eq!(
            look_of(&[xterm, utf8, ("NO_COLOR", "1")]),
            (Charset::Utf8, false)
        );
        assert_eq!(
            look_of(&[xterm, utf8, ("LC_ALL", "C")]),
            (Charset::Ascii, true)
        );
        assert_eq!(
            look_of(&[("TERM", "vt100"), ("LANG", "C.utf8")]),
            (Charset::Utf8, false)
        );
        assert_eq!(look_of(&[("TERM", "dumb")]), (Charset::Ascii, false));
        assert_eq!(look_of(&[]), (Charset::Ascii, false));
    }
}
