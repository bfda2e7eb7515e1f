//! The signals of both servers for the same story, one beside the other.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use nightlatch_interop::administered::{Administered, section};
use nightlatch_interop::programs::Project;
use zbus::connection::Builder;
use zbus::export::ordered_stream::OrderedStreamExt;
use zbus::{Connection, MatchRule, Message, MessageStream, OwnedObjectPath, Variant};

const NAME: &str = "se.recompile.Mandos";
const CLIENT: &str = "se.recompile.Mandos.Client";
const FOO: &str = "/clients/foo";

/// True for an interface without a counterpart in Mandos.
fn is_ours(interface: &str) -> bool {
    interface.starts_with("org.nightlatch.")
}

/// A signal as text, with every time of day as `TIME`.
fn text(signal: &Message) -> String {
    let header = signal.header();
    let body = signal.body();
    if let Ok((path, mut interfaces)) = body.deserialize::<(OwnedObjectPath, Vec<String>)>() {
        interfaces.retain(|interface| !is_ours(interface));
        // The stock server keeps them in a set.
        interfaces.sort();
        return format!("{} {path:?} {interfaces:?}", header.member().unwrap());
    }
    let body = body.deserialize::<zbus::Structure<'_>>();
    let body = body.map_or_else(|_| String::new(), |body| format!("{:?}", body.fields()));
    format!(
        "{} {}.{} {}",
        header.path().unwrap(),
        header.interface().unwrap(),
        header.member().unwrap(),
        without_times(&body)
    )
}

fn without_times(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("\"20") {
        let (before, quoted) = rest.split_at(at + 1);
        plain.push_str(before);
        let end = quoted.find('"').unwrap();
        let time = quoted[..end].contains('T');
        plain.push_str(if time { "TIME" } else { &quoted[..end] });
        rest = &quoted[end..];
    }
    plain + rest
}

struct SignalRecorder {
    _site: Administered,
    connection: Connection,
    signals: MessageStream,
    seen: Vec<String>,
}

impl SignalRecorder {
    async fn new(project: Project) -> Self {
        let site = Administered::start(project, &section("foo", "enabled = no\ninterval = PT1H"));
        let address = site.bus.address();
        let connection = Builder::address(address.as_str()).build().await.unwrap();
        let rule = MatchRule::builder()
            .msg_type(zbus::message::Type::Signal)
            .sender(NAME)
            .build()
            .unwrap();
        let signals = MessageStream::for_match_rule(rule, &connection, NonZeroUsize::new(1000))
            .await
            .unwrap();
        Self {
            _site: site,
            connection,
            signals,
            seen: Vec::new(),
        }
    }

    async fn call(
        &self,
        path: &str,
        interface: &str,
        member: &str,
        body: &(impl serde::Serialize + zbus::Type),
    ) -> Result<(), String> {
        self.connection
            .call_method(Some(NAME), path, Some(interface), member, body)
            .await
            .map(drop)
            .map_err(|error| error.to_string())
    }

    async fn set(&self, property: &str, value: Variant<'_>) -> Result<(), String> {
        let body = (CLIENT, property, value);
        self.call(FOO, "org.freedesktop.DBus.Properties", "Set", &body)
            .await
    }

    /// Sets a property of the client, which must succeed.
    async fn change(&self, property: &str, value: impl Into<Variant<'_>>) {
        self.set(property, value.into()).await.unwrap();
    }

    /// Starts the checker, and waits for both signals that have this in them.
    async fn check(&mut self, wanted: &str) {
        self.change("CheckerRunning", true).await;
        self.until(wanted).await;
        self.until(wanted).await;
    }

    /// Waits until a signal has this in it.
    async fn until(&mut self, wanted: &str) {
        loop {
            let next = tokio::time::timeout(Duration::from_secs(60), self.signals.next()).await;
            let signal = next.unwrap_or_else(|_| panic!("no {wanted} in {:#?}", self.seen));
            let signal = signal.unwrap().unwrap();
            // Signals without a counterpart in Mandos.
            if signal
                .header()
                .path()
                .unwrap()
                .as_str()
                .starts_with("/org/")
            {
                continue;
            }
            self.seen.push(text(&signal));
            if self.seen.last().unwrap().contains(wanted) {
                return;
            }
        }
    }
}

async fn story(project: Project) -> Vec<String> {
    let mut recorder = SignalRecorder::new(project).await;
    recorder.change("Checker", "exit 3").await;
    recorder.change("Timeout", 60_000_u64).await;
    // Setting the same value again sends no signal.
    recorder.change("Timeout", 60_000_u64).await;
    recorder.change("ExtendedTimeout", 90_000_u64).await;
    recorder.change("ApprovalDelay", 1_000_u64).await;
    recorder.change("ApprovalDuration", 2_000_u64).await;
    recorder.change("ApprovedByDefault", false).await;
    recorder.change("Host", "elsewhere").await;
    recorder.change("Secret", b"abc".to_vec()).await;
    recorder.change("Secret", b"abcd".to_vec()).await;
    recorder.call(FOO, CLIENT, "CheckedOK", &()).await.unwrap();
    recorder.check("CheckerCompleted").await;
    recorder.change("Checker", "kill -9 $$").await;
    recorder.check("CheckerCompleted").await;
    recorder.change("Checker", "true").await;
    recorder.check("CheckerCompleted").await;
    recorder.change("Checker", "exec sleep 60").await;
    recorder.check("CheckerStarted").await;
    recorder.change("CheckerRunning", false).await;
    // Ours approves pending requests only; neither server sends a signal.
    let approved = recorder.call(FOO, CLIENT, "Approve", &true).await;
    assert_eq!(approved.is_ok(), project == Project::Stock, "{approved:?}");
    recorder.change("Enabled", true).await;
    recorder.change("Enabled", true).await;
    recorder.change("Enabled", false).await;
    let path = OwnedObjectPath::try_from(FOO).unwrap();
    recorder
        .call("/", NAME, "RemoveClient", &path)
        .await
        .unwrap();
    recorder.until("ClientRemoved").await;
    recorder.until("ClientRemoved").await;
    recorder.seen
}

/// The results of both servers: the stock one's, and ours.
fn both<T, F: Future<Output = T>>(of: fn(Project) -> F) -> (T, T) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async { tokio::join!(of(Project::Stock), of(Project::Ours)) })
}

#[test]
fn both_servers_tell_the_same_story() {
    let (stock, ours) = both(story);
    for (number, (ours, stock)) in ours.iter().zip(&stock).enumerate() {
        assert_eq!(ours, stock, "signal {number}");
    }
    assert_eq!(ours.len(), stock.len());
}

/// The objects of a server's object manager: paths, their interfaces, and the type of each property.
async fn objects(project: Project) -> Vec<String> {
    let recorder = SignalRecorder::new(project).await;
    let answer = recorder
        .connection
        .call_method(
            Some(NAME),
            "/",
            Some("org.freedesktop.DBus.ObjectManager"),
            "GetManagedObjects",
            &(),
        )
        .await
        .unwrap();
    type Properties<'m> = HashMap<String, Variant<'m>>;
    let body = answer.body();
    let objects: HashMap<OwnedObjectPath, HashMap<String, Properties<'_>>> =
        body.deserialize().unwrap();
    let mut shown = Vec::new();
    for (path, interfaces) in &objects {
        let interfaces = interfaces.iter().filter(|(name, _)| !is_ours(name));
        for (interface, properties) in interfaces {
            shown.push(format!("{path:?} {interface}"));
            for (name, value) in properties {
                let kind = value.value_signature();
                shown.push(format!("{path:?} {interface} {name} {kind}"));
            }
        }
    }
    shown.sort();
    shown
}

#[test]
fn both_object_managers_show_the_same() {
    let (stock, ours) = both(objects);
    assert_eq!(ours, stock);
    assert!(ours.len() > 40, "{ours:?}");
}

/// The names of the errors of calls that no server can carry out.
async fn errors(project: Project) -> Vec<String> {
    let recorder = SignalRecorder::new(project).await;
    let properties = "org.freedesktop.DBus.Properties";
    let nobody = OwnedObjectPath::try_from("/clients/nobody").unwrap();
    let name = |answer: Result<(), String>| {
        let error = answer.expect_err("it was carried out");
        error.split(": ").next().unwrap().to_owned()
    };
    vec![
        name(recorder.call("/", NAME, "RemoveClient", &nobody).await),
        name(recorder.call("/", NAME, "Nonsense", &()).await),
        name(recorder.call(FOO, CLIENT, "Nonsense", &()).await),
        name(
            recorder
                .call("/clients/nobody", CLIENT, "Enable", &())
                .await,
        ),
        name(
            recorder
                .call(FOO, properties, "Get", &(CLIENT, "Secret"))
                .await,
        ),
        name(
            recorder
                .call(FOO, properties, "Get", &(CLIENT, "Nonsense"))
                .await,
        ),
        name(recorder.call(FOO, properties, "Get", &("", "Host")).await),
        name(recorder.set("Name", Variant::from("bar")).await),
        name(recorder.set("Nonsense", Variant::from("bar")).await),
    ]
}

#[test]
fn errors_have_the_same_names() {
    let (stock, ours) = both(errors);
    assert_eq!(ours, stock);
}
