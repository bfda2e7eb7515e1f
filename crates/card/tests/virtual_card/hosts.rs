//! To which hosts the agent signs logins, and when: `hosts`, `known_hosts` and `hours` of card.conf with real hosts.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::Output;

use nightlatch_sys::clock;

use super::apdus::ED25519;
use super::sshd::{Host, has_sshd};
use super::world::World;

/// An agent with these lines in card.conf, whose card is unlocked.
fn world(settings: &str) -> Option<World> {
    if !has_sshd() {
        return None;
    }
    let mut world = World::new()?;
    world.generate(ED25519);
    let list = world.path("known_hosts");
    fs::write(&list, "").unwrap();
    let settings = format!("known_hosts = {}\n{settings}", list.display());
    world.start_agent(&settings);
    world.unlock();
    Some(world)
}

/// Logs in as root, and runs a command there.
fn login(world: &World, host: &Host, command: &str) -> Output {
    let mut ssh = world.ssh("ssh");
    ssh.args(World::ssh_options(host))
        .args(["root@host", command]);
    ssh.output().unwrap()
}

#[track_caller]
fn assert_in(world: &World, host: &Host) {
    let output = login(world, host, "echo in");
    let sshd = fs::read_to_string(world.path("sshd.log")).unwrap_or_default();
    assert_eq!(
        output.stdout,
        b"in\n",
        "{output:?}\n{sshd}\n{}",
        world.log()
    );
}

/// The login is refused, and the log of the agent has each of these texts in one line. A second refusal of a kind within a minute has
/// no line of its own.
#[track_caller]
fn assert_refused(world: &World, host: &Host, reasons: &[&str]) {
    let output = login(world, host, "echo in");
    assert_eq!(output.status.code(), Some(255), "{output:?}");
    assert_eq!(output.stdout, b"", "{output:?}");
    let is_told = |line: &str| {
        line.contains("refused a signature to user 0 (process ")
            && reasons.iter().all(|reason| line.contains(reason))
    };
    let what = format!("a refusal with {reasons:?}");
    world.wait(&what, || world.log().lines().any(is_told));
}

fn know(world: &World, lines: &str) {
    fs::write(world.path("known_hosts"), lines).unwrap();
}

fn fingerprint(world: &World, host: &Host) -> String {
    let mut command = world.ssh("ssh-keygen");
    let output = command.arg("-lf").arg(&host.key).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split(' ').nth(1).unwrap().to_owned()
}

#[test]
fn a_login_goes_to_the_named_hosts_with_their_known_keys_only() {
    let Some(world) = world("hosts = web1, [2001:db8::1]:2222") else {
        return;
    };
    let told = "`known_hosts` have no key of [2001:db8::1]:2222";
    world.wait_for_log(told);
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let (web, other) = (
            world.host(&format!("web-{kind}"), kind, ""),
            world.host(&format!("other-{kind}"), kind, ""),
        );
        know(&world, "");
        let unknown = fingerprint(&world, &web);
        let reasons = ["not known for a host in `hosts`", unknown.as_str()];
        // The others are the same kind of refusal.
        let told = if kind == "ed25519" { 2 } else { 1 };
        assert_refused(&world, &web, &reasons[..told]);
        // The list is read anew: this is also how a rotated key comes in.
        know(&world, &format!("[2001:db8::1]:2222 {}\n", web.public()));
        assert_in(&world, &web);
        know(&world, &format!("web1,web2 {}\n", web.public()));
        assert_in(&world, &web);
        assert_refused(&world, &other, &["not known for a host in `hosts`"]);
        // It is known, but for a host that is not named.
        let both = format!("web1 {}\nother {}\n", web.public(), other.public());
        know(&world, &both);
        assert_refused(&world, &other, &["not known for a host in `hosts`"]);
        assert_in(&world, &web);
        know(&world, &format!("{both}@revoked * {}\n", web.public()));
        assert_refused(&world, &web, &["is revoked"]);
        know(&world, &both);
        world.keygen(&["-H", "-f", world.path("known_hosts").to_str().unwrap()]);
        let hashed = fs::read_to_string(world.path("known_hosts")).unwrap();
        assert!(hashed.starts_with("|1|"), "{hashed}");
        assert_in(&world, &web);
        assert_refused(&world, &other, &[]);
        let line = format!(": a login as \"root\" on web1, host key {unknown}");
        world.wait_for_log(&line);
    }
    let alarm = "ALARM: a login of user 0 is refused: the host key";
    // One of a kind in a minute: of unknown keys, and of revoked ones.
    assert_eq!(world.log().matches(alarm).count(), 2, "{}", world.log());
}

#[test]
fn another_user_is_refused_and_messages_are_signed_as_before() {
    let Some(world) = world("hosts = backup@web1") else {
        return;
    };
    let web = world.host("web", "ed25519", "");
    know(&world, &format!("web1 {}\n", web.public()));
    let reasons = ["\"root\" is not a user", "for web1: expected backup"];
    assert_refused(&world, &web, &reasons);
    let signed = world.sign("text");
    assert!(signed.status.success(), "{signed:?}\n{}", world.log());
    world.verify("text");
}

#[test]
fn a_host_certificate_counts_by_its_authority() {
    let Some(world) = world("hosts = web1") else {
        return;
    };
    let authority = world.path("authority");
    world.keygen(&[
        "-q",
        "-t",
        "ecdsa",
        "-N",
        "",
        "-f",
        authority.to_str().unwrap(),
    ]);
    let certificate = world.path("host-web-cert.pub");
    let option = format!("-o HostCertificate={}", certificate.display());
    let web = world.host("web", "ed25519", &option);
    let certify = |principals: &str, validity: &str| {
        let mut words = vec!["-q", "-s", authority.to_str().unwrap(), "-I", "web", "-h"];
        words.extend(["-n", principals, "-V", validity, web.key.to_str().unwrap()]);
        world.keygen(&words);
    };
    let public = fs::read_to_string(authority.with_extension("pub")).unwrap();
    let line = format!("@cert-authority web* {public}");
    certify("web0,web1", "-1h:+1h");
    assert_refused(&world, &web, &["not known for a host in `hosts`"]);
    know(&world, &line);
    assert_in(&world, &web);
    know(&world, &format!("{line}@revoked x {public}"));
    assert_refused(&world, &web, &["is revoked"]);
    know(&world, &line);
    certify("web2", "-1h:+1h");
    assert_refused(&world, &web, &["not accepted for web1", "\"web2\""]);
    certify("web1", "-2h:-1h");
    assert_refused(&world, &web, &["has expired"]);
    know(&world, &line.replace("web*", "db*"));
    assert_refused(&world, &web, &["not known for a host in `hosts`"]);
}

/// Through a host to which the agent is forwarded nothing is signed; through one that only passes bytes on it is.
#[test]
fn a_jump_is_no_forwarded_agent() {
    let Some(world) = world("hosts = a, b") else {
        return;
    };
    let (a, b) = (
        world.host("a", "ed25519", ""),
        world.host("b", "ed25519", ""),
    );
    know(&world, &format!("a {}\nb {}\n", a.public(), b.public()));
    let onward = World::ssh_options(&b).join(" ");
    let onward = format!("test -S $SSH_AUTH_SOCK && echo at a; ssh {onward} root@b echo at b");
    let forwarded = |world: &World| {
        let mut ssh = world.ssh("ssh");
        ssh.arg("-A").args(World::ssh_options(&a));
        let output = ssh.args(["root@a", &onward]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(forwarded(&world), "at a\n", "{}", world.log());
    let reason = "the agent is forwarded to the host with the key";
    world.wait_for_log(reason);
    let config = format!(
        "Host a\n  ProxyCommand {transport}\nHost b\n  HostName 127.0.0.1\n  Port {port}\n  ProxyJump root@a\n\
         Host *\n  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  BatchMode yes\n  LogLevel ERROR\n",
        transport = a.transport.display(),
        port = b.listen_once(),
    );
    fs::write(world.path("config"), config).unwrap();
    let mut ssh = world.ssh("ssh");
    ssh.args(["-T", "-F", "config", "root@b", "echo at b"]);
    let output = ssh.output().unwrap();
    assert_eq!(output.stdout, b"at b\n", "{output:?}\n{}", world.log());
    // Without `hosts` a forwarded agent signs, and the log names the right host.
    let mut world = world;
    world.kill_agent();
    world.start_agent("");
    world.unlock();
    assert_eq!(forwarded(&world), "at a\nat b\n", "{}", world.log());
    let line = format!("a login as \"root\", host key {}", fingerprint(&world, &b));
    world.wait_for_log(&line);
}

/// As libraries without session-bind@openssh.com do.
#[test]
fn a_client_that_binds_no_session_is_named_as_that() {
    let Some(world) = world("hosts = web1") else {
        return;
    };
    let mut client = UnixStream::connect(world.path("agent")).unwrap();
    let mut ask = |body: &[u8]| {
        let length = u32::try_from(body.len()).unwrap();
        client.write_all(&length.to_be_bytes()).unwrap();
        client.write_all(body).unwrap();
        let mut length = [0; 4];
        client.read_exact(&mut length).unwrap();
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        client.read_exact(&mut answer).unwrap();
        answer
    };
    let string = |bytes: &[u8]| {
        let length = u32::try_from(bytes.len()).unwrap();
        [&length.to_be_bytes()[..], bytes].concat()
    };
    let list = ask(&[11]);
    let key = &list[9..9 + 51];
    let login = [
        string(&[5; 32]),
        vec![50],
        string(b"root"),
        string(b"ssh-connection"),
        string(b"publickey"),
        vec![1],
        string(b"ssh-ed25519"),
        string(key),
    ];
    let sign = [vec![13], string(key), string(&login.concat()), vec![0; 4]].concat();
    assert_eq!(ask(&sign), [5]);
    let reason = "the client has not bound its connection to a session";
    world.wait_for_log(reason);
    // A bind without a signature of the host.
    let bind = [
        vec![27],
        string(b"session-bind@openssh.com"),
        string(key),
        string(&[5; 32]),
        string(&[string(b"ssh-ed25519"), string(&[1; 64])].concat()),
        vec![0],
    ];
    assert_eq!(ask(&bind.concat()), [5]);
    assert_eq!(ask(&sign), [5]);
    let reason = "a bind of this connection was refused";
    world.wait_for_log(reason);
}

#[test]
fn outside_of_the_hours_nothing_is_signed_and_status_says_when_it_is() {
    let days = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    let now = clock::now().wall;
    let today = now.unix_micros().div_euclid(86_400_000_000) + 3;
    let other = days[usize::try_from((today + 3).rem_euclid(7)).unwrap()];
    let Some(mut world) = world(&format!("hours = {other} 06:00-07:00")) else {
        return;
    };
    let web = world.host("web", "ed25519", "");
    let next = format!("the next hours begin on {other} 20");
    assert_refused(&world, &web, &["outside of the `hours`", &next]);
    assert!(!world.sign("text").status.success());
    let status = String::from_utf8(world.run(&["status"]).stdout).unwrap();
    let told = format!("hours: nothing is signed now, the next hours begin on {other}");
    assert!(status.contains(&told), "{status}");
    world.kill_agent();
    world.start_agent("hours = Mon-Sun 00:00-24:00");
    world.unlock();
    assert_in(&world, &web);
    assert!(world.sign("text").status.success());
}

#[test]
fn after_the_time_of_learning_the_first_login_to_a_new_host_is_an_alarm() {
    let Some(mut world) = world("") else {
        return;
    };
    let (first, second) = (
        world.host("first", "ed25519", ""),
        world.host("second", "ed25519", ""),
    );
    assert_in(&world, &first);
    let status = String::from_utf8(world.run(&["status"]).stdout).unwrap();
    assert!(
        status.contains("usual hosts: 1 (learned until 20"),
        "{status}"
    );
    world.kill_agent();
    // As if it had begun eight days ago.
    let file = world.path("state/usual-hosts");
    let begun = clock::now().wall.unix_micros() - 8 * 86_400_000_000;
    let text = fs::read_to_string(&file).unwrap();
    let text = text.lines().map(|line| match line.starts_with("since ") {
        true => format!("since {begun}\n"),
        false => format!("{line}\n"),
    });
    fs::write(&file, text.collect::<String>()).unwrap();
    world.start_agent("");
    world.unlock();
    assert_in(&world, &first);
    assert!(!world.log().contains("ALARM"), "{}", world.log());
    for _ in 0..2 {
        assert_in(&world, &second);
    }
    let alarm = format!(
        "ALARM: the first login to a host with the host key {} was signed, for user 0",
        fingerprint(&world, &second)
    );
    assert_eq!(world.log().matches(&alarm).count(), 1, "{}", world.log());
    assert_eq!(world.log().matches("ALARM").count(), 1, "{}", world.log());
    let status = String::from_utf8(world.run(&["status", "--json"]).stdout).unwrap();
    assert!(status.contains("\"usual_hosts\": 2"), "{status}");
}
