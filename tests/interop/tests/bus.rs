//! The results of `crates/bus` for a server, beside those of the stock server.
#![forbid(unsafe_code)]

use std::process::{Command, Stdio};
use std::time::Duration;

use nightlatch_bus::block_on;
use nightlatch_bus::client::{CheckStatus, ClientView};
use nightlatch_bus::error::BusError;
use nightlatch_bus::introspect;
use nightlatch_bus::names::{ClientPath, NIGHTLATCH_CLIENT};
use nightlatch_bus::property::{Property, PropertyValue};
use nightlatch_bus::signal::{ServerSignal, SignalStream};
use nightlatch_core::secret::Secret;
use nightlatch_interop::administered::{Administered, section};
use nightlatch_interop::both_servers;
use nightlatch_interop::dbus::Bus;
use nightlatch_interop::programs::Project;

fn the_introspection_is_ours_word_for_word(project: Project) {
    let site = Administered::start(project, &section("foo.example-1", ""));
    // Other objects below `/` belong to our own interface.
    let children: &[&str] = match project {
        Project::Stock => &["clients"],
        Project::Ours => &["clients", "org"],
    };
    let own = [
        ("/", introspect::root(children.iter().copied())),
        ("/clients", introspect::parent(["foo_example_1"])),
        ("/clients/foo_example_1", introspect::client()),
    ];
    for (path, xml) in own {
        let mut gdbus = Command::new("gdbus");
        gdbus.args(["introspect", "--system", "--dest", "se.recompile.Mandos"]);
        gdbus.args(["--object-path", path, "--xml"]);
        let stock = site.run(&mut gdbus);
        assert!(stock.status.success(), "{stock:?}");
        let mut expected = facts(xml.as_bytes());
        if project == Project::Stock {
            expected.retain(|fact| !fact.contains(NIGHTLATCH_CLIENT));
        }
        assert_eq!(expected, facts(&stock.stdout), "{path}");
    }
}

/// GDBus and others keep a property's value until they hear of a change, unless the annotation says that nobody does.
#[test]
fn the_introspection_of_our_interface_names_what_changes_without_a_signal() {
    let site = Administered::start(Project::Ours, &section("foo", ""));
    let mut gdbus = Command::new("gdbus");
    gdbus.args([
        "introspect",
        "--system",
        "--dest",
        "se.recompile.Mandos",
        "--xml",
    ]);
    gdbus.args(["--object-path", "/org/nightlatch/Nightlatch1"]);
    let output = site.run(&mut gdbus);
    assert!(output.status.success(), "{output:?}");
    let facts = facts(&output.stdout);
    let unsignalled = "annotation [('name', 'org.freedesktop.DBus.Property.EmitsChangedSignal'), ('value', 'false')]";
    for property in [
        "Clients",
        "LogLevel",
        "RecordAnchor",
        "RecordHead",
        "Warnings",
    ] {
        let property = format!("('name', '{property}')");
        let annotated = facts
            .iter()
            .any(|fact| fact.contains(&property) && fact.contains(unsignalled));
        assert!(annotated, "{property}: {facts:#?}");
    }
}

both_servers! {
    the_introspection_is_ours_word_for_word
    every_property_is_read
    what_is_set_is_told
    a_check_is_told_from_its_start_to_its_end
    a_removed_client_is_told_and_unknown
}

/// The facts in an introspection document, independent of their order: one line for each element, with its path.
fn facts(xml: &[u8]) -> Vec<String> {
    let script = "import sys, xml.etree.ElementTree as tree\n\
        def walk(element, above):\n\
        \x20   own = {k: v for k, v in element.attrib.items() if above or k != 'name'}\n\
        \x20   here = above + [element.tag + ' ' + repr(sorted(own.items()))]\n\
        \x20   print(' / '.join(here))\n\
        \x20   arguments = [repr(sorted(a.attrib.items())) for a in element.findall('arg')]\n\
        \x20   print(' / '.join(here), arguments)\n\
        \x20   for child in element: walk(child, here)\n\
        walk(tree.fromstring(sys.stdin.buffer.read()), [])\n";
    let mut python = Command::new("python3")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = python.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, xml).unwrap();
    drop(input);
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines: Vec<String> = text.lines().map(String::from).collect();
    lines.sort();
    assert!(!lines.is_empty());
    lines
}

fn every_property_is_read(project: Project) {
    let more = "timeout = PT7M\nextended_timeout = PT20M\ninterval = PT3M\napproval_delay = PT30S\n\
        approval_duration = PT2S\napproved_by_default = no\nenabled = no";
    let sections = [section("bar-2", more), section("a.b", "")].concat();
    let site = Administered::start(project, &sections);
    let mut clients = block_on(async { site.connect().await.clients().await.unwrap() });
    // Its order is another at each start.
    clients.sort_by(|a, b| a.name.cmp(&b.name));
    let [other, bar] = &clients[..] else {
        panic!("{clients:?}");
    };
    assert_eq!((other.name.as_str(), bar.name.as_str()), ("a.b", "bar-2"));
    assert_eq!(bar.path, ClientPath::of_name("bar-2"));
    assert_eq!(bar.host, "bar-2.example");
    assert_eq!(bar.checker, "true");
    assert_eq!((bar.key_id.len(), bar.fingerprint.len()), (64, 40));
    let lengths = [
        bar.timeout,
        bar.extended_timeout,
        bar.interval,
        bar.approval_delay,
        bar.approval_duration,
    ];
    assert_eq!(
        lengths.map(|length| length.as_secs()),
        [420, 1200, 180, 30, 2]
    );
    assert!(!bar.enabled && !bar.approved_by_default && !bar.approval_pending);
    assert_eq!((bar.expires, bar.last_enabled), (None, None));
    assert_eq!(bar.last_check, CheckStatus::Never);
    assert!(other.enabled && other.expires > other.created);
}

fn what_is_set_is_told(project: Project) {
    let site = Administered::start(project, &section("foo", "enabled = no"));
    block_on(async {
        let server = site.connect().await;
        let mut signals = server.signals().await.unwrap();
        assert!(signals.server_is_running());
        let mut client = signals.snapshot().await.unwrap().remove(0);
        let path = client.path.clone();
        let settings = [
            (Property::Host, PropertyValue::Text("elsewhere".into())),
            (Property::Checker, PropertyValue::Text("exit 3".into())),
            (Property::Timeout, PropertyValue::Milliseconds(60_000)),
            (Property::Interval, PropertyValue::Milliseconds(30_000)),
            (Property::ApprovalDelay, PropertyValue::Milliseconds(1000)),
            (Property::ApprovedByDefault, PropertyValue::Boolean(false)),
        ];
        for (property, value) in settings {
            server.set(&path, property, &value).await.unwrap();
            let told = until(&mut signals, |signal| match signal {
                ServerSignal::Changed { values, .. } => Some(values),
                _ => None,
            });
            assert_eq!(told.await, [(property, value.clone())]);
            assert_eq!(client.apply(property, &value), Ok(true));
        }
        let secret = Secret::new(b"another".to_vec());
        server.set_secret(&path, &secret).await.unwrap();
        let told = until(&mut signals, |signal| match signal {
            ServerSignal::Changed { invalidated, .. } => Some(invalidated),
            _ => None,
        });
        assert_eq!(told.await, [Property::Secret]);
        assert_eq!(server.clients().await.unwrap(), [client]);
    });
}

fn a_check_is_told_from_its_start_to_its_end(project: Project) {
    let site = Administered::start(project, &section("foo", ""));
    block_on(async {
        let server = site.connect().await;
        let mut signals = server.signals().await.unwrap();
        let path = ClientPath::of_name("foo");
        let checker = Property::Checker;
        for (command, status, signal) in [
            ("exit 3", CheckStatus::Exited(3), None),
            ("kill -9 $$", CheckStatus::Crashed, Some(9)),
        ] {
            // One that runs already may still be the one before.
            for running in [false, true] {
                let text = PropertyValue::Text(command.into());
                server.set(&path, checker, &text).await.unwrap();
                let value = PropertyValue::Boolean(running);
                server
                    .set(&path, Property::CheckerRunning, &value)
                    .await
                    .unwrap();
            }
            let started = until(&mut signals, |signal| match signal {
                ServerSignal::CheckerStarted { command, .. } => Some(command),
                _ => None,
            });
            assert_eq!(started.await, command);
            let completed = until(&mut signals, |told| match told {
                ServerSignal::CheckerCompleted {
                    status,
                    signal,
                    command,
                    ..
                } => Some((status, signal, command)),
                _ => None,
            });
            assert_eq!(completed.await, (status, signal, command.to_owned()));
        }
    });
}

fn a_removed_client_is_told_and_unknown(project: Project) {
    let site = Administered::start(project, &section("foo", ""));
    block_on(async {
        let server = site.connect().await;
        let mut signals = server.signals().await.unwrap();
        let path = ClientPath::of_name("foo");
        server.remove(&path).await.unwrap();
        let removed = until(&mut signals, |signal| match signal {
            ServerSignal::Removed(path) => Some(path),
            _ => None,
        });
        assert_eq!(removed.await, path);
        assert_eq!(server.clients().await.unwrap(), [] as [ClientView; 0]);
        let unknown =
            |result: Result<(), BusError>| matches!(result, Err(BusError::NoSuchClient(_)));
        assert!(unknown(server.remove(&path).await));
        let enable = server.set(&path, Property::Enabled, &PropertyValue::Boolean(true));
        assert!(unknown(enable.await));
        assert!(unknown(server.approve(&path, true).await));
        assert!(unknown(server.checked_ok(&path).await));
    });
}

#[test]
fn a_stock_server_has_no_interface_of_ours() {
    let site = Administered::start(Project::Stock, "");
    block_on(async {
        let server = site.connect().await;
        let answer = server.explain("foo").await;
        assert!(matches!(answer, Err(BusError::NotSupported)), "{answer:?}");
        let answer = server.about().await;
        assert!(matches!(answer, Err(BusError::NotSupported)), "{answer:?}");
    });
}

#[test]
fn comings_and_goings_are_told() {
    let bus = Bus::start();
    block_on(async {
        let server = nightlatch_bus::proxy::MandosProxy::connect_to(&bus.address())
            .await
            .unwrap();
        assert!(matches!(server.clients().await, Err(BusError::NoServer)));
        assert!(matches!(server.explain("a").await, Err(BusError::NoServer)));
        let mut signals = server.signals().await.unwrap();
        assert!(!signals.server_is_running());
        let mut home = nightlatch_interop::server::Home::new("", Some(bus.address()));
        home.on_bus();
        let stock = nightlatch_interop::server::TestServer::start(Project::Stock, home);
        until(&mut signals, |s| {
            (s == ServerSignal::ServerCame).then_some(())
        })
        .await;
        assert_eq!(server.clients().await.unwrap().len(), 0);
        // Stopped in its tracks it answers nothing; ended then, it never will.
        stock.running().signal("STOP");
        let call = tokio::spawn({
            let server = server.clone();
            async move { server.clients().await }
        });
        // The call must be on its way before the end: the bus handles what we send in order.
        assert!(server.is_running().await.unwrap());
        stock.kill();
        assert!(matches!(call.await.unwrap(), Err(BusError::ServerGone)));
        until(&mut signals, |s| {
            (s == ServerSignal::ServerGone).then_some(())
        })
        .await;
        drop(bus);
        assert_eq!(signals.next().await, None);
        assert!(matches!(server.clients().await, Err(BusError::BusLost(_))));
        let gone = nightlatch_bus::proxy::MandosProxy::connect_to("unix:path=/nonexistent").await;
        assert!(matches!(gone, Err(BusError::NoBus(_))));
    });
}

/// Waits for a signal in which `wanted` finds something.
async fn until<T>(signals: &mut SignalStream, wanted: impl Fn(ServerSignal) -> Option<T>) -> T {
    let next = async {
        loop {
            let signal = signals.next().await.expect("the bus is gone");
            if let Some(found) = wanted(signal) {
                return found;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), next)
        .await
        .expect("a signal never came")
}
