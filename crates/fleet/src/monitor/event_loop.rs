//! Runs the screen: waits for keys, the server, signals and the clock, one event at a time.

use std::fs::File;
use std::io;
use std::thread;
use std::time::Duration;

use nightlatch_sys::clock;
use nightlatch_sys::signals::Signal;
use ratatui::crossterm::event as terminal;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use rustix::process::{Signal as Any, getpid, kill_process};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::monitor::event::{Button, EventTime, MonitorEvent, Mouse, ScreenEffect, Size};
use crate::monitor::key::{Key, Named};
use crate::monitor::link::{self, ServerRequest};
use crate::monitor::recording;
use crate::monitor::screen::{Screen, look, screen_size};
use crate::monitor::state::State;

/// Least time between two frames.
const FRAME: Duration = Duration::from_millis(50);
/// Delay of a frame after a signal: a server sends one signal for each property of a change.
const GATHER: Duration = Duration::from_millis(3);
/// Interval between two updates of the times on the screen.
const SECOND: Duration = Duration::from_secs(1);

/// The reason for the end of the program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ExitReason {
    /// The person ended it.
    Quit,
    /// A signal, by which the program then ends itself.
    Signal(Signal),
}

struct EventLoop {
    state: State,
    screen: Screen,
    wishes: UnboundedSender<ServerRequest>,
    recording: Option<File>,
    ended: Option<ExitReason>,
    /// Time of the next frame, if something happened since the last one.
    due: Option<Instant>,
    /// The earliest that another frame may be drawn.
    earliest: Instant,
}

/// Runs the screen until its end. Every event is written to `recording`, if there is one.
pub(crate) async fn run(recording: Option<File>) -> io::Result<ExitReason> {
    let mut signals = Signals::new()?;
    let (wishes, wished) = unbounded_channel();
    let (events, mut server) = unbounded_channel();
    let (pressed, mut input) = unbounded_channel();
    let started = MonitorEvent::Started(look(), screen_size()?);
    let mut event_loop = EventLoop {
        state: State::default(),
        screen: Screen::open()?,
        wishes,
        recording,
        ended: None,
        due: None,
        earliest: Instant::now(),
    };
    event_loop.handle(started, Duration::ZERO)?;
    thread::spawn(move || read_terminal(&pressed));
    tokio::spawn(link::run(events, wished));

    let mut second = interval(SECOND);
    second.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        let frame = event_loop
            .due
            .map_or(event_loop.earliest, |due| due.max(event_loop.earliest));
        tokio::select! {
            biased;
            end = signals.next() => match end {
                SignalAction::End(signal) => event_loop.ended = Some(ExitReason::Signal(signal)),
                SignalAction::Stop => event_loop.suspend()?,
                SignalAction::Continue => event_loop.take_screen_again()?,
            },
            event = input.recv() => match event {
                Some(event) => event_loop.handle(event?, Duration::ZERO)?,
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            },
            () = sleep_until(frame), if event_loop.due.is_some() => event_loop.draw()?,
            _ = second.tick() => event_loop.handle(MonitorEvent::Passed, Duration::ZERO)?,
            event = server.recv() => {
                // It tries for ever; only a fault of ours can end it.
                let event = event.ok_or_else(|| io::Error::other("the task that reads from the server has ended"))?;
                event_loop.handle(event, GATHER)?;
                event_loop.handle_all(&mut server)?;
            }
        }
        if let Some(ended) = event_loop.ended {
            return Ok(ended);
        }
    }
}

impl EventLoop {
    /// Passes an event to the state. It is drawn after `within`, or later if the last frame was drawn just before.
    fn handle(&mut self, event: MonitorEvent, within: Duration) -> io::Result<()> {
        let wall = clock::now().wall;
        let at = EventTime {
            wall,
            ahead: clock::ahead_of_utc(wall),
        };
        if let Some(file) = &mut self.recording {
            recording::write(file, at, &event)?;
        }
        let due = Instant::now() + within;
        self.due = Some(self.due.map_or(due, |before| before.min(due)));
        for effect in self.state.handle(event, at) {
            self.carry_out(effect)?;
        }
        Ok(())
    }

    /// Handles all events of the server that are queued, for one frame.
    fn handle_all(&mut self, server: &mut UnboundedReceiver<MonitorEvent>) -> io::Result<()> {
        // A bound, so that keys are heard however much it tells.
        for _ in 0..1000 {
            match server.try_recv() {
                Ok(event) => self.handle(event, GATHER)?,
                Err(_) => break,
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, effect: ScreenEffect) -> io::Result<()> {
        match effect {
            ScreenEffect::Do(action) => self.wish(ServerRequest::Do(action)),
            ScreenEffect::Ask(path, name) => self.wish(ServerRequest::Ask(path, name)),
            ScreenEffect::Redraw => self.screen.forget(),
            ScreenEffect::Mouse(mouse) => self.screen.set_mouse(mouse)?,
            ScreenEffect::Suspend => self.suspend()?,
            ScreenEffect::Quit => self.ended = Some(ExitReason::Quit),
        }
        Ok(())
    }

    fn wish(&self, wish: ServerRequest) {
        // The other side is there as long as this one.
        let _ = self.wishes.send(wish);
    }

    /// Gives the terminal back, stops, and takes it again when the shell continues the program.
    fn suspend(&mut self) -> io::Result<()> {
        self.screen.leave();
        kill_process(getpid(), Any::STOP)?;
        self.take_screen_again()
    }

    fn take_screen_again(&mut self) -> io::Result<()> {
        self.screen.take_again()?;
        self.due = Some(Instant::now());
        Ok(())
    }

    fn draw(&mut self) -> io::Result<()> {
        self.due = None;
        self.screen.draw(&self.state)?;
        self.earliest = Instant::now() + FRAME;
        Ok(())
    }
}

/// Signals that the program waits for.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    quit: tokio::signal::unix::Signal,
    stop: tokio::signal::unix::Signal,
    go_on: tokio::signal::unix::Signal,
}

enum SignalAction {
    End(Signal),
    Stop,
    Continue,
}

impl Signals {
    fn new() -> io::Result<Self> {
        let other = |signal: Any| SignalKind::from_raw(signal.as_raw());
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            quit: signal(SignalKind::quit())?,
            stop: signal(other(Any::TSTP))?,
            go_on: signal(other(Any::CONT))?,
        })
    }

    async fn next(&mut self) -> SignalAction {
        tokio::select! {
            _ = self.interrupt.recv() => SignalAction::End(Signal::Interrupt),
            _ = self.hang_up.recv() => SignalAction::End(Signal::HangUp),
            _ = self.terminate.recv() => SignalAction::End(Signal::Terminate),
            _ = self.quit.recv() => SignalAction::End(Signal::Quit),
            _ = self.stop.recv() => SignalAction::Stop,
            _ = self.go_on.recv() => SignalAction::Continue,
        }
    }
}

/// Reads the keyboard and the mouse until the program ends or the terminal is gone.
fn read_terminal(to: &UnboundedSender<io::Result<MonitorEvent>>) {
    loop {
        let event = match terminal::read() {
            Ok(event) => translate(event).map(Ok),
            Err(error) => Some(Err(error)),
        };
        let Some(event) = event else {
            continue;
        };
        let failed = event.is_err();
        if to.send(event).is_err() || failed {
            return;
        }
    }
}

fn translate(event: terminal::Event) -> Option<MonitorEvent> {
    match event {
        terminal::Event::Key(key) => key_of(key).map(MonitorEvent::Key),
        terminal::Event::Mouse(mouse) => mouse_of(mouse).map(MonitorEvent::Mouse),
        terminal::Event::Resize(columns, rows) => {
            Some(MonitorEvent::Resized(Size { columns, rows }))
        }
        _ => None,
    }
}

fn key_of(key: KeyEvent) -> Option<Key> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let named = match key.code {
        KeyCode::Char(c) if key.modifiers.contains(KeyModifiers::CONTROL) => {
            return Some(Key::Ctrl(c.to_ascii_lowercase()));
        }
        KeyCode::Char(c) if key.modifiers.contains(KeyModifiers::ALT) => {
            return Some(Key::Meta(c.to_ascii_lowercase()));
        }
        KeyCode::Char(c) => return Some(Key::Char(c)),
        KeyCode::F(number) => return Some(Key::Function(number)),
        KeyCode::Up => Named::Up,
        KeyCode::Down => Named::Down,
        KeyCode::PageUp => Named::PageUp,
        KeyCode::PageDown => Named::PageDown,
        KeyCode::Home => Named::Home,
        KeyCode::End => Named::End,
        KeyCode::Tab => Named::Tab,
        KeyCode::BackTab => Named::BackTab,
        KeyCode::Enter => Named::Enter,
        KeyCode::Esc => Named::Esc,
        KeyCode::Backspace => Named::Backspace,
        _ => return None,
    };
    Some(Key::Named(named))
}

fn mouse_of(mouse: MouseEvent) -> Option<Mouse> {
    let what = match mouse.kind {
        MouseEventKind::Down(MouseButton::Left) => Button::Press,
        MouseEventKind::ScrollUp => Button::Up,
        MouseEventKind::ScrollDown => Button::Down,
        _ => return None,
    };
    Some(Mouse {
        what,
        column: mouse.column,
        row: mouse.row,
    })
}
