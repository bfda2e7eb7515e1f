//! `nightlatch wait`: returns when something has happened to a machine.

use std::time::Duration;

use clap::{Args, ValueEnum};
use nightlatch_bus::client::ClientView;
use nightlatch_bus::proxy::MandosProxy;
use nightlatch_bus::signal::{ServerSignal, SignalStream};
use nightlatch_console::failure::{EX_NOUSER, EX_TEMPFAIL, EX_UNAVAILABLE, Failure, note};
use nightlatch_console::output::human;
use nightlatch_core::duration;

use crate::bus;
use crate::select;

/// The events that `wait` waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Until {
    /// It is enabled
    Enabled,
    /// It is disabled
    Disabled,
    /// A request of it waits for approval
    Waiting,
    /// It gets its secret
    Released,
    /// It proves to be up, from now on
    Alive,
    /// It is removed
    Removed,
}

/// The options of `wait`.
#[derive(Args, Debug)]
pub struct WaitOptions {
    /// The client's name
    pub(crate) name: String,

    /// What to wait for
    #[arg(short, long, value_enum)]
    pub(crate) until: Until,

    /// Give up after this time, as 10m or PT10M; the exit status is 75 then
    #[arg(short, long, value_name = "TIME", value_parser = duration::read)]
    pub(crate) timeout: Option<Duration>,
}

/// Carries the verb out.
pub(crate) async fn run(options: &WaitOptions, server: &MandosProxy) -> Result<u8, Failure> {
    let happens = until_it_happens(options, server);
    let Some(timeout) = options.timeout else {
        return happens.await.map(|()| 0);
    };
    match tokio::time::timeout(timeout, happens).await {
        Ok(done) => done.map(|()| 0),
        Err(_) => Err(Failure::new(
            EX_TEMPFAIL,
            format!(
                "{} was not {} within {}",
                options.name,
                word(options.until),
                human::length(timeout)
            ),
        )),
    }
}

async fn until_it_happens(options: &WaitOptions, server: &MandosProxy) -> Result<(), Failure> {
    let mut signals = server.signals().await.map_err(bus::failure)?;
    let clients = signals.snapshot().await.map_err(bus::failure)?;
    // Whom nobody knows now is rather mistyped than to come.
    let mut client = select::one(&clients, &options.name)?.clone();
    if !stands(options.until, &client) {
        let name = &options.name;
        note(format_args!(
            "waiting until {name} is {}",
            word(options.until)
        ));
    }
    while !stands(options.until, &client) {
        match signals.next().await {
            Some(ServerSignal::GotSecret(path))
                if path == client.path && options.until == Until::Released =>
            {
                return Ok(());
            }
            Some(ServerSignal::Removed(path)) if path == client.path => {
                return removed(options);
            }
            Some(ServerSignal::Changed {
                client: path,
                values,
                ..
            }) if path == client.path => {
                let before = client.last_checked_ok;
                for (property, value) in values {
                    // What makes no sense is no change.
                    let _ = client.apply(property, &value);
                }
                if options.until == Until::Alive && client.last_checked_ok != before {
                    return Ok(());
                }
            }
            Some(ServerSignal::ServerGone) => {
                note("the server went away; waiting for it to come back")
            }
            Some(ServerSignal::ServerCame) => match again(&mut signals, &options.name).await? {
                Some(view) => client = view,
                None => return removed(options),
            },
            Some(_) => {}
            None => {
                return Err(Failure::new(
                    EX_UNAVAILABLE,
                    "lost the connection to the system bus",
                ));
            }
        }
    }
    Ok(())
}

/// True for a state that already holds. An event, which is not a state, never does.
fn stands(until: Until, client: &ClientView) -> bool {
    match until {
        Until::Enabled => client.enabled,
        Until::Disabled => !client.enabled,
        Until::Waiting => client.request_waits(),
        Until::Released | Until::Alive | Until::Removed => false,
    }
}

/// The client at a server that has just appeared on the bus.
async fn again(signals: &mut SignalStream, name: &str) -> Result<Option<ClientView>, Failure> {
    let clients = signals.snapshot().await.map_err(bus::failure)?;
    Ok(clients.into_iter().find(|client| client.name == name))
}

fn removed(options: &WaitOptions) -> Result<(), Failure> {
    if options.until == Until::Removed {
        return Ok(());
    }
    let what = format!("{} was removed", options.name);
    Err(Failure::new(EX_NOUSER, what))
}

fn word(until: Until) -> &'static str {
    match until {
        Until::Enabled => "enabled",
        Until::Disabled => "disabled",
        Until::Waiting => "waiting for approval",
        Until::Released => "given its secret",
        Until::Alive => "proved to be up",
        Until::Removed => "removed",
    }
}
