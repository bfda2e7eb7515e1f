//! The agent beside the real server, over a cable without any IPv4. The server takes no heartbeats yet: what it does with
//! one is said by tests here once it does. Until then it refuses the agent, which shows that both understand each other.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use nightlatch_interop::netns::Lan;
use nightlatch_interop::process::RunningProgram;
use nightlatch_interop::programs::{Project, ours};
use nightlatch_interop::server::{Home, TestServer};
use nightlatch_proto::tls::{RawKey, RawKeyKind};

/// The agent with its files in `folder`, which trusts the server with this key id.
fn agent(folder: &Path, server: &str, command: &mut Command) -> RunningProgram {
    let write = |name: &str, content: &[u8], mode| {
        fs::write(folder.join(name), content).unwrap();
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    let key = RawKey::generate(RawKeyKind::Ed25519).unwrap();
    fs::create_dir(folder.join("keys")).unwrap();
    write("keys/tls-privkey.pem", key.private_pem().expose(), 0o600);
    write("trusted", server.as_bytes(), 0o644);
    write("agent.conf", b"[agent]\nsearch = yes\n", 0o644);
    for (option, name) in [
        ("--config", "agent.conf"),
        ("--trusted-servers", "trusted"),
        ("--boot-seed", "run/boot-seed"),
        ("--state", "state"),
        ("--runtime", "runtime"),
    ] {
        command.arg(option).arg(folder.join(name));
    }
    command.env("CREDENTIALS_DIRECTORY", folder.join("keys"));
    RunningProgram::start("nightlatch-agent", command.arg("--debug"))
}

fn wait(agent: &RunningProgram, text: &str) {
    agent.wait_for(text, |line| line.contains(text).then_some(()));
}

#[test]
fn an_agent_finds_the_server_and_says_nothing_to_one_that_it_does_not_trust() {
    let Some(lan) = Lan::new("agent") else { return };
    let server = TestServer::announced(Project::Ours, Home::new("", None), &lan.server);
    lan.client.wait_for_link_local("cli0");
    let run = |trusted: &str, said: &str| {
        let folder = tempfile::tempdir().unwrap();
        let mut command = lan.client.command(ours("nightlatch-agent"));
        let agent = agent(folder.path(), trusted, &mut command);
        wait(&agent, said);
        agent.terminate();
    };
    let key = server.key_id();
    run(&key, "the server closed the connection without an answer");
    run(&"1".repeat(64), "is not among the trusted ones");
    lan.assert_no_ipv4();
}
