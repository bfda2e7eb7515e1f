//! The connection to the server: receives its signals, sends actions, and connects again when the server or the bus is
//! gone.

use std::time::Duration;

use nightlatch_bus::client::CheckStatus;
use nightlatch_bus::error::BusError;
use nightlatch_bus::names::ClientPath;
use nightlatch_bus::own::{PendingRequest, RecordQuery};
use nightlatch_bus::property::{Property, PropertyValue};
use nightlatch_bus::proxy::MandosProxy;
use nightlatch_bus::signal::{ServerSignal, SignalStream};
use nightlatch_core::error_chain::format_error;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use crate::monitor::event::{ActionKind, ActionRequest, ClientSignal, MonitorEvent, ServerKind};
use crate::monitor::state::RECORDS;

/// Pause between a failure and the next attempt.
const PAUSE: Duration = Duration::from_secs(1);

/// Interval between two readings of the server's warnings.
const ASK_AGAIN: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
pub(crate) enum ServerRequest {
    /// Carry out an action on a client.
    Do(ActionRequest),
    /// Ask for the reason and the records of the client with this object and name.
    Ask(ClientPath, String),
}

/// Sends the server's signals to `events`, and carries out `wishes`, until `events` is closed.
pub(crate) async fn run(
    events: UnboundedSender<MonitorEvent>,
    mut wishes: UnboundedReceiver<ServerRequest>,
) {
    loop {
        let why = match connect(&events, &mut wishes).await {
            Ok(()) => return,
            Err(why) => why,
        };
        if events.send(MonitorEvent::Disconnected(why)).is_err() {
            return;
        }
        tokio::time::sleep(PAUSE).await;
        while let Ok(wish) = wishes.try_recv() {
            refuse(&events, wish, &BusError::NoServer);
        }
    }
}

/// Serves one connection to the bus. Returns `Ok` when `events` is closed, else the reason for the end.
async fn connect(
    events: &UnboundedSender<MonitorEvent>,
    wishes: &mut UnboundedReceiver<ServerRequest>,
) -> Result<(), String> {
    let server = MandosProxy::connect()
        .await
        .map_err(|error| format_error(&error))?;
    let mut signals = server
        .signals()
        .await
        .map_err(|error| format_error(&error))?;
    let mut again = tokio::time::interval(ASK_AGAIN);
    again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    if signals.server_is_running() {
        greet(&server, &mut signals, events).await?;
    } else if events
        .send(MonitorEvent::Disconnected(format_error(
            &BusError::NoServer,
        )))
        .is_err()
    {
        return Ok(());
    }
    loop {
        tokio::select! {
            signal = signals.next() => match signal {
                None => return Err("the connection to the system bus was lost".to_owned()),
                Some(ServerSignal::ServerCame) => greet(&server, &mut signals, events).await?,
                Some(signal) => {
                    if let Some(event) = translate(signal) && events.send(event).is_err() {
                        return Ok(());
                    }
                }
            },
            _ = again.tick() => drop(tokio::spawn(warn(server.clone(), events.clone()))),
            wish = wishes.recv() => match wish {
                None => return Ok(()),
                Some(wish) => {
                    tokio::spawn(carry_out(server.clone(), wish, events.clone()));
                }
            },
        }
    }
}

/// Reads all clients of a server that is there.
async fn greet(
    server: &MandosProxy,
    signals: &mut SignalStream,
    events: &UnboundedSender<MonitorEvent>,
) -> Result<(), String> {
    let (about, warnings) = match server.about().await {
        Ok(about) => (ServerKind::Nightlatch(about.version), about.warnings),
        Err(BusError::NotSupported) => (ServerKind::Mandos, Vec::new()),
        Err(error) => return gone_again(error, events),
    };
    match signals.snapshot().await {
        // Who does not listen is found out by the caller.
        Ok(clients) => {
            drop(events.send(MonitorEvent::Connected(about, clients)));
            drop(events.send(MonitorEvent::Warned(warnings)));
        }
        Err(error) => return gone_again(error, events),
    }
    Ok(())
}

/// Sends the server's warnings to `events`, or one that it does not answer. A stock server has none.
async fn warn(server: MandosProxy, events: UnboundedSender<MonitorEvent>) {
    let warnings = match server.about().await {
        Ok(about) => about.warnings,
        Err(error @ BusError::NoAnswer) => vec![format_error(&error)],
        // The signals tell that it went.
        Err(_) => return,
    };
    // Who does not listen is found out by the caller.
    drop(events.send(MonitorEvent::Warned(warnings)));
}

/// Handles an error of the first calls. A server that is gone is waited for; any other error ends the connection.
fn gone_again(error: BusError, events: &UnboundedSender<MonitorEvent>) -> Result<(), String> {
    let why = format_error(&error);
    if !matches!(error, BusError::NoServer | BusError::ServerGone) {
        return Err(why);
    }
    // Who does not listen is found out by the caller.
    drop(events.send(MonitorEvent::Disconnected(why)));
    Ok(())
}

fn translate(signal: ServerSignal) -> Option<MonitorEvent> {
    let event = match signal {
        ServerSignal::Added(client) => MonitorEvent::Added(client),
        ServerSignal::Removed(path) => MonitorEvent::Removed(path),
        // Only a secret, which nobody can see.
        ServerSignal::Changed { values, .. } if values.is_empty() => return None,
        ServerSignal::Changed { client, values, .. } => MonitorEvent::Changed(client, values),
        ServerSignal::Rejected { client, reason } => {
            MonitorEvent::Signalled(client, ClientSignal::Rejected(reason))
        }
        ServerSignal::NeedApproval {
            client,
            delay,
            approved_by_default,
        } => {
            let milliseconds = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
            let default = approved_by_default;
            MonitorEvent::Signalled(
                client,
                ClientSignal::NeedApproval {
                    milliseconds,
                    default,
                },
            )
        }
        ServerSignal::GotSecret(client) => MonitorEvent::Signalled(client, ClientSignal::GotSecret),
        ServerSignal::CheckerStarted { client, command } => {
            MonitorEvent::Signalled(client, ClientSignal::CheckerStarted(command))
        }
        ServerSignal::CheckerCompleted {
            client,
            status,
            signal,
            command,
        } => {
            let exit = match status {
                CheckStatus::Exited(exit) => Some(exit),
                CheckStatus::Never | CheckStatus::Crashed => None,
            };
            MonitorEvent::Signalled(
                client,
                ClientSignal::CheckerCompleted {
                    exit,
                    signal,
                    command,
                },
            )
        }
        ServerSignal::ClientNotFound { key_id, address } => {
            MonitorEvent::Unknown { key_id, address }
        }
        ServerSignal::Recorded(line) => MonitorEvent::Recorded(line),
        ServerSignal::ServerGone => MonitorEvent::Disconnected(format_error(&BusError::NoServer)),
        // Its caller has to read all clients.
        ServerSignal::ServerCame => return None,
    };
    Some(event)
}

async fn carry_out(
    server: MandosProxy,
    wish: ServerRequest,
    events: UnboundedSender<MonitorEvent>,
) {
    match wish {
        ServerRequest::Do(action) => {
            if let Err(error) = act(&server, &action, &events).await {
                refuse(&events, ServerRequest::Do(action), &error);
            }
        }
        ServerRequest::Ask(path, name) => {
            let query = RecordQuery {
                client: Some(name.clone()),
                limit: RECORDS,
                last: true,
                ..RecordQuery::default()
            };
            let reason = server.explain(&name).await.map(|answer| answer.text);
            let records = server.query_records(&query).await.map(|page| page.lines);
            drop(events.send(MonitorEvent::Answered {
                path,
                reason: reason.unwrap_or_else(|error| format_error(&error)),
                records: records.unwrap_or_default(),
            }));
        }
    }
}

async fn act(
    server: &MandosProxy,
    action: &ActionRequest,
    events: &UnboundedSender<MonitorEvent>,
) -> Result<(), BusError> {
    let path = &action.path;
    let set = |property, value| async move {
        server
            .set(path, property, &PropertyValue::Boolean(value))
            .await
    };
    match action.act {
        ActionKind::Approve | ActionKind::Deny => decide(server, action, events).await,
        ActionKind::Enable => set(Property::Enabled, true).await,
        ActionKind::Disable => set(Property::Enabled, false).await,
        ActionKind::StartChecker => set(Property::CheckerRunning, true).await,
        ActionKind::StopChecker => set(Property::CheckerRunning, false).await,
        ActionKind::CheckedOk => server.checked_ok(path).await,
        ActionKind::Remove => server.remove(path).await,
    }
}

/// Decides on the request that was named, else on the only one that waits. Where several do, or the one to approve is for a
/// named secret, the person is asked first: one key approves a boot and nothing else.
async fn decide(
    server: &MandosProxy,
    action: &ActionRequest,
    events: &UnboundedSender<MonitorEvent>,
) -> Result<(), BusError> {
    let approved = action.act == ActionKind::Approve;
    if let Some(number) = action.request {
        return server.decide(number, approved).await;
    }
    let requests = match server.requests(Some(&action.name)).await {
        Ok(requests) => requests,
        // A stock server does not tell them apart.
        Err(BusError::NotSupported) => Vec::new(),
        Err(error) => return Err(error),
    };
    match &requests[..] {
        [only] if approved && only.secret.is_none() => server.decide(only.number, true).await,
        [_] if !approved => server.approve(&action.path, false).await,
        [_, ..] => {
            let requests = requests.into_iter();
            let place = |it: PendingRequest| match it.secret {
                Some(name) => (it.number, format!("{} for the secret {name}", it.peer)),
                None => (it.number, it.peer),
            };
            let requests = requests.map(place).collect();
            // Who does not listen is found out by the caller.
            drop(events.send(MonitorEvent::Several(action.clone(), requests)));
            Ok(())
        }
        [] => server.approve(&action.path, approved).await,
    }
}

fn refuse(events: &UnboundedSender<MonitorEvent>, wish: ServerRequest, error: &BusError) {
    let event = match wish {
        ServerRequest::Do(action) => MonitorEvent::Failed(action, format_error(error)),
        ServerRequest::Ask(path, _) => MonitorEvent::Answered {
            path,
            reason: format_error(error),
            records: Vec::new(),
        },
    };
    drop(events.send(event));
}
