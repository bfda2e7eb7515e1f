//! Calls that make no sense: each is answered, and nothing changes.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::time::Duration;

use nightlatch_interop::administered::{Administered, section};
use nightlatch_interop::programs::Project;
use serde::Serialize;
use zbus::connection::Builder;
use zbus::{Connection, Type, Variant};

const PATHS: [&str; 8] = [
    "/",
    "/clients",
    "/clients/foo",
    "/clients/nobody",
    "/clients/foo/bar",
    "/org",
    "/org/nightlatch/Nightlatch1",
    "/nowhere",
];

const INTERFACES: [Option<&str>; 9] = [
    None,
    Some("se.recompile.Mandos"),
    Some("se.bsnet.fukt.Mandos.Client"),
    Some("se.recompile.Mandos.Client"),
    Some("org.freedesktop.DBus.Properties"),
    Some("org.freedesktop.DBus.ObjectManager"),
    Some("org.nightlatch.Nightlatch1"),
    Some("org.nightlatch.Nightlatch1.Client"),
    Some("org.example.Unheard"),
];

/// Without those that do what they say when they are called rightly without arguments.
const MEMBERS: [&str; 15] = [
    "Get",
    "Set",
    "GetAll",
    "GetManagedObjects",
    "GetAllClients",
    "GetAllClientsWithProperties",
    "RemoveClient",
    "Approve",
    "AddClient",
    "Explain",
    "QueryRecords",
    "Trust",
    "Introspect",
    "Ping",
    "Unheard",
];

/// True when any answer came.
async fn answered<B: Serialize + Type>(
    connection: &Connection,
    (path, interface, member): (&str, Option<&str>, &str),
    body: &B,
) {
    let call = connection.call_method(Some("se.recompile.Mandos"), path, interface, member, body);
    let answer = tokio::time::timeout(Duration::from_secs(30), call).await;
    let answer = answer.unwrap_or_else(|_| panic!("no answer: {path} {interface:?} {member}"));
    if let Err(error) = answer {
        let answer = matches!(error, zbus::Error::MethodError(..) | zbus::Error::FDO(_));
        let text = error.to_string();
        assert!(answer, "{path} {interface:?} {member}: {text}");
        assert!(text.len() > 10 && !text.contains("panicked"), "{text}");
    }
}

#[tokio::test]
async fn a_call_that_makes_no_sense_is_answered_and_changes_nothing() {
    let more = "interval = PT24H\ntimeout = PT48H";
    let site = Administered::start(Project::Ours, &section("foo", more));
    let server = site.connect().await;
    let before = server.clients().await.unwrap();
    let address = site.bus.address();
    let connection = Builder::address(address.as_str()).build().await.unwrap();
    let words = HashMap::from([
        ("after", Variant::from("a")),
        ("nonsense", Variant::from(1)),
    ]);
    for path in PATHS {
        for interface in INTERFACES {
            for member in MEMBERS {
                let call = (path, interface, member);
                answered(&connection, call, &()).await;
                answered(&connection, call, &7_i32).await;
                answered(&connection, call, &"\u{1b}[2J").await;
                answered(&connection, call, &("", "Secret")).await;
                answered(&connection, call, &("", "Timeout", Variant::from(-1_i64))).await;
                answered(&connection, call, &(vec![1_u8], "x")).await;
                answered(&connection, call, &words).await;
                answered(&connection, call, &("[", words.clone())).await;
            }
        }
    }
    assert_eq!(server.clients().await.unwrap(), before);
}
