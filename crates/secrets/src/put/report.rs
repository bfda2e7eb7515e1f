//! The outcome of a `put` for each machine.

use nightlatch_bus::named_secrets::SecretView;
use nightlatch_console::failure::{Failure, note};
use nightlatch_console::output;
use nightlatch_core::key_id::KeyId;
use nightlatch_core::sealed_secret::SecretHeader;
use nightlatch_core::secret_name::SecretName;
use nightlatch_fleet::select::names;
use serde::Serialize;

/// The outcome for each machine, in the order in which it was added.
pub(super) struct Report {
    name: SecretName,
    dry_run: bool,
    approvals: Approvals,
    lines: Vec<ReportLine>,
}

/// The source of the approval that a secret needs once it is put.
pub(super) enum Approvals {
    /// For all machines the same: `--approval` or `--no-approval`.
    All(bool),
    /// For each machine as before: these are all secrets of the server, before a dry run and else after it.
    Stay(Vec<SecretView>),
}

impl Approvals {
    /// `None` where the server lists no such secret: it remembers the approval of one that was removed, and does not tell.
    fn of(&self, done: &Done) -> Option<bool> {
        match self {
            Self::All(approval) => Some(*approval),
            Self::Stay(secrets) => {
                let is_it = |it: &&SecretView| {
                    it.name == done.name.as_str() && it.host_key_id.parse() == Ok(done.host)
                };
                secrets.iter().find(is_it).map(|it| it.approval)
            }
        }
    }
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
    approval: Option<bool>,
    done: bool,
    dry_run: bool,
    error: Option<String>,
}

impl Report {
    /// A report about the secret `name`.
    pub(super) const fn new(name: SecretName, dry_run: bool, approvals: Approvals) -> Self {
        Self {
            name,
            dry_run,
            approvals,
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

    /// True when the server keeps the secret of `client`: it was taken, and not in a dry run.
    pub(super) fn has_done(&self, client: &str) -> bool {
        let mut lines = self.lines.iter();
        !self.dry_run && lines.any(|line| line.client == client && line.outcome.is_ok())
    }

    /// The server's secrets after all puts.
    pub(super) fn set_secrets(&mut self, secrets: Vec<SecretView>) {
        if let Approvals::Stay(before) = &mut self.approvals {
            *before = secrets;
        }
    }

    /// True when only the server can say which approvals stay, once all is put.
    pub(super) fn needs_secrets(&self) -> bool {
        let is_any_done = self.lines.iter().any(|line| line.outcome.is_ok());
        !self.dry_run && is_any_done && matches!(self.approvals, Approvals::Stay(_))
    }

    /// Prints the outcome; gives the exit status, that of the first failure.
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
        if let Some(line) = self.approval_line() {
            note(line);
        }
    }

    /// A sentence about the machines whose approval stays from the value before; `None` where the command line says it.
    fn approval_line(&self) -> Option<String> {
        if matches!(self.approvals, Approvals::All(_)) {
            return None;
        }
        let done = self.lines.iter().filter(|line| {
            let done = line.outcome.as_ref().ok();
            done.and_then(|done| self.approvals.of(done)) == Some(true)
        });
        let clients: Vec<&str> = done.map(|line| line.client.as_str()).collect();
        (!clients.is_empty()).then(|| {
            let clients = names(clients.into_iter());
            format!("as before, each request for it waits for a person: {clients} (--no-approval ends that)")
        })
    }

    fn json<'r>(&'r self, line: &'r ReportLine) -> ReportJson<'r> {
        let done = line.outcome.as_ref().ok();
        ReportJson {
            client: &line.client,
            name: done.map_or(self.name.as_str(), |done| done.name.as_str()),
            host_key_id: done.map(|done| done.host.to_string()),
            serial: done.map(|done| done.serial),
            approval: done.and_then(|done| self.approvals.of(done)),
            done: done.is_some() && !self.dry_run,
            dry_run: self.dry_run,
            error: line.outcome.as_ref().err().map(Failure::to_string),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{header, key_id};
    use nightlatch_bus::named_secrets::SecretSource;
    use nightlatch_core::time::Wall;

    fn listed(host: u8, approval: bool) -> SecretView {
        SecretView {
            client: format!("web{host}"),
            host_key_id: key_id(host).to_string(),
            name: "a".to_owned(),
            serial: 1,
            created: Wall::from_unix_micros(0),
            expires: None,
            approval,
            size: 1,
            source: SecretSource::Runtime,
        }
    }

    fn report(approvals: Approvals) -> Report {
        let mut report = Report::new(SecretName::new("a").unwrap(), true, approvals);
        for host in [1, 2, 3] {
            report.done(&format!("web{host}"), &header(host, 2));
        }
        report
    }

    #[test]
    fn an_approval_that_stays_is_told() {
        let approvals = Approvals::Stay(vec![listed(1, false), listed(2, true)]);
        let stays = report(approvals);
        let line = stays.approval_line().unwrap();
        assert!(line.contains("waits for a person: web2 ("), "{line}");
        let json = |report: &Report| {
            let lines = report.lines.iter().map(|it| report.json(it).approval);
            lines.collect::<Vec<_>>()
        };
        assert_eq!(json(&stays), [Some(false), Some(true), None]);
        let ends = report(Approvals::All(false));
        assert_eq!(ends.approval_line(), None);
        assert_eq!(json(&ends), [Some(false); 3]);
    }
}
