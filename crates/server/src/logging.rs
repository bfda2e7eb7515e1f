//! Where the log goes: the journal with its fields when standard error leads there, else lines of
//! text, in colour on a terminal.

use std::io::{self, IsTerminal};
use std::os::unix::fs::MetadataExt;

use nightlatch_core::settings::server::{LogLevel, ServerSettings};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts logging. Before this, problems go to standard error as plain lines.
pub(crate) fn start(settings: &ServerSettings) {
    let level = level(settings);
    // Libraries tell of their inner life at debug and info: their warnings are enough.
    let wanted = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target("nightlatch_server", level);
    let registry = tracing_subscriber::registry().with(wanted);
    // A second start, as in tests, keeps the first.
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
