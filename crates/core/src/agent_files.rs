//! Places of the files of a booted machine's agent. `nightlatch enroll` writes them, `nightlatch check` examines them,
//! and `nightlatch-agent` reads them.

/// Directory of the host keys, on the encrypted root. Not below `/etc`, which is backed up and kept in version control.
pub const HOST_KEYS: &str = "/var/lib/nightlatch-agent/keys";

/// The servers that the agent trusts: one key id a line, `#` begins a comment, as in the boot client's list.
pub const TRUSTED_SERVERS: &str = "/etc/nightlatch/agent-trusted-servers";

/// The administrators' public keys: a named secret is believed if one of them has signed it.
pub const ADMIN_KEYS: &str = "/etc/nightlatch/admin-keys";

/// The folder of the socket at which the agent answers who asks for a named secret. All users can enter it.
pub const GET_FOLDER: &str = "/run/nightlatch-agent-get";

/// The name of that socket in its folder.
pub const GET_SOCKET: &str = "socket";

/// The folder in memory from which systemd gives services their named secrets.
pub const CREDENTIALS: &str = "/run/nightlatch/credentials";

/// Where the agent last reached its servers, for the next boot image.
pub const REMEMBERED_SERVERS: &str = "/var/lib/nightlatch-agent/state/remembered-servers";

/// The systemd unit of the agent.
pub const UNIT: &str = "nightlatch-agent.service";
