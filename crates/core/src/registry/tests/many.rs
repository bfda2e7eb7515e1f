//! A hundred thousand clients: no event may scan them all.

use std::time::Duration;

use super::world::{at_boot, config_with, seconds};
use crate::checker::LastCheck;
use crate::client::saved::Saved;
use crate::event::{Durability, Event, RequestClaims, RequestId};
use crate::key_id::KeyId;
use crate::name::ClientName;
use crate::registry::{Action, Registry, RegistryLimits, RequestAnswer};
use crate::settings::client::ClientConfig;
use crate::time::BootId;

const CLIENTS: u32 = 100_000;

fn key(number: u32) -> KeyId {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    KeyId::from_bytes(bytes).unwrap()
}

fn numbered(number: u32) -> ClientConfig {
    let mut config = config_with(1, |it| it.key_id = Some(key(number)));
    config.name = ClientName::new(&format!("client{number}")).unwrap();
    config
}

#[test]
fn a_hundred_thousand_clients_are_checked_and_served() {
    let mut now = at_boot();
    let mut turn = 0;
    let mut spread = |most: Duration| {
        turn += 1;
        most * (turn % 1000) / 1000
    };
    let limits = RegistryLimits {
        concurrent_checks: 64,
        check_on_release: false,
        allow_rehearsals: false,
    };
    let boot = BootId::from_bytes([0; 16]);
    let configured: Vec<_> = (0..CLIENTS).map(numbered).collect();
    let mut registry = Registry::load(configured, Saved::default(), limits, boot, now, &mut spread);
    while registry.poll_action().is_some() {}
    let end = now.mono.after(seconds(110));
    let mut checked = 0;
    while let Some(next) = registry.poll_timeout().filter(|next| *next <= end) {
        now.mono = next;
        registry.handle_timeout(now);
        while let Some(action) = registry.poll_action() {
            if let Action::StartCheck { client } = action {
                checked += 1;
                registry.handle_check_finished(client, LastCheck::Exited(0), now);
            }
        }
    }
    assert!(checked > CLIENTS * 9 / 10);
    for number in (0..CLIENTS).step_by(1000) {
        let request = RequestId(number.into());
        registry.handle_request(request, &key(number), RequestClaims::default(), now);
        let id = registry.by_name(&format!("client{number}")).unwrap();
        let answer = RequestAnswer::Release(id);
        assert!(matches!(
            registry.poll_action(),
            Some(Action::Persist(_, Durability::Soon))
        ));
        assert!(matches!(
            registry.poll_action(),
            Some(Action::Event(Event::Granted { .. }))
        ));
        assert_eq!(
            registry.poll_action(),
            Some(Action::Answer { request, answer })
        );
        registry.handle_delivered(request, now);
        while registry.poll_action().is_some() {}
    }
}
