//! The outcome of a `put` for each machine.

use nightlatch_console::failure::{Failure, note};
use nightlatch_console::output;
use nightlatch_core::key_id::KeyId;
use nightlatch_core::sealed_secret::SecretHeader;
use nightlatch_core::secret_name::SecretName;
use nightlatch_fleet::select::names;
use serde::Serialize;

/// What has become of a secret, machine by machine.
pub(super) struct Report {
    name: SecretName,
    dry_run: bool,
    lines: Vec<ReportLine>,
}

struct ReportLine {
    client: String,
    outcome: Result<Done, Failure>,
}

struct Done {
    name: SecretName,
    host: KeyId,
    serial: u64,
}

/// One machine in JSON.
#[derive(Serialize)]
struct ReportJson<'r> {
    client: &'r str,
    name: &'r str,
    host_key_id: Option<String>,
    serial: Option<u64>,
    done: bool,
    dry_run: bool,
    error: Option<String>,
}

impl Report {
    /// A report about the secret `name`.
    pub(super) const fn new(name: SecretName, dry_run: bool) -> Self {
        Self {
            name,
            dry_run,
            lines: Vec::new(),
        }
    }

    pub(super) fn done(&mut self, client: &str, header: &SecretHeader) {
        let done = Done {
            name: header.name.clone(),
            host: header.host,
            serial: header.serial,
        };
        self.add(client, Ok(done));
    }

    pub(super) fn failed(&mut self, client: &str, failure: Failure) {
        self.add(client, Err(failure));
    }

    fn add(&mut self, client: &str, outcome: Result<Done, Failure>) {
        let client = client.to_owned();
        self.lines.push(ReportLine { client, outcome });
    }

    /// True when the server has taken it for `client`.
    pub(super) fn has_done(&self, client: &str) -> bool {
        let mut lines = self.lines.iter();
        lines.any(|line| line.client == client && line.outcome.is_ok())
    }

    /// Tells the outcome; gives the exit status, that of the first failure.
    pub(super) fn finish(self, json: bool) -> Result<u8, Failure> {
        if json {
            let lines: Vec<ReportJson<'_>> = self.lines.iter().map(|it| self.json(it)).collect();
            output::print(&output::json::text(&lines)?)?;
        } else {
            self.note();
        }
        let mut status = 0;
        for line in self.lines {
            if let Err(failure) = line.outcome {
                if status == 0 {
                    status = failure.exit();
                }
                failure.about(&line.client).report();
            }
        }
        Ok(status)
    }

    fn note(&self) {
        let done = self.lines.iter().filter(|line| line.outcome.is_ok());
        let done: Vec<&str> = done.map(|line| line.client.as_str()).collect();
        if done.is_empty() {
            return;
        }
        let mut secrets: Vec<&str> = self
            .lines
            .iter()
            .filter_map(|line| Some(line.outcome.as_ref().ok()?.name.as_str()))
            .collect();
        secrets.dedup();
        let secrets = names(secrets.into_iter());
        let clients = names(done.into_iter());
        match self.dry_run {
            true => note(format_args!(
                "dry run: the server would take {secrets} for {clients}"
            )),
            false => note(format_args!("put {secrets} for {clients}")),
        }
    }

    fn json<'r>(&'r self, line: &'r ReportLine) -> ReportJson<'r> {
        let done = line.outcome.as_ref().ok();
        ReportJson {
            client: &line.client,
            name: done.map_or(self.name.as_str(), |done| done.name.as_str()),
            host_key_id: done.map(|done| done.host.to_string()),
            serial: done.map(|done| done.serial),
            done: done.is_some() && !self.dry_run,
            dry_run: self.dry_run,
            error: line.outcome.as_ref().err().map(Failure::to_string),
        }
    }
}
