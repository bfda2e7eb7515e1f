//! Avahi's D-Bus interfaces, as far as announcing needs them.
//!
//! Signatures and numbers are those of Avahi's introspection files and of avahi-common/defs.h.

pub(super) use group::{EntryGroupProxy, StateChangedStream as GroupStates};
pub(super) use server::ServerProxy;

pub(super) const BUS_NAME: &str = "org.freedesktop.Avahi";

/// `AVAHI_IF_UNSPEC`: every interface.
pub(super) const ANY_INTERFACE: i32 = -1;

/// `AVAHI_PROTO_INET` and `AVAHI_PROTO_INET6`.
pub(super) const INET: i32 = 0;
pub(super) const INET6: i32 = 1;
/// `AVAHI_PROTO_UNSPEC`: IPv4 and IPv6.
pub(super) const ANY_PROTOCOL: i32 = -1;

/// `AVAHI_SERVER_RUNNING`; in every other state nothing may be announced.
pub(super) const SERVER_RUNNING: i32 = 2;

// AvahiEntryGroupState.
pub(super) const GROUP_ESTABLISHED: i32 = 2;
pub(super) const GROUP_COLLISION: i32 = 3;
pub(super) const GROUP_FAILURE: i32 = 4;

/// The error of `AddService` when another service of this machine has the name.
pub(super) const COLLISION_ERROR: &str = "org.freedesktop.Avahi.CollisionError";

// Each in a module of its own: the types made for the two `StateChanged` signals have one name.
mod server {
    use zbus::OwnedObjectPath;

    #[zbus::proxy(
        interface = "org.freedesktop.Avahi.Server",
        default_service = "org.freedesktop.Avahi",
        default_path = "/"
    )]
    pub(in super::super) trait Server {
        fn get_state(&self) -> zbus::Result<i32>;
        fn entry_group_new(&self) -> zbus::Result<OwnedObjectPath>;
        fn get_alternative_service_name(&self, name: &str) -> zbus::Result<String>;
        fn get_network_interface_index_by_name(&self, name: &str) -> zbus::Result<i32>;
        #[zbus(signal)]
        fn state_changed(&self, state: i32, error: String) -> zbus::Result<()>;
    }
}

mod group {
    #[zbus::proxy(
        interface = "org.freedesktop.Avahi.EntryGroup",
        default_service = "org.freedesktop.Avahi"
    )]
    pub(in super::super) trait EntryGroup {
        #[allow(clippy::too_many_arguments, reason = "Avahi's own signature")]
        fn add_service(
            &self,
            interface: i32,
            protocol: i32,
            flags: u32,
            name: &str,
            kind: &str,
            domain: &str,
            host: &str,
            port: u16,
            txt: &[&[u8]],
        ) -> zbus::Result<()>;
        fn commit(&self) -> zbus::Result<()>;
        fn free(&self) -> zbus::Result<()>;
        #[zbus(signal)]
        fn state_changed(&self, state: i32, error: String) -> zbus::Result<()>;
    }
}
