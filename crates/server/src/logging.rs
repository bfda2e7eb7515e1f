//! Sets up the log: the journal with its fields when standard error is connected to it, else lines of text, in
//! colour on a terminal.

use std::io::{self, IsTerminal};
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, PoisonError};

use nightlatch_core::settings::server::{LogLevel, ServerSettings};
use tracing::Level;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;

/// Changes the log level while the server runs.
#[derive(Clone, Debug)]
pub(crate) struct LogControl {
    filter: Handle<Targets, Registry>,
    level: Arc<Mutex<LevelFilter>>,
}

impl LogControl {
    pub(crate) fn level(&self) -> LevelFilter {
        *self.level.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, level: LevelFilter) {
        // It fails only when the subscriber is gone.
        if self.filter.reload(targets(level)).is_ok() {
            *self.level.lock().unwrap_or_else(PoisonError::into_inner) = level;
        }
    }
}

/// The name of a level. There is no level that logs nothing.
pub(crate) fn level_name(level: LevelFilter) -> &'static str {
    match level.into_level() {
        Some(Level::ERROR) | None => "error",
        Some(Level::WARN) => "warn",
        Some(Level::INFO) => "info",
        Some(_) => "debug",
    }
}

pub(crate) fn level_by_name(name: &str) -> Option<LevelFilter> {
    let levels = [
        LevelFilter::ERROR,
        LevelFilter::WARN,
        LevelFilter::INFO,
        LevelFilter::DEBUG,
    ];
    levels.into_iter().find(|level| level_name(*level) == name)
}

/// The filter for a level. Of libraries only warnings and errors are logged.
fn targets(level: LevelFilter) -> Targets {
    Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target("nightlatch_server", level)
}

/// Starts logging. Before this, problems go to standard error as plain lines.
pub(crate) fn start(settings: &ServerSettings) -> LogControl {
    let level = level(settings);
    let (filter, handle) = reload::Layer::new(targets(level));
    let registry = tracing_subscriber::registry().with(filter);
    // A second call, as in tests, changes nothing.
    let _ = match journal() {
        Some(journal) => registry.with(journal).try_init(),
        None => {
            let lines = tracing_subscriber::fmt::layer()
                .with_writer(io::stderr)
                .with_ansi(io::stderr().is_terminal())
                .with_target(false);
            registry.with(lines).try_init()
        }
    };
    LogControl {
        filter: handle,
        level: Arc::new(Mutex::new(level)),
    }
}

fn level(settings: &ServerSettings) -> LevelFilter {
    if settings.debug {
        return LevelFilter::DEBUG;
    }
    match settings.debuglevel {
        Some(LogLevel::Critical | LogLevel::Error) => LevelFilter::ERROR,
        Some(LogLevel::Warning) => LevelFilter::WARN,
        Some(LogLevel::Info) | None => LevelFilter::INFO,
        Some(LogLevel::Debug) => LevelFilter::DEBUG,
    }
}

/// The journal, when standard error is connected to it (systemd.exec(5), `$JOURNAL_STREAM`).
fn journal() -> Option<tracing_journald::Layer> {
    let stream = std::env::var("JOURNAL_STREAM").ok()?;
    let (device, inode) = stream.split_once(':')?;
    let (device, inode): (u64, u64) = (device.parse().ok()?, inode.parse().ok()?);
    let stderr = std::fs::metadata("/proc/self/fd/2").ok()?;
    if (stderr.dev(), stderr.ino()) != (device, inode) {
        return None;
    }
    Some(
        tracing_journald::layer()
            .ok()?
            .with_syslog_identifier("nightlatchd".into()),
    )
}
