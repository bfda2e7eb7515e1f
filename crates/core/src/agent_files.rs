//! Places of the files of a booted machine's agent. `nightlatch enroll` writes them, `nightlatch check` examines them,
//! and `nightlatch-agent` reads them.

/// Directory of the host keys, on the encrypted root. Not below `/etc`, which is backed up and kept in version control.
pub const HOST_KEYS: &str = "/var/lib/nightlatch-agent/keys";

/// The servers that the agent trusts: one key id a line, `#` begins a comment, as in the boot client's list.
pub const TRUSTED_SERVERS: &str = "/etc/nightlatch/agent-trusted-servers";

/// The systemd unit of the agent.
pub const UNIT: &str = "nightlatch-agent.service";
