//! Agents and the driver: what they say is durable and answered, and they are poked.

use nightlatch_core::boot_nonce::BootNonce;
use nightlatch_core::client::saved::SavedState;
use nightlatch_proto::release::{POKE_LEN, Poke};
use tokio::net::UdpSocket;

use super::*;
use crate::session::{LifeAnswer, LifeReport};

/// A machine whose agent can be poked at `socket`.
struct Agent {
    driver: TestDriver,
    key: RawKey,
    socket: UdpSocket,
}

impl Agent {
    /// The client `a` has a host key.
    async fn new(adjust: fn(&mut ClientSettings)) -> Self {
        let driver = TestDriver::new().await;
        let key = RawKey::generate(RawKeyKind::Ed25519).unwrap();
        let mut clients = configured(&driver.keys, adjust);
        clients[0].settings.host_key_id = Some(key.key_id());
        assert!(driver.take_over(clients).await);
        let socket = UdpSocket::bind("[::1]:0").await.unwrap();
        Self {
            driver,
            key,
            socket,
        }
    }

    fn claims(boot: u8) -> RequestClaims {
        RequestClaims {
            boot: Some(BootNonce::from_bytes([boot; 16])),
            rehearsal: false,
        }
    }

    fn number(&self) -> u64 {
        self.driver.requests.fetch_add(1, Ordering::Relaxed)
    }

    async fn beat(&self, boot: u8) -> Result<LifeAnswer, Refusal> {
        let mut peer = request(self.number(), &self.key);
        peer.claims = Self::claims(boot);
        let port = self.socket.local_addr().unwrap().port();
        let report = LifeReport {
            peer,
            boot: BootNonce::from_bytes([boot; 16]),
            resumes: 0,
            earlier_boots: Vec::new(),
            poke_port: port.try_into().ok(),
            poked: None,
            rejected: Vec::new(),
            goodbye: None,
            opened: clock::now().mono,
        };
        timeout(PATIENCE, self.driver.handle.life(report))
            .await
            .unwrap()
    }

    /// A request with the boot key.
    fn boots(&self, boot: u8) -> JoinHandle<Decision> {
        let mut request = request(self.number(), &self.driver.keys[0]);
        request.claims = Self::claims(boot);
        let handle = self.driver.handle.clone();
        tokio::spawn(async move { handle.decide(request, None).await })
    }

    async fn poke(&self) -> Poke {
        let mut datagram = [0; POKE_LEN + 1];
        let received = timeout(PATIENCE, self.socket.recv(&mut datagram)).await;
        Poke::parse(&datagram[..received.unwrap().unwrap()]).unwrap()
    }

    fn saved(&self) -> SavedState {
        let saved = self.driver.store.clone().load().unwrap();
        let mut clients = saved.clients.into_iter();
        let a = clients.find(|it| it.name.as_str() == "a").unwrap();
        match a.presence {
            ClientPresence::Present(present) => present.state,
            ClientPresence::Removed => panic!("removed"),
        }
    }
}

#[tokio::test]
async fn an_agent_that_was_heard_is_durable_before_it_is_told() {
    let agent = Agent::new(|_| {}).await;
    assert_eq!(agent.saved().guard, None);
    let answer = agent.beat(1).await.unwrap();
    assert_eq!(answer.window, None);
    assert!(agent.saved().guard.is_some());
    agent.driver.end().await;
}

#[tokio::test]
async fn the_agent_is_poked_when_its_boot_key_is_used_and_its_answer_refuses() {
    let agent = Agent::new(|settings| settings.guard_wait = PATIENCE * 2).await;
    let first = agent.beat(1).await.unwrap();
    let thief = agent.boots(9);
    // Also the trial that comes first has the token of the last answer.
    assert_eq!(agent.poke().await.0, first.token);
    // The request is older than the connection of the heartbeat.
    while !thief.is_finished() {
        let answer = agent.beat(1).await.unwrap();
        assert_ne!(answer.token, first.token);
        tokio::task::yield_now().await;
    }
    let decision = timeout(PATIENCE, thief).await.unwrap().unwrap();
    assert!(matches!(decision, Err(Refusal::MachineIsUp)));
    agent.driver.end().await;
}

#[tokio::test]
async fn a_boot_of_a_silent_machine_is_released_after_its_agent_was_asked() {
    let agent = Agent::new(|settings| settings.guard_wait = Duration::from_millis(200)).await;
    // Without a port the hold would last until the next heartbeat: the interval is as short.
    agent.beat(1).await.unwrap();
    assert_eq!(agent.beat(1).await.unwrap().window, None);
    let mut booting = agent.boots(2);
    assert!(timeout(A_MOMENT, &mut booting).await.is_err());
    agent.poke().await;
    booting.abort();
    agent.driver.end().await;
}

#[tokio::test]
async fn a_boot_key_is_no_sign_of_life() {
    let agent = Agent::new(|_| {}).await;
    let mut peer = request(agent.number(), &agent.driver.keys[0]);
    peer.claims = Agent::claims(1);
    let report = LifeReport {
        peer,
        boot: BootNonce::from_bytes([1; 16]),
        resumes: 0,
        earlier_boots: Vec::new(),
        poke_port: None,
        poked: None,
        rejected: Vec::new(),
        goodbye: None,
        opened: clock::now().mono,
    };
    let answer = timeout(PATIENCE, agent.driver.handle.life(report)).await;
    assert_eq!(answer.unwrap(), Err(Refusal::UnknownHostKey));
    assert_eq!(agent.saved().guard, None);
    agent.driver.end().await;
}
