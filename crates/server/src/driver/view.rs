//! A client of the registry in the form that the bus shows.

use nightlatch_bus::client::{ClientView, GuardView};
use nightlatch_bus::names::ClientPath;
use nightlatch_core::client::Client;
use nightlatch_core::event::ClientId;
use nightlatch_core::registry::Registry;
use nightlatch_core::secret_name::SecretName;

/// The client `id`; `None` where it is gone.
pub(super) fn view(registry: &Registry, id: ClientId) -> Option<ClientView> {
    let client = registry.client(id)?;
    let waiting = registry.waiting_secrets(id);
    let name = client.name().as_str();
    let path = ClientPath::of_name(name);
    Some(ClientView {
        enabled: client.is_enabled(),
        expires: client.expires(),
        checker_running: client.checker_running(),
        last_check: client.last_check().into(),
        last_checked_ok: client.last_checked_ok(),
        created: Some(client.created()),
        last_enabled: client.last_enabled(),
        // Mandos knows of no other request.
        approval_pending: registry.waiting_boots(id).next().is_some(),
        last_approval_request: client.last_approval_request(),
        needs_proof: client.needs_proof(),
        guard: guard(client, &waiting),
        ..ClientView::new(path, name.to_owned(), client.settings())
    })
}

fn guard(client: &Client, waiting: &[SecretName]) -> GuardView {
    let waiting: Vec<&str> = waiting.iter().map(SecretName::as_str).collect();
    let guard = client.guard();
    let host_key_id = client.settings().host_key_id.as_ref();
    let host_openpgp = client.settings().host_openpgp.as_ref();
    GuardView {
        host_key_id: host_key_id.map(ToString::to_string).unwrap_or_default(),
        state: Some(client.guard_state()),
        suspect: guard.suspect(),
        last_heartbeat: client.last_heartbeat(),
        leaving_until: client.leaving_until(),
        unaccounted: u32::try_from(guard.unaccounted()).unwrap_or(u32::MAX),
        pokeable: client.is_pokeable(),
        waiting_secrets: waiting.join(" "),
        host_openpgp: host_openpgp.map(ToString::to_string).unwrap_or_default(),
    }
}
