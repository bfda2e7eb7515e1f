//! Both roles at once, without a network.

use rustls::ServerConnection;

use super::machine_handshake::{self, KeyRequest};
use super::{Authenticated, PeerError, RawKey, ServerTls, SetupError, authenticated};
use crate::priority::Priority;

/// Proves possession of a private key without a network: a whole handshake between both roles in
/// memory. For the tests of what needs an [`Authenticated`].
pub fn authenticate_in_memory(key: &RawKey) -> Result<Authenticated, PeerError> {
    let priority = Priority::default();
    let mut server = ServerTls::new(None, &priority)
        .and_then(|tls| tls.connection())
        .map_err(|SetupError(error)| error)?;
    let boot = machine_handshake::config(key, &priority, KeyRequest::Nothing)
        .map_err(|SetupError(error)| error)?;
    let mut boot = ServerConnection::new(boot)?;
    while server.is_handshaking() || boot.is_handshaking() {
        pass_on(&mut server, &mut boot)?;
        pass_on(&mut boot, &mut server)?;
    }
    authenticated(&server)
}

/// Moves all pending TLS bytes from one end to the other.
fn pass_on<A, B>(
    from: &mut rustls::ConnectionCommon<A>,
    to: &mut rustls::ConnectionCommon<B>,
) -> Result<(), PeerError> {
    let mut wire = Vec::new();
    while from.wants_write() {
        // Writing to and reading from memory cannot fail.
        let _ = from.write_tls(&mut wire);
    }
    let mut wire = wire.as_slice();
    while !wire.is_empty() {
        let _ = to.read_tls(&mut wire);
        to.process_new_packets()?;
    }
    Ok(())
}
