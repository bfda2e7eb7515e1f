//! Named secrets of services under a real systemd: a service that requires one fails clearly while no server answers, and
//! starts by itself once one does. The agent is the real one as far as it can go without a server; what only a server can
//! give is said by a thread of this test, in the agent's place and in its words.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex};
use std::thread;

use nightlatch_packages::system::TestSystem;

const SECRET: &str = "nightlatch-secret@card-pin.service";

/// Host keys, an administrator to believe, and an agent that reaches no server.
const SET_UP: &str = "nightlatch keygen --dir /var/lib/nightlatch-agent/keys
    cp /var/lib/nightlatch-agent/keys/pubkey.txt /etc/nightlatch/admin-keys
    chmod 0644 /etc/nightlatch/admin-keys
    printf '%064d\\n' 1 > /etc/nightlatch/agent-trusted-servers
    printf '[agent]\\nconnect = 127.0.0.1:1\\n' > /etc/nightlatch/agent.conf";

/// Two services that need the secret, one that needs the first of them, and less patience.
const UNITS: &str = "cd /etc/systemd/system
    for name in app other; do
        cat > $name.service <<END
[Unit]
Requires=nightlatch-secret@card-pin.service
After=nightlatch-secret@card-pin.service
[Service]
LoadCredential=card-pin:/run/nightlatch/credentials/card-pin
ExecStart=sh -c 'cp \\\"\\$CREDENTIALS_DIRECTORY/card-pin\\\" /run/got-$name; exec sleep infinity'
END
    done
    cat > front.service <<END
[Unit]
Requires=app.service
After=app.service
[Service]
ExecStart=sleep infinity
END
    mkdir nightlatch-secret@.service.d
    printf '[Service]\\nEnvironment=WAIT=0\\nRestartSec=1\\n' > nightlatch-secret@.service.d/test.conf
    systemctl daemon-reload";

fn state(system: &TestSystem, unit: &str, property: &str) -> String {
    let value = system.run(&["systemctl", "show", "--value", "-p", property, unit]);
    value.trim().to_owned()
}

fn is_active(system: &TestSystem, unit: &str) -> bool {
    state(system, unit, "ActiveState") == "active"
}

fn journal(system: &TestSystem) -> String {
    system.run(&["journalctl", "--no-pager", "--output=cat", "--unit", SECRET])
}

/// Answers each caller in the place of the agent.
fn answer_as_agent(system: &TestSystem) -> Arc<Mutex<String>> {
    let folder = system.file("/run/nightlatch-agent-get");
    fs::create_dir_all(&folder).unwrap();
    let socket = folder.join("socket");
    let _ = fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    let answer = Arc::new(Mutex::new(String::from(
        "failed no-server nobody is here\n",
    )));
    let said = Arc::clone(&answer);
    thread::spawn(move || {
        for mut caller in listener.incoming().map_while(Result::ok) {
            let said = said.lock().unwrap().clone();
            thread::spawn(move || {
                let mut line = [0; 13];
                if caller.read_exact(&mut line).is_ok() {
                    assert_eq!(&line, b"get card-pin\n");
                    let _ = caller.write_all(said.as_bytes());
                }
                // One that waits is left waiting, until it leaves.
                if said.starts_with("waiting") {
                    let _ = caller.read(&mut [0]);
                }
            });
        }
    });
    answer
}

#[test]
#[ignore = "make deb-test builds the packages first"]
fn a_service_fails_without_its_secret_and_starts_when_a_server_is_back() {
    for suite in ["bookworm", "trixie"] {
        let Some(system) = TestSystem::booted(suite) else {
            return;
        };
        system.install(&["nightlatch-client", "nightlatch"]);
        system.sh(SET_UP);
        system.sh(UNITS);
        // The secret's unit starts no agent; multi-user.target does.
        system.sh("systemctl start nightlatch-agent");
        fails_while_the_agent_reaches_no_server(&system);
        // What each needs, and little else.
        for unit in [SECRET, "nightlatch-agent.service"] {
            let analyze = [
                "systemd-analyze",
                "security",
                "--no-pager",
                "--threshold=20",
            ];
            system.run(&[&analyze[..], &[unit]].concat());
        }
        starts_once_there_is_an_answer(&system);
    }
}

/// With the real agent.
fn fails_while_the_agent_reaches_no_server(system: &TestSystem) {
    let started = system.try_run(&["systemctl", "start", "app", "front"]);
    assert!(!started.status.success());
    let said = String::from_utf8_lossy(&started.stderr);
    assert!(
        said.contains("dependency") || said.contains("Dependency"),
        "{said}"
    );
    let log = journal(system);
    assert!(
        log.contains("card-pin: no trusted server could be reached"),
        "{log}"
    );
    assert!(
        log.contains("hint: journalctl -u nightlatch-agent says why"),
        "{log}"
    );
    assert!(!is_active(system, "app") && !is_active(system, "front"));
    let status = state(system, SECRET, "StatusText");
    assert!(
        status.contains("no trusted server could be reached"),
        "{status}"
    );
    // The agent serves root in its own folder.
    let modes = "stat -c '%a %U' /run/nightlatch-agent-get /run/nightlatch-agent-get/socket";
    assert_eq!(
        system.sh(modes),
        "755 _nightlatch-agent\n666 _nightlatch-agent\n"
    );
    // Others are not listened to.
    let nobody = system.try_run(&[
        "runuser",
        "-u",
        "nobody",
        "--",
        "nightlatch",
        "get",
        "card-pin",
    ]);
    assert_eq!(nobody.status.code(), Some(77), "{nobody:?}");
}

fn starts_once_there_is_an_answer(system: &TestSystem) {
    system.sh("systemctl mask --runtime --now nightlatch-agent");
    let answer = answer_as_agent(system);
    // It goes on to be tried, and what waited stays failed.
    let restarts = || state(system, SECRET, "NRestarts").parse::<u32>().unwrap();
    let before = restarts();
    system.until("it is tried again", |_| restarts() > before + 1);
    assert!(!is_active(system, "app"));

    *answer.lock().unwrap() = "trying\nvalue 7\nhunter2".to_owned();
    for unit in ["app", "front"] {
        system.until(&format!("{unit} is started"), |system| {
            is_active(system, unit)
        });
    }
    system.until("it has its secret", |system| {
        fs::read_to_string(system.file("/run/got-app")).is_ok_and(|got| got == "hunter2")
    });
    assert!(journal(system).contains("started what had waited for it: app.service, front.service"));
    // What had not waited was not started.
    assert!(!is_active(system, "other"));
    let file = system.file("/run/nightlatch/credentials/card-pin");
    let about = fs::metadata(&file).unwrap();
    assert_eq!((about.mode() & 0o7777, about.uid()), (0o400, 0));
    let kind = system.run(&[
        "findmnt",
        "--noheadings",
        "-o",
        "FSTYPE,OPTIONS",
        "/run/nightlatch/credentials",
    ]);
    assert!(
        kind.starts_with("ramfs ") && kind.contains("noexec"),
        "{kind}"
    );

    // An administrator stops them: the secret goes, and its return starts nothing.
    system.run(&["systemctl", "stop", SECRET]);
    assert!(!file.exists());
    assert!(!is_active(system, "app"));
    system.run(&["systemctl", "start", SECRET]);
    assert!(file.exists() && !is_active(system, "app"));
    system.run(&["systemctl", "start", "other"]);
    assert!(is_active(system, "other"));

    // As systemd-escape writes it, it is refused, and takes the file from nobody.
    let escaped = system.run(&[
        "systemd-escape",
        "--template=nightlatch-secret@.service",
        "card-pin",
    ]);
    assert!(escaped.contains("\\x2d"), "{escaped}");
    assert!(
        !system
            .try_run(&["systemctl", "start", escaped.trim()])
            .status
            .success()
    );
    system.run(&["systemctl", "stop", escaped.trim()]);
    assert!(file.exists());
    system.run(&["systemctl", "stop", SECRET]);
    assert!(!file.exists());

    // Somebody gives up: a later success starts nothing.
    *answer.lock().unwrap() = "failed no-server nobody is here\n".to_owned();
    assert!(
        !system
            .try_run(&["systemctl", "start", "app"])
            .status
            .success()
    );
    system.run(&["systemctl", "stop", SECRET]);
    let notes = system.file("/run/nightlatch/credentials/.card-pin.units");
    // A stop between two runs leaves them. They are old later on.
    if let Ok(text) = fs::read_to_string(&notes) {
        let (_, units) = text.split_once('\n').unwrap();
        fs::write(&notes, format!("1\n{units}")).unwrap();
    }
    *answer.lock().unwrap() = "value 7\nhunter2".to_owned();
    system.run(&["systemctl", "start", SECRET]);
    assert!(!is_active(system, "app") && !notes.exists());
    system.run(&["systemctl", "stop", SECRET]);

    *answer.lock().unwrap() = "waiting approval 58 4711\n".to_owned();
    system.run(&["systemctl", "start", "--no-block", SECRET]);
    system.until("its status says what it waits for", |system| {
        state(system, SECRET, "StatusText")
            .starts_with("waiting for an approval, request 4711, 58 s left: nightlatch approve ")
    });
    let shown = system.try_run(&["systemctl", "status", "--no-pager", SECRET]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("--request 4711"), "{shown}");
    system.run(&["systemctl", "stop", SECRET]);

    *answer.lock().unwrap() = "rejected forged\n".to_owned();
    assert!(
        !system
            .try_run(&["systemctl", "start", "app"])
            .status
            .success()
    );
    system.until("its status says why", |system| {
        state(system, SECRET, "ExecMainStatus") == "65"
    });
    assert!(
        journal(system)
            .contains("card-pin: the agent does not believe what the server gave: forged")
    );
    system.run(&["systemctl", "stop", SECRET]);
    assert!(!file.exists());
}
