//! One client, to and from its rows. Order and number of the columns stand here only.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use nightlatch_core::boot_nonce::BootNonce;
use nightlatch_core::checker::Checker;
use nightlatch_core::checker::LastCheck;
use nightlatch_core::client::saved::{
    ClientPresence, PresentClient, SavedClient, SavedDeadline, SavedState,
};
use nightlatch_core::guard::UnknownRule;
use nightlatch_core::guard::saved::SavedGuard;
use nightlatch_core::key_id::{Fingerprint, KeyId};
use nightlatch_core::name::ClientName;
use nightlatch_core::openpgp_public_key::OpenPgpPublicKey;
use nightlatch_core::secret::{Secret, SecretDigest};
use nightlatch_core::settings::client::{ClientSettings, Setting, SettingKind, SettingValue};
use nightlatch_core::time::{BootId, Monotonic, Wall};
use rusqlite::types::{FromSql, FromSqlError, Value};
use rusqlite::{Connection, Row, params_from_iter};

/// Selects every row of every client that is remembered.
pub(super) fn select() -> String {
    let settings = settings_columns();
    let of = |table: char, columns: &[&str]| -> Vec<String> {
        columns.iter().map(|it| format!("{table}.{it}")).collect()
    };
    let columns = [
        vec!["name".to_owned()],
        of('c', &settings),
        of('c', &["secret_digest", "added_secret"]),
        vec!["p.name IS NOT NULL".to_owned()],
        of('p', &settings),
        of('p', &["secret"]),
        of('p', STATE),
    ];
    let columns = columns.concat().join(", ");
    format!("SELECT {columns} FROM configured AS c LEFT JOIN present AS p USING (name)")
}

/// The columns of a client's settings.
pub(super) fn settings_columns() -> Vec<&'static str> {
    let column = |setting: &Setting| match setting {
        // `enabled` is a state.
        Setting::Enabled => "starts_enabled",
        // `guard` is what it knows.
        Setting::Guard => "guarded",
        other => other.key(),
    };
    Setting::ALL.iter().map(column).collect()
}

pub(super) const STATE: &[&str] = &[
    "enabled",
    "created_wall",
    "last_enabled_wall",
    "last_checked_ok_wall",
    "last_approval_request_wall",
    "last_check_exit",
    "last_check_signal",
    "deadline_boot",
    "deadline_mono",
    "deadline_wall",
    "deadline_remaining",
    "denied_boot",
    "denied_mono",
    "denied_wall",
    "denied_remaining",
    "released",
    "released_boot",
    "renewed",
    "needs_proof",
    "guard",
];

/// The client in a row of [`select`].
pub(super) fn read(row: &Row<'_>) -> Result<SavedClient, RowError> {
    read_client(&mut Columns { row, next: 0 })
}

pub(super) fn read_client(columns: &mut Columns<'_, '_>) -> Result<SavedClient, RowError> {
    let name: String = columns.next()?;
    let name = ClientName::new(&name).map_err(|error| RowError::Value(error.to_string()))?;
    let configured = read_settings(columns)?;
    let configured_secret = SecretDigest::from_bytes(columns.next()?);
    let added = columns.secret()?;
    let presence = match columns.next()? {
        true => ClientPresence::Present(Box::new(PresentClient {
            settings: read_settings(columns)?,
            secret: columns.secret()?,
            state: read_state(columns)?,
        })),
        false => ClientPresence::Removed,
    };
    Ok(SavedClient {
        name,
        configured,
        configured_secret,
        added,
        presence,
    })
}

/// A row could not be read as a client.
#[derive(Debug)]
pub(super) enum RowError {
    /// The database refused, or a column has another type.
    Database(rusqlite::Error),
    /// A value that cannot be.
    Value(String),
}

impl From<rusqlite::Error> for RowError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

/// Hands out the columns of a row from left to right.
pub(super) struct Columns<'a, 'row> {
    pub(super) row: &'a Row<'row>,
    pub(super) next: usize,
}

impl Columns<'_, '_> {
    pub(super) fn next<T: FromSql>(&mut self) -> rusqlite::Result<T> {
        let index = self.next;
        self.next += 1;
        self.row.get(index)
    }

    fn span(&mut self) -> rusqlite::Result<Duration> {
        let micros: i64 = self.next()?;
        let micros = u64::try_from(micros).map_err(|_| FromSqlError::OutOfRange(micros))?;
        Ok(Duration::from_micros(micros))
    }

    fn secret(&mut self) -> rusqlite::Result<Option<Arc<Secret>>> {
        let bytes = self.next::<Option<Vec<u8>>>()?;
        Ok(bytes.map(|bytes| Arc::new(Secret::new(bytes))))
    }

    fn wall(&mut self) -> rusqlite::Result<Option<Wall>> {
        Ok(self.next::<Option<i64>>()?.map(Wall::from_unix_micros))
    }
}

fn read_settings(columns: &mut Columns<'_, '_>) -> Result<ClientSettings, RowError> {
    let wrong = |error: &dyn fmt::Display| RowError::Value(error.to_string());
    let mut settings = ClientSettings::default();
    for &setting in Setting::ALL {
        let value = match setting.kind() {
            SettingKind::KeyId => {
                let key_id = columns.next::<Option<[u8; 32]>>()?.map(KeyId::from_bytes);
                SettingValue::KeyId(key_id.transpose().map_err(|error| wrong(&error))?)
            }
            SettingKind::Fingerprint => {
                let fingerprint = columns.next::<Option<[u8; 20]>>()?;
                SettingValue::Fingerprint(fingerprint.map(Fingerprint::from_bytes))
            }
            SettingKind::Text => SettingValue::Text(columns.next()?),
            SettingKind::Checker => {
                let checker = Checker::new(columns.next::<String>()?);
                SettingValue::Checker(checker.map_err(|error| wrong(&error))?)
            }
            SettingKind::Length => SettingValue::Length(columns.span()?),
            SettingKind::Boolean => SettingValue::Boolean(columns.next()?),
            SettingKind::OpenPgpKey => {
                let key = columns.next::<Option<Vec<u8>>>()?;
                let key = key.map(|bytes| OpenPgpPublicKey::from_bytes(&bytes));
                SettingValue::OpenPgpKey(key.transpose().map_err(|error| wrong(&error))?)
            }
            SettingKind::Unannounced => {
                let rule = columns.next::<String>()?.parse();
                SettingValue::Unannounced(rule.map_err(|error: UnknownRule| wrong(&error))?)
            }
        };
        let put = setting.put(&mut settings, value);
        put.map_err(|error| wrong(&error))?;
    }
    Ok(settings)
}

fn read_state(columns: &mut Columns<'_, '_>) -> Result<SavedState, RowError> {
    let enabled = columns.next()?;
    let created = Wall::from_unix_micros(columns.next()?);
    let last_enabled = columns.wall()?;
    let last_checked_ok = columns.wall()?;
    let last_approval_request = columns.wall()?;
    let exit: Option<u8> = columns.next()?;
    let signal: Option<i32> = columns.next()?;
    let last_check = match (exit, signal) {
        (None, None) => LastCheck::None,
        (Some(status), _) => LastCheck::Exited(status),
        (None, Some(signal)) => LastCheck::Signaled(signal),
    };
    Ok(SavedState {
        enabled,
        created,
        last_enabled,
        last_checked_ok,
        last_approval_request,
        last_check,
        deadline: read_moment(columns)?,
        denied: read_moment(columns)?,
        released: columns.next()?,
        released_boot: columns
            .next::<Option<[u8; 16]>>()?
            .map(BootNonce::from_bytes),
        renewed: columns.next()?,
        needs_proof: columns.next()?,
        guard: read_guard(columns)?,
    })
}

/// A guard that cannot be read is no guard that was never armed.
fn read_guard(columns: &mut Columns<'_, '_>) -> Result<Option<SavedGuard>, RowError> {
    let bytes = columns.next::<Option<Vec<u8>>>()?;
    let guard = bytes.map(SavedGuard::from_bytes).transpose();
    guard.map_err(|error| RowError::Value(error.to_string()))
}

fn read_moment(columns: &mut Columns<'_, '_>) -> Result<Option<SavedDeadline>, RowError> {
    let boot = columns.next::<Option<[u8; 16]>>()?;
    let Some(boot) = boot.map(BootId::from_bytes) else {
        columns.next += 3;
        return Ok(None);
    };
    Ok(Some(SavedDeadline {
        boot,
        mono: Monotonic::from_boot(columns.span()?),
        wall: Wall::from_unix_micros(columns.next()?),
        remaining: columns.span()?,
    }))
}

/// In the order of [`settings_columns`].
pub(super) fn push_settings(values: &mut Vec<Value>, settings: &ClientSettings) {
    let column = |setting: &Setting| match setting.value(settings) {
        SettingValue::KeyId(id) => blob(id.as_ref().map(|id| &id.as_bytes()[..])),
        SettingValue::Fingerprint(id) => blob(id.as_ref().map(|id| &id.as_bytes()[..])),
        SettingValue::Text(text) => text.into(),
        SettingValue::Checker(checker) => checker.as_str().to_owned().into(),
        SettingValue::Length(length) => span(length),
        SettingValue::Boolean(value) => value.into(),
        SettingValue::Unannounced(rule) => rule.as_str().to_owned().into(),
        SettingValue::OpenPgpKey(key) => blob(key.as_ref().map(OpenPgpPublicKey::as_bytes)),
    };
    values.extend(Setting::ALL.iter().map(column));
}

pub(super) fn push_state(values: &mut Vec<Value>, state: &SavedState) {
    let (exit, signal) = match state.last_check {
        LastCheck::None => (Value::Null, Value::Null),
        LastCheck::Exited(status) => (i64::from(status).into(), Value::Null),
        LastCheck::Signaled(signal) => (Value::Null, i64::from(signal).into()),
    };
    // In the order of STATE.
    values.extend([
        state.enabled.into(),
        state.created.unix_micros().into(),
        wall(state.last_enabled),
        wall(state.last_checked_ok),
        wall(state.last_approval_request),
        exit,
        signal,
    ]);
    values.extend(moment(state.deadline.as_ref()));
    values.extend(moment(state.denied.as_ref()));
    values.extend([
        state.released.into(),
        blob(
            state
                .released_boot
                .as_ref()
                .map(|boot| &boot.as_bytes()[..]),
        ),
        state.renewed.into(),
        state.needs_proof.into(),
        blob(state.guard.as_ref().map(SavedGuard::as_bytes)),
    ]);
}

fn moment(moment: Option<&SavedDeadline>) -> [Value; 4] {
    let Some(moment) = moment else {
        return [const { Value::Null }; 4];
    };
    [
        moment.boot.as_bytes().to_vec().into(),
        span(moment.mono.since_boot()),
        moment.wall.unix_micros().into(),
        span(moment.remaining),
    ]
}

pub(super) fn blob(bytes: Option<&[u8]>) -> Value {
    bytes.map(<[u8]>::to_vec).into()
}

fn wall(moment: Option<Wall>) -> Value {
    moment.map(Wall::unix_micros).into()
}

/// Microseconds, cut and not rounded up: a deadline read back is never later. What is longer than
/// 292,000 years is that long.
fn span(span: Duration) -> Value {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX).into()
}

pub(super) fn run(db: &Connection, statement: &str, values: Vec<Value>) -> rusqlite::Result<()> {
    db.prepare_cached(statement)?
        .execute(params_from_iter(values))?;
    Ok(())
}
