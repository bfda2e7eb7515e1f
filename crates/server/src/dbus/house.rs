//! One connection to the bus: calls in, orders out, replies and signals back, in order.

use std::collections::{HashMap, VecDeque};

use nightlatch_bus::names::{ClientPath, NIGHTLATCH, NIGHTLATCH_PATH, errors};
use nightlatch_core::event::ClientId;
use tracing::{debug, info};
use zbus::export::ordered_stream::OrderedStreamExt;
use zbus::message::{Flags, Message, Type};
use zbus::{Connection, MessageStream};

use super::call::{Call, Own, Reaction};
use super::caller::Callers;
use super::look::Look;
use super::own::{self, About};
use super::shadow::Shadow;
use super::tell::Signals;
use super::wire::{Fault, INVALID_ARGS, UNKNOWN_OBJECT};
use crate::driver::{Handle, Heard, Order, OrderError, Told};
use crate::logging;

/// What is kept while a connection lasts.
pub(super) struct House {
    connection: Connection,
    calls: MessageStream,
    driver: Handle,
    heard: Heard,
    about: About,
    callers: Callers,
    shadow: Shadow,
    /// The first picture of all has come.
    ready: bool,
    /// Calls whose order is under way, by its number.
    orders: HashMap<u64, Ordered>,
    next_order: u64,
    /// Calls that wait for the orders before them.
    later: VecDeque<Message>,
}

/// A call that waits for its order.
struct Ordered {
    call: Message,
    /// The answer is the path of this client, or the one it would have.
    adds: Option<ClientPath>,
}

impl House {
    pub(super) async fn new(
        connection: Connection,
        driver: Handle,
        about: About,
    ) -> zbus::Result<Self> {
        let calls = MessageStream::from(&connection);
        let heard = driver.listen();
        Ok(Self {
            connection,
            calls,
            heard,
            driver,
            about,
            callers: Callers::new().await?,
            shadow: Shadow::default(),
            ready: false,
            orders: HashMap::new(),
            next_order: 0,
            later: VecDeque::new(),
        })
    }

    /// Serves until the connection breaks.
    pub(super) async fn run(&mut self) -> zbus::Result<()> {
        loop {
            tokio::select! {
                told = self.heard.next() => match told {
                    Some(told) => self.told(told).await?,
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

    /// Takes in what was told before a call is looked at: who saw something happen, in the log say,
    /// finds it when he looks.
    async fn catch_up(&mut self) -> zbus::Result<()> {
        for _ in 0..AT_ONCE {
            match self.heard.try_next() {
                Some(told) => self.told(told).await?,
                None => break,
            }
        }
        Ok(())
    }

    async fn told(&mut self, told: Told) -> zbus::Result<()> {
        match told {
            Told::All(all) => {
                let signals = Signals::catching_up(&mut self.shadow, all)?;
                // At first nobody has missed anything.
                if std::mem::replace(&mut self.ready, true) {
                    self.connection.send_all(&signals.0).await?;
                }
            }
            Told::Event(notice) => {
                let signals = Signals::of(&mut self.shadow, &notice)?;
                self.connection.send_all(&signals.0).await?;
            }
            Told::Recorded(line) => {
                let signal = Message::signal(NIGHTLATCH_PATH, NIGHTLATCH, "Recorded");
                let signal = signal.build(&line.to_string())?;
                self.connection.send(&signal).await?;
            }
            Told::Done(number, result) => {
                if let Some(ordered) = self.orders.remove(&number) {
                    self.done(&ordered, result).await?;
                }
                while self.orders.is_empty()
                    && let Some(call) = self.later.pop_front()
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
            let call = Call::new(&message, "", None, member.unwrap_or_default());
            !self.later.is_empty() || (call.looks() && !self.orders.is_empty())
        };
        drop(header);
        if waits {
            self.later.push_back(message);
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
        let call = Call::new(message, path.as_str(), interface, member.as_str());
        match call.react(&self.shadow) {
            Ok(Reaction::Answer(answer)) => self.reply(message, Ok(answer)).await,
            Ok(Reaction::Order(order)) => {
                let who = self.callers.who(header.sender()).await;
                let number = self.next_order;
                self.next_order += 1;
                let ordered = Ordered {
                    call: message.clone(),
                    adds: match &order {
                        Order::Add(config) | Order::TryAdd(config) => {
                            Some(ClientPath::of_name(config.name.as_str()))
                        }
                        Order::Client(..) | Order::Decide { .. } => None,
                    },
                };
                self.orders.insert(number, ordered);
                self.driver.order(order, who, number);
                Ok(())
            }
            Ok(Reaction::LogLevel(level)) => {
                let who = self.callers.who(header.sender()).await;
                info!(?who, level = logging::word(level), "log level set");
                self.about.log.set(level);
                let answer = Message::method_return(&header).build(&())?;
                self.reply(message, Ok(answer)).await
            }
            Ok(Reaction::Reload(may_drop)) => {
                let who = self.callers.who(header.sender()).await;
                info!(?who, "reload asked for");
                self.reload(message, may_drop);
                Ok(())
            }
            Ok(Reaction::Own(own)) => {
                self.look_up(message, own);
                Ok(())
            }
            Err(fault) => self.reply(message, Err(fault)).await,
        }
    }

    /// Answers what takes a look at the store, or at the registry, when it has: a disk that is slow must
    /// not keep others from approving.
    fn look_up(&self, message: &Message, own: Own) {
        let look = Look {
            driver: self.driver.clone(),
            about: self.about.clone(),
            counts: own::counts(&self.shadow),
        };
        let (connection, message) = (self.connection.clone(), message.clone());
        tokio::spawn(async move {
            let answer = look.answer(&message, own).await;
            // A connection that broke is noticed by who reads from it.
            let _ = reply(&connection, &message, answer).await;
        });
    }

    /// Answers when the reload is durable, or why it was not done.
    fn reload(&self, message: &Message, may_drop: bool) {
        let reloaded = self.about.reloads.ask(may_drop);
        let (connection, message) = (self.connection.clone(), message.clone());
        tokio::spawn(async move {
            let answer = match reloaded.await {
                Ok(()) => Message::method_return(&message.header())
                    .build(&())
                    .map_err(|error| Fault::failed(error.to_string())),
                Err(why) => Err(Fault::new(errors::NOT_RELOADED, why)),
            };
            let _ = reply(&connection, &message, answer).await;
        });
    }

    async fn done(
        &self,
        ordered: &Ordered,
        result: Result<Option<ClientId>, OrderError>,
    ) -> zbus::Result<()> {
        let answer = match result {
            Ok(client) => {
                let answer = Message::method_return(&ordered.call.header());
                let view = client.and_then(|id| self.shadow.get(id));
                let path = view.map(|view| &view.path);
                Ok(match &ordered.adds {
                    Some(adds) => answer.build(&path.unwrap_or(adds).as_object_path())?,
                    None => answer.build(&())?,
                })
            }
            Err(error) => Err(Fault::new(error_name(&error), error.to_string())),
        };
        self.reply(&ordered.call, answer).await
    }

    async fn reply(&self, call: &Message, answer: Result<Message, Fault>) -> zbus::Result<()> {
        reply(&self.connection, call, answer).await
    }
}

async fn reply(
    connection: &Connection,
    call: &Message,
    answer: Result<Message, Fault>,
) -> zbus::Result<()> {
    let flags = call.primary_header().flags();
    if flags.contains(Flags::NO_REPLY_EXPECTED) {
        return Ok(());
    }
    let answer = match answer {
        Ok(answer) => answer,
        Err(Fault { name, text }) => {
            debug!(name, text, "a call over D-Bus was refused");
            Message::error(&call.header(), name).build(&text)?
        }
    };
    connection.send(&answer).await
}

/// So much that was told goes before a call: calls must have their turn.
const AT_ONCE: usize = 256;

fn error_name(error: &OrderError) -> &'static str {
    match error {
        OrderError::NoSuchClient => UNKNOWN_OBJECT,
        OrderError::Setting(_) => INVALID_ARGS,
        OrderError::Add(_) => errors::TAKEN,
        OrderError::NoneWaits(_) => errors::NO_REQUEST,
        OrderError::SeveralWait(_) => errors::SEVERAL_REQUESTS,
        OrderError::NotDurable => errors::NOT_DURABLE,
    }
}
