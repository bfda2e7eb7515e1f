//! One connection to the bus: calls in, commands to the driver, replies and signals out, in order.

use std::collections::{HashMap, VecDeque};

use nightlatch_bus::names::{ClientPath, NIGHTLATCH, NIGHTLATCH_PATH, errors};
use nightlatch_core::event::ClientId;
use tracing::{debug, info};
use zbus::export::ordered_stream::OrderedStreamExt;
use zbus::message::{Flags, Message, Type};
use zbus::{Connection, MessageStream};

use super::call::{LookupCall, MethodCall, Reaction};
use super::caller::Callers;
use super::client_cache::ClientCache;
use super::lookup::LookupTask;
use super::named_secrets;
use super::nightlatch::{self, ServerStatus};
use super::signals::SignalBatch;
use super::wire::{CallError, INVALID_ARGS, UNKNOWN_OBJECT};
use crate::driver::{AdminCommand, AdminError, Handle, Subscription, Update};
use crate::logging;

/// The state of one connection.
pub(super) struct BusConnection {
    connection: Connection,
    calls: MessageStream,
    driver: Handle,
    updates: Subscription,
    info: ServerStatus,
    callers: Callers,
    cache: ClientCache,
    /// The state of all clients was received.
    ready: bool,
    /// Calls whose command is under way, by its number.
    commands: HashMap<u64, CommandCall>,
    next_command: u64,
    /// Calls that wait for the commands before them.
    waiting: VecDeque<Message>,
}

/// A call whose command is under way.
struct CommandCall {
    call: Message,
    /// The answer is the path of this client, or the one it would have.
    adds: Option<ClientPath>,
}

impl BusConnection {
    pub(super) async fn new(
        connection: Connection,
        driver: Handle,
        info: ServerStatus,
    ) -> zbus::Result<Self> {
        let calls = MessageStream::from(&connection);
        let updates = driver.subscribe();
        Ok(Self {
            connection,
            calls,
            updates,
            driver,
            info,
            callers: Callers::new().await?,
            cache: ClientCache::default(),
            ready: false,
            commands: HashMap::new(),
            next_command: 0,
            waiting: VecDeque::new(),
        })
    }

    /// Serves until the connection breaks.
    pub(super) async fn run(&mut self) -> zbus::Result<()> {
        loop {
            tokio::select! {
                update = self.updates.next() => match update {
                    Some(update) => self.update(update).await?,
                    // The driver has ended, and the server is about to.
                    None => return std::future::pending().await,
                },
                call = self.calls.next(), if self.ready => match call {
                    Some(call) => {
                        self.catch_up().await?;
                        self.call(call?).await?;
                    }
                    None => return Err(zbus::Error::InputOutput(
                        std::io::Error::from(std::io::ErrorKind::ConnectionAborted).into(),
                    )),
                },
            }
        }
    }

    /// Handles the updates that wait already before a call: an event that is in the log must be visible to it.
    async fn catch_up(&mut self) -> zbus::Result<()> {
        for _ in 0..AT_ONCE {
            match self.updates.try_next() {
                Some(update) => self.update(update).await?,
                None => break,
            }
        }
        Ok(())
    }

    async fn update(&mut self, update: Update) -> zbus::Result<()> {
        match update {
            Update::AllClients(all) => {
                let signals = SignalBatch::catching_up(&mut self.cache, all)?;
                // Nothing was missed before the first one.
                if std::mem::replace(&mut self.ready, true) {
                    self.connection.send_all(&signals.0).await?;
                }
            }
            Update::Event(notice) => {
                let signals = SignalBatch::of(&mut self.cache, &notice)?;
                self.connection.send_all(&signals.0).await?;
            }
            Update::Recorded(line) => {
                let signal = Message::signal(NIGHTLATCH_PATH, NIGHTLATCH, "Recorded");
                let signal = signal.build(&line.to_string())?;
                self.connection.send(&signal).await?;
            }
            Update::CommandDone(number, result) => {
                if let Some(done) = self.commands.remove(&number) {
                    self.command_done(&done, result).await?;
                }
                while self.commands.is_empty()
                    && let Some(call) = self.waiting.pop_front()
                {
                    self.handle(&call).await?;
                }
            }
        }
        Ok(())
    }

    async fn call(&mut self, message: Message) -> zbus::Result<()> {
        if message.message_type() != Type::MethodCall {
            return Ok(());
        }
        let header = message.header();
        let member = header.member().map(|member| member.as_str());
        let waits = {
            let call = MethodCall::new(&message, "", None, member.unwrap_or_default());
            !self.waiting.is_empty() || (call.reads() && !self.commands.is_empty())
        };
        drop(header);
        if waits {
            self.waiting.push_back(message);
            return Ok(());
        }
        self.handle(&message).await
    }

    async fn handle(&mut self, message: &Message) -> zbus::Result<()> {
        let header = message.header();
        let (Some(path), Some(member)) = (header.path(), header.member()) else {
            return Ok(());
        };
        let interface = header.interface().map(|interface| interface.as_str());
        let call = MethodCall::new(message, path.as_str(), interface, member.as_str());
        match call.react(&self.cache) {
            Ok(Reaction::Answer(answer)) => self.reply(message, Ok(answer)).await,
            Ok(Reaction::Command(command)) => {
                let who = self.callers.who(header.sender()).await;
                let number = self.next_command;
                self.next_command += 1;
                let call = CommandCall {
                    call: message.clone(),
                    adds: match &command {
                        AdminCommand::Add(config) | AdminCommand::TryAdd(config) => {
                            Some(ClientPath::of_name(config.name.as_str()))
                        }
                        AdminCommand::Client(..)
                        | AdminCommand::Decide { .. }
                        | AdminCommand::RemoveOrphanedSecret { .. } => None,
                    },
                };
                self.commands.insert(number, call);
                self.driver.command(command, who, number);
                Ok(())
            }
            Ok(Reaction::LogLevel(level)) => {
                let who = self.callers.who(header.sender()).await;
                info!(?who, level = logging::level_name(level), "log level set");
                self.info.log.set(level);
                let answer = Message::method_return(&header).build(&())?;
                self.reply(message, Ok(answer)).await
            }
            Ok(Reaction::Reload(may_drop)) => {
                let who = self.callers.who(header.sender()).await;
                info!(?who, "reload asked for");
                self.reload(message, may_drop);
                Ok(())
            }
            Ok(Reaction::Lookup(lookup)) => {
                self.look_up(message, lookup);
                Ok(())
            }
            Err(error) => self.reply(message, Err(error)).await,
        }
    }

    /// Starts a task that answers the lookup: a slow disk must not delay approvals.
    fn look_up(&self, message: &Message, lookup: LookupCall) {
        let task = LookupTask {
            driver: self.driver.clone(),
            info: self.info.clone(),
            counts: nightlatch::counts(&self.cache),
        };
        let (connection, message) = (self.connection.clone(), message.clone());
        tokio::spawn(async move {
            let answer = task.answer(&message, lookup).await;
            // `run` notices a broken connection.
            let _ = reply(&connection, &message, answer).await;
        });
    }

    /// Starts a task that answers when the reload is durable, or was refused.
    fn reload(&self, message: &Message, may_drop: bool) {
        let reloaded = self.info.reloads.request(may_drop);
        let (connection, message) = (self.connection.clone(), message.clone());
        tokio::spawn(async move {
            let answer = match reloaded.await {
                Ok(()) => Message::method_return(&message.header())
                    .build(&())
                    .map_err(|error| CallError::failed(error.to_string())),
                Err(why) => Err(CallError::new(errors::NOT_RELOADED, why)),
            };
            let _ = reply(&connection, &message, answer).await;
        });
    }

    async fn command_done(
        &self,
        done: &CommandCall,
        result: Result<Option<ClientId>, AdminError>,
    ) -> zbus::Result<()> {
        let answer = match result {
            Ok(client) => {
                let answer = Message::method_return(&done.call.header());
                let view = client.and_then(|id| self.cache.get(id));
                let path = view.map(|view| &view.path);
                Ok(match &done.adds {
                    Some(adds) => answer.build(&path.unwrap_or(adds).as_object_path())?,
                    None => answer.build(&())?,
                })
            }
            Err(error) => Err(CallError::new(error_name(&error), error.to_string())),
        };
        self.reply(&done.call, answer).await
    }

    async fn reply(&self, call: &Message, answer: Result<Message, CallError>) -> zbus::Result<()> {
        reply(&self.connection, call, answer).await
    }
}

async fn reply(
    connection: &Connection,
    call: &Message,
    answer: Result<Message, CallError>,
) -> zbus::Result<()> {
    let flags = call.primary_header().flags();
    if flags.contains(Flags::NO_REPLY_EXPECTED) {
        return Ok(());
    }
    let answer = match answer {
        Ok(answer) => answer,
        Err(CallError { name, text }) => {
            debug!(name, text, "a call over D-Bus was refused");
            Message::error(&call.header(), name).build(&text)?
        }
    };
    connection.send(&answer).await
}

/// Updates handled before a call: calls must have their turn.
const AT_ONCE: usize = 256;

fn error_name(error: &AdminError) -> &'static str {
    match error {
        AdminError::NoSuchClient => UNKNOWN_OBJECT,
        AdminError::Setting(_) => INVALID_ARGS,
        AdminError::Add(_) => errors::TAKEN,
        AdminError::Check(_) => errors::HAS_AGENT,
        AdminError::Secret(error) => named_secrets::error_name(error),
        AdminError::NoneWaits(_) => errors::NO_REQUEST,
        AdminError::SeveralWait(_) => errors::SEVERAL_REQUESTS,
        AdminError::NotDurable => errors::NOT_DURABLE,
    }
}
