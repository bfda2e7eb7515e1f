//! A client of the registry in the form that the bus shows.

use nightlatch_bus::client::ClientView;
use nightlatch_bus::names::ClientPath;
use nightlatch_core::client::Client;

pub(super) fn view(client: &Client) -> ClientView {
    let name = client.name().as_str();
    let path = ClientPath::of_name(name);
    ClientView {
        enabled: client.is_enabled(),
        expires: client.expires(),
        checker_running: client.checker_running(),
        last_check: client.last_check().into(),
        last_checked_ok: client.last_checked_ok(),
        created: Some(client.created()),
        last_enabled: client.last_enabled(),
        approval_pending: client.approval_pending(),
        last_approval_request: client.last_approval_request(),
        needs_proof: client.needs_proof(),
        ..ClientView::new(path, name.to_owned(), client.settings())
    }
}
