//! The tables. A client has one row in `configured` for as long as it is remembered, and one in
//! `present` for as long as it exists: of a removed client nothing but what its section said, with
//! the digest of its secret, is kept.
//!
//! Times are whole microseconds: spans as such, moments since 1970 (`*_wall`, UTC) or since the boot
//! `*_boot` (`*_mono`). Booleans are 0 or 1.

/// `PRAGMA application_id`: "NLst" in ASCII. Distinguishes our file from any other SQLite database.
pub(super) const APPLICATION_ID: i32 = 0x4e4c_7374;

/// `PRAGMA user_version`: the format of the tables below. A higher one is refused.
pub(super) const VERSION: i32 = 5;

/// The columns of a client's settings, as both tables have them.
macro_rules! settings_columns {
    () => {
        "key_id BLOB CHECK (length(key_id) = 32),
         fingerprint BLOB CHECK (length(fingerprint) = 20),
         host TEXT NOT NULL,
         checker TEXT NOT NULL,
         timeout INTEGER NOT NULL CHECK (timeout >= 0),
         extended_timeout INTEGER NOT NULL CHECK (extended_timeout >= 0),
         interval INTEGER NOT NULL CHECK (interval >= 0),
         approval_delay INTEGER NOT NULL CHECK (approval_delay >= 0),
         approval_duration INTEGER NOT NULL CHECK (approval_duration >= 0),
         approved_by_default INTEGER NOT NULL CHECK (approved_by_default IN (0, 1)),
         starts_enabled INTEGER NOT NULL CHECK (starts_enabled IN (0, 1)),"
    };
}

/// The columns of a moment on both clocks: all are set, or none.
macro_rules! moment_columns {
    ($name:literal) => {
        concat!(
            $name,
            "_boot BLOB CHECK (length(",
            $name,
            "_boot) = 16),\n",
            $name,
            "_mono INTEGER CHECK ((",
            $name,
            "_mono IS NULL) = (",
            $name,
            "_boot IS NULL)),\n",
            $name,
            "_wall INTEGER CHECK ((",
            $name,
            "_wall IS NULL) = (",
            $name,
            "_boot IS NULL)),\n",
            $name,
            "_remaining INTEGER CHECK ((",
            $name,
            "_remaining IS NULL) = (",
            $name,
            "_boot IS NULL))\n"
        )
    };
}

/// Migrations: each makes one format from the one before, the first from an empty database.
pub(super) const STEPS: [&str; VERSION as usize] = [FIRST, RECORDS, TOMBSTONES, GUARDS, SECRETS];

const FIRST: &str = concat!(
    "CREATE TABLE store (
         one INTEGER PRIMARY KEY CHECK (one = 1),
         generation INTEGER NOT NULL -- how many commits have been made
     ) STRICT;
     INSERT INTO store VALUES (1, 0);

     CREATE TABLE configured (
         name TEXT PRIMARY KEY NOT NULL,",
    settings_columns!(),
    "    secret_digest BLOB NOT NULL CHECK (length(secret_digest) = 32) -- SHA-256
     ) STRICT, WITHOUT ROWID;

     CREATE TABLE present (
         name TEXT PRIMARY KEY NOT NULL REFERENCES configured ON DELETE CASCADE,",
    settings_columns!(),
    "    secret BLOB, -- set at run time, in place of the configured one
         enabled INTEGER NOT NULL CHECK (enabled IN (0, 1)),
         created_wall INTEGER NOT NULL,
         last_enabled_wall INTEGER,
         last_checked_ok_wall INTEGER,
         last_approval_request_wall INTEGER,
         last_check_exit INTEGER CHECK (last_check_exit BETWEEN 0 AND 255),
         last_check_signal INTEGER CHECK (last_check_exit IS NULL OR last_check_signal IS NULL),
         ",
    moment_columns!("deadline"), // when it will be disabled
    ",",
    moment_columns!("denied"), // until when a person's denial counts
    ") STRICT, WITHOUT ROWID;"
);

/// Adds the audit log, clients that are added at run time, and the state for alarms.
const RECORDS: &str = "
    ALTER TABLE configured ADD COLUMN added_secret BLOB; -- of a client that stands in no file
    ALTER TABLE present ADD COLUMN released INTEGER NOT NULL DEFAULT 0 CHECK (released IN (0, 1));
    ALTER TABLE present ADD COLUMN released_boot BLOB CHECK (length(released_boot) = 16);
    -- The last entry that was dropped.
    ALTER TABLE store ADD COLUMN anchor_seq INTEGER NOT NULL DEFAULT 0 CHECK (anchor_seq >= 0);
    ALTER TABLE store ADD COLUMN anchor_hash BLOB NOT NULL
        DEFAULT x'0000000000000000000000000000000000000000000000000000000000000000'
        CHECK (length(anchor_hash) = 32);

    CREATE TABLE record (
        seq INTEGER PRIMARY KEY,
        time INTEGER NOT NULL,
        kind TEXT NOT NULL,
        client TEXT,
        alarm INTEGER NOT NULL CHECK (alarm IN (0, 1)),
        text TEXT NOT NULL, -- JSON
        hash BLOB NOT NULL CHECK (length(hash) = 32)
    ) STRICT;
    CREATE INDEX record_by_time ON record (time);
    CREATE INDEX record_by_client ON record (client) WHERE client IS NOT NULL;
    CREATE INDEX record_of_alarms ON record (seq) WHERE alarm;
";

/// The columns of a tombstone's settings, with a prefix.
macro_rules! departed_columns {
    ($prefix:literal) => {
        concat!(
            $prefix,
            "key_id BLOB, ",
            $prefix,
            "fingerprint BLOB, ",
            $prefix,
            "host TEXT NOT NULL, ",
            $prefix,
            "checker TEXT NOT NULL, ",
            $prefix,
            "timeout INTEGER NOT NULL, ",
            $prefix,
            "extended_timeout INTEGER NOT NULL, ",
            $prefix,
            "interval INTEGER NOT NULL, ",
            $prefix,
            "approval_delay INTEGER NOT NULL, ",
            $prefix,
            "approval_duration INTEGER NOT NULL, ",
            $prefix,
            "approved_by_default INTEGER NOT NULL, ",
            $prefix,
            "starts_enabled INTEGER NOT NULL, ",
        )
    };
}

/// Adds tombstones, one for each holder, and the trust in the state.
const TOMBSTONES: &str = concat!(
    "ALTER TABLE present ADD COLUMN renewed INTEGER NOT NULL DEFAULT 0 CHECK (renewed IN (0, 1));
     ALTER TABLE present ADD COLUMN needs_proof INTEGER NOT NULL DEFAULT 0
         CHECK (needs_proof IN (0, 1));
     -- 0: whole; 1: some of it was lost; 2: nothing in it can be believed.
     ALTER TABLE store ADD COLUMN trust INTEGER NOT NULL DEFAULT 0 CHECK (trust BETWEEN 0 AND 2);

     CREATE TABLE tombstone (
         holder BLOB PRIMARY KEY NOT NULL, -- 'k' and the key id, or 'n' and the name
         since_wall INTEGER NOT NULL,
         name TEXT NOT NULL,",
    departed_columns!("c_"),
    "    secret_digest BLOB NOT NULL CHECK (length(secret_digest) = 32),
         added_secret BLOB,
         is_present INTEGER NOT NULL CHECK (is_present IN (0, 1)), -- 0: removed; what follows means nothing",
    "\n",
    departed_columns!("p_"),
    "    secret BLOB,
         enabled INTEGER NOT NULL,
         created_wall INTEGER NOT NULL,
         last_enabled_wall INTEGER,
         last_checked_ok_wall INTEGER,
         last_approval_request_wall INTEGER,
         last_check_exit INTEGER,
         last_check_signal INTEGER,
         deadline_boot BLOB, deadline_mono INTEGER, deadline_wall INTEGER, deadline_remaining INTEGER,
         denied_boot BLOB, denied_mono INTEGER, denied_wall INTEGER, denied_remaining INTEGER,
         released INTEGER NOT NULL,
         released_boot BLOB,
         renewed INTEGER NOT NULL,
         needs_proof INTEGER NOT NULL
     ) STRICT, WITHOUT ROWID;"
);

/// Adds one column to a table.
macro_rules! add_column {
    ($table:literal, $prefix:literal, $column:literal) => {
        concat!(
            "ALTER TABLE ",
            $table,
            " ADD COLUMN ",
            $prefix,
            $column,
            ";\n"
        )
    };
}

/// Adds the settings of the guard to a table, each with a prefix.
macro_rules! add_guard_settings {
    ($table:literal, $prefix:literal) => {
        concat!(
            add_column!($table, $prefix, "host_key_id BLOB"),
            add_column!($table, $prefix, "guarded INTEGER NOT NULL DEFAULT 1"),
            add_column!(
                $table,
                $prefix,
                "unannounced TEXT NOT NULL DEFAULT 'release'"
            ),
            add_column!(
                $table,
                $prefix,
                "guard_wait INTEGER NOT NULL DEFAULT 3000000"
            ),
            add_column!(
                $table,
                $prefix,
                "reboot_window INTEGER NOT NULL DEFAULT 600000000"
            ),
        )
    };
}

/// Adds host keys, the settings of the guard, and what it knows (NULL: no agent was ever heard).
const GUARDS: &str = concat!(
    add_guard_settings!("configured", ""),
    add_guard_settings!("present", ""),
    add_column!("present", "", "guard BLOB"),
    add_guard_settings!("tombstone", "c_"),
    add_guard_settings!("tombstone", "p_"),
    add_column!("tombstone", "", "guard BLOB"),
);

/// Adds the OpenPGP public key of the agent, and named secrets. A secret that was removed has no payload; its row keeps
/// the serial.
const SECRETS: &str = concat!(
    add_column!("configured", "", "host_openpgp BLOB"),
    add_column!("present", "", "host_openpgp BLOB"),
    add_column!("tombstone", "c_", "host_openpgp BLOB"),
    add_column!("tombstone", "p_", "host_openpgp BLOB"),
    "CREATE TABLE named_secret (
         host_key_id BLOB NOT NULL CHECK (length(host_key_id) = 32),
         name TEXT NOT NULL,
         serial INTEGER NOT NULL, -- the bits of an unsigned number
         sealed BLOB,
         approval INTEGER NOT NULL CHECK (approval IN (0, 1)),
         put_wall INTEGER NOT NULL,
         PRIMARY KEY (host_key_id, name)
     ) STRICT;",
);
