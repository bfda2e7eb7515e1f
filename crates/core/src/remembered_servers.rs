//! Servers at the addresses where the machine's agent last reached them. A boot tries them beside its search, and not in
//! place of it: an address is only a hint, and what answers there is believed no more than any server that is found.

use core::net::{IpAddr, SocketAddr};

use crate::connect::{ServerList, Target, TargetHost};

/// The name of the file: in the agent's state, and in the folder of a boot image.
pub const FILE: &str = "remembered-servers";

/// The greatest length of the file, in bytes.
pub const MAX_BYTES: usize = 4096;

/// The greatest number of servers; more are left out.
pub const MAX_SERVERS: usize = 16;

/// The text of the file: a line for each address, without the interface of a link-local one, which may have another name
/// at boot.
pub fn to_text(addresses: impl IntoIterator<Item = SocketAddr>) -> String {
    text_of(addresses.into_iter().filter_map(target))
}

/// The address as it is remembered, without the interface of a link-local one. `None` for one that no server can have.
pub fn target(address: SocketAddr) -> Option<Target> {
    Some(Target {
        host: TargetHost::of_address(address.ip())?,
        port: address.port().try_into().ok()?,
    })
}

/// The servers in such a file. Names and everything else are left out: nothing that is wrong in it may keep a machine
/// down.
pub fn parse(text: &str) -> Vec<Target> {
    let words = text.get(..MAX_BYTES.min(text.len())).unwrap_or_default();
    let servers = ServerList::parse_list(words);
    let addresses = servers.targets().filter(|target| is_address(target));
    addresses.take(MAX_SERVERS).cloned().collect()
}

/// The same text as [`to_text`] writes, of what [`parse`] has read.
pub fn text_of(targets: impl IntoIterator<Item = Target>) -> String {
    let targets = targets.into_iter().take(MAX_SERVERS);
    targets.map(|target| format!("{target}\n")).collect()
}

fn is_address(target: &Target) -> bool {
    match target.host {
        TargetHost::Address(IpAddr::V4(address)) => !address.is_broadcast(),
        TargetHost::Address(IpAddr::V6(_)) | TargetHost::LinkLocal(..) => true,
        TargetHost::Name(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_kept_without_their_interfaces() {
        let addresses = ["192.0.2.7:4711", "[fe80::1%3]:4711", "[2001:db8::1]:4712"];
        let text = to_text(addresses.map(|address| address.parse().unwrap()));
        assert_eq!(text, "192.0.2.7:4711\n[fe80::1]:4711\n[2001:db8::1]:4712\n");
        let targets = parse(&text);
        assert_eq!(targets.len(), 3);
        assert_eq!(text_of(targets), text);
    }

    #[test]
    fn what_is_wrong_is_left_out() {
        let text = "# server.example:4711\nserver.example:4711\n192.0.2.7\n192.0.2.7:0\n\u{0}\n192.0.2.7:4711\n192.0.2.7:4711\n";
        let targets: Vec<String> = parse(text).iter().map(ToString::to_string).collect();
        assert_eq!(targets, ["192.0.2.7:4711"]);
        let many: String = (1..100).map(|port| format!("192.0.2.7:{port}\n")).collect();
        assert_eq!(parse(&many).len(), MAX_SERVERS);
        assert!(parse(&"\u{e4}".repeat(MAX_BYTES)).is_empty());
    }
}
