//! Events as lines of JSON, one an event, for a report of a fault or a test: what was recorded plays
//! the same again.

use std::io::{self, Write};

use crate::monitor::event::{EventTime, MonitorEvent};

/// Writes one event with its time as a line.
pub(crate) fn write(to: &mut impl Write, at: EventTime, event: &MonitorEvent) -> io::Result<()> {
    let mut line = serde_json::to_vec(&(at, event))?;
    line.push(b'\n');
    to.write_all(&line)
}

#[cfg(test)]
pub(crate) fn read(line: &str) -> serde_json::Result<(EventTime, MonitorEvent)> {
    serde_json::from_str(line)
}
