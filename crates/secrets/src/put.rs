//! `nightlatch secret put`: seals a value for each of the chosen machines, and gives it to the server.

mod report;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use nightlatch_bus::client::ClientView;
use nightlatch_bus::concurrent;
use nightlatch_bus::named_secrets::PutOptions as CallOptions;
use nightlatch_bus::proxy::MandosProxy;
use nightlatch_console::ask;
use nightlatch_console::failure::{EX_DATAERR, EX_NOINPUT, EX_NOUSER, Failure, note};
use nightlatch_console::output;
use nightlatch_console::output::table::visible;
use nightlatch_core::sealed_secret::{MAX_SEALED, SealedSecret};
use nightlatch_core::secret::Secret;
use nightlatch_core::time::Wall;
use nightlatch_fleet::bus;
use nightlatch_fleet::select::{SelectOptions, Selection};
use nightlatch_fleet::verbs::secret;
use nightlatch_openpgp::PublicKey;

use crate::admin_key::SigningOptions;
use crate::config_folder::ConfigFolder;
use crate::input;
use crate::known_hosts::{HostKeys, KnownHosts, machine_name};
use crate::sealing::{HeaderOptions, Sealer};
use crate::value::{self, ValueOptions};
use report::{Approvals, Report};

/// Number of machines whose secrets are sealed, and then sent at the same time.
const BATCH: usize = 64;

/// Limit on a file of sealed secrets, in bytes: a batch of the largest ones in base64.
const MAX_TEXT: usize = MAX_SEALED * 2 * BATCH;

/// The options of `secret put`.
#[derive(Args, Debug)]
pub(crate) struct PutOptions {
    /// Name of the secret, as postgres.password
    #[arg(value_name = "NAME", required_unless_present = "sealed")]
    secret: Option<String>,

    /// Names of clients, or patterns: * any text, ? any character, [a-f] one of these
    #[arg(value_name = "CLIENT", required_unless_present_any = ["sealed", "all"])]
    names: Vec<String>,

    /// All clients
    #[arg(short, long, conflicts_with = "names")]
    all: bool,

    /// Give the server what `nightlatch secret seal` has written to this file; - is standard input; may be repeated
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = [
            "secret", "names", "all", "from", "trim", "generate", "each", "print", "expires", "serial", "accept_changed_key",
            "admin_key", "passphrase_file"
        ]
    )]
    sealed: Vec<PathBuf>,

    #[command(flatten)]
    value: ValueOptions,

    /// With --generate: another value for each machine
    #[arg(long, requires = "generate")]
    each: bool,

    #[command(flatten)]
    header: HeaderOptions,

    /// Each request for it waits for a person [default: as for the value before it]
    #[arg(long, conflicts_with = "no_approval")]
    approval: bool,

    /// Requests for it wait for nobody, even if those for the value before it did
    #[arg(long)]
    no_approval: bool,

    #[command(flatten)]
    signing: SigningOptions,

    /// Do not ask
    #[arg(short, long)]
    yes: bool,

    /// Let the server check it, and change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,

    /// Tell the outcome in JSON
    #[arg(long, conflicts_with = "print")]
    json: bool,
}

impl PutOptions {
    /// The choice of `--approval` or `--no-approval`; `None` without either.
    const fn approval(&self) -> Option<bool> {
        match (self.approval, self.no_approval) {
            (true, _) => Some(true),
            (false, true) => Some(false),
            (false, false) => None,
        }
    }
}

/// Seals and sends the value, or sends what was sealed before.
pub(crate) async fn run(options: &PutOptions, now: Wall) -> Result<u8, Failure> {
    if options.sealed.is_empty() {
        return put(options, now).await;
    }
    put_sealed(options).await
}

/// A sealed secret for one client.
struct Delivery {
    client: String,
    sealed: SealedSecret,
}

async fn put(options: &PutOptions, now: Wall) -> Result<u8, Failure> {
    // Required without --sealed.
    let name = options.secret.as_deref().unwrap_or_default();
    let sealer = Sealer::new(secret::name(name)?, &options.header, now)?;
    let passphrase = options.signing.passphrase_file.as_deref();
    options.value.check_stdin(passphrase)?;
    let server = bus::connect().await?;
    let approvals = Approvals::get(options, &server).await?;
    let clients = server.clients().await.map_err(bus::failure)?;
    let which = SelectOptions {
        names: options.names.clone(),
        all: options.all,
    };
    let selection = Selection::of(&clients, &which)?;
    let mut report = Report::new(sealer.name().clone(), options.dry_run, approvals);
    let hosts = host_keys(&selection.clients, &mut report);
    let mut known = KnownHosts::open(ConfigFolder::of_user()?)?;
    let news = known.check(&hosts, &options.header.accept_changed_key)?;
    if !options.dry_run && !selection.by_name && hosts.len() > 1 {
        let what = format!("put {} to {}", sealer.name(), selection.all_names());
        ask::confirm(&what, options.yes)?;
    }
    if hosts.is_empty() {
        return report.finish(options.json);
    }
    let admin = options.signing.load()?;
    let values = Values::get(options, &sealer, hosts.len())?;
    if !options.dry_run {
        known.save(&hosts)?;
        news.iter().for_each(note);
    }
    drop(known);
    for (start, batch) in hosts
        .chunks(BATCH)
        .enumerate()
        .map(|(n, it)| (n * BATCH, it))
    {
        let mut deliveries = Vec::with_capacity(batch.len());
        for (index, host) in batch.iter().enumerate() {
            match sealer.seal(values.of(start + index), host, &admin) {
                Ok(sealed) => deliveries.push(Delivery {
                    client: host.name.to_string(),
                    sealed,
                }),
                Err(failure) => report.failed(host.name.as_str(), failure),
            }
        }
        deliver(&server, &deliveries, options, &mut report).await;
        progress(start + batch.len(), hosts.len());
    }
    let printed = match options.value.print {
        true => values.taken(&hosts, &report),
        false => Vec::new(),
    };
    ask_approvals(&server, &mut report).await;
    // The outcome comes first: the values may go to a pipe that is closed.
    let status = report.finish(options.json)?;
    let written = printed
        .into_iter()
        .try_for_each(|(client, value)| print_value(client, value));
    both(status, written)
}

/// The exit status after the values were `written`: that of the first failure.
fn both(status: u8, written: Result<(), Failure>) -> Result<u8, Failure> {
    match (status, written) {
        (status, Ok(())) => Ok(status),
        (0, Err(failure)) => Err(failure),
        (status, Err(failure)) => {
            failure.report();
            Ok(status)
        }
    }
}

impl Approvals {
    /// The options of the command line, or without these the server's list of secrets.
    ///
    /// # Errors
    /// When the server keeps no named secrets: the list is asked for in every case, before anything is read or sealed.
    async fn get(options: &PutOptions, server: &MandosProxy) -> Result<Self, Failure> {
        let secrets = server.secrets(None).await.map_err(secret::failure)?;
        Ok(match options.approval() {
            Some(approval) => Self::All(approval),
            None => Self::Stay(secrets),
        })
    }
}

/// Asks the server which approvals stay, where the command line does not say it. An error leaves the list from before the
/// puts: they are done.
async fn ask_approvals(server: &MandosProxy, report: &mut Report) {
    if report.needs_secrets() {
        match server.secrets(None).await {
            Ok(secrets) => report.set_secrets(secrets),
            Err(error) => secret::failure(error).report(),
        }
    }
}

/// The keys of the machines that have some, as the server lists them; the others go into the report.
fn host_keys(clients: &[&ClientView], report: &mut Report) -> Vec<HostKeys> {
    let mut hosts = Vec::with_capacity(clients.len());
    for client in clients {
        match keys(client) {
            Ok(keys) => hosts.push(keys),
            Err(failure) => report.failed(&client.name, failure),
        }
    }
    hosts
}

fn keys(client: &ClientView) -> Result<HostKeys, Failure> {
    let openpgp = client.guard.host_openpgp.as_str();
    let hint = "on the machine: nightlatch enroll --host-key prints the lines for its section; put them there, then run: \
                nightlatch reload";
    let missing =
        |key: &str| Failure::new(EX_DATAERR, format!("its section has no {key}")).hint(hint);
    let name = machine_name(&client.name).map_err(|problem| Failure::new(EX_DATAERR, problem))?;
    let id = client.guard.host_key_id.as_str();
    if id.is_empty() {
        return Err(missing("host_key_id"));
    }
    if openpgp.is_empty() {
        return Err(missing("host_openpgp"));
    }
    let host = id
        .parse()
        .map_err(|error| Failure::new(EX_DATAERR, "cannot use its host_key_id").because(error))?;
    let openpgp = PublicKey::from_base64(openpgp).map_err(|error| {
        Failure::new(EX_DATAERR, "cannot use its host_openpgp")
            .because(error)
            .hint(hint)
    })?;
    match openpgp.can_encrypt() {
        true => Ok(HostKeys {
            name,
            host,
            openpgp,
        }),
        false => Err(Failure::new(
            EX_DATAERR,
            "nothing can be encrypted to its host_openpgp",
        )),
    }
}

/// One value for all machines, or one for each.
enum Values {
    One(Secret),
    Each(Vec<Secret>),
}

impl Values {
    fn get(options: &PutOptions, sealer: &Sealer, count: usize) -> Result<Self, Failure> {
        match options.value.generate {
            Some(length) if options.each => {
                let values = (0..count).map(|_| value::generate(length));
                values.collect::<Result<_, _>>().map(Self::Each)
            }
            _ => options.value.get(sealer.name()).map(Self::One),
        }
    }

    fn of(&self, index: usize) -> &Secret {
        match self {
            Self::One(value) => value,
            // There is one for each machine.
            Self::Each(values) => &values[index],
        }
    }

    /// The values that at least one machine has taken: one without a name, or for each machine its own.
    fn taken<'v>(
        &'v self,
        hosts: &'v [HostKeys],
        report: &Report,
    ) -> Vec<(Option<&'v str>, &'v Secret)> {
        let mut taken = hosts
            .iter()
            .enumerate()
            .map(|(index, host)| (host.name.as_str(), self.of(index)))
            .filter(|(name, _)| report.has_done(name));
        match self {
            Self::One(value) => taken.next().map(|_| (None, value)).into_iter().collect(),
            Self::Each(_) => taken.map(|(name, value)| (Some(name), value)).collect(),
        }
    }
}

/// Prints a value and a line feed on standard output, after the name of its machine and a tab if there is one.
pub(crate) fn print_value(client: Option<&str>, value: &Secret) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let label = client.map(|name| format!("{}\t", visible(name)));
    let parts = [
        label.as_deref().unwrap_or_default().as_bytes(),
        value.expose(),
        b"\n",
    ];
    let written = parts.iter().try_for_each(|part| stdout.write_all(part));
    written
        .and_then(|()| stdout.flush())
        .map_err(output::failure)
}

/// Sends `deliveries` to the server at the same time, and adds the outcome of each to `report`.
async fn deliver(
    server: &MandosProxy,
    deliveries: &[Delivery],
    options: &PutOptions,
    report: &mut Report,
) {
    let call_options = CallOptions {
        dry_run: options.dry_run,
        approval: options.approval(),
    };
    let call = |delivery: &Delivery| {
        let (server, client) = (server.clone(), delivery.client.clone());
        let sealed = delivery.sealed.clone();
        async move {
            server
                .put_secret(&client, sealed.as_bytes(), call_options)
                .await
        }
    };
    let answers = concurrent::for_each(deliveries, call).await;
    for (delivery, answer) in deliveries.iter().zip(answers) {
        match answer {
            Ok(()) => report.done(&delivery.client, delivery.sealed.header()),
            Err(error) => report.failed(&delivery.client, secret::failure(error)),
        }
    }
}

/// Shows the number of machines that are done, on a terminal and with more than one batch.
fn progress(done: usize, of: usize) {
    if of > BATCH && io::stderr().is_terminal() {
        note(format_args!("{done} of {of} machines"));
    }
}

/// Sends the sealed secrets in the files of `--sealed`, each to the client with its host key.
async fn put_sealed(options: &PutOptions) -> Result<u8, Failure> {
    let mut sealed = Vec::new();
    for file in &options.sealed {
        sealed.extend(read_sealed(file)?);
    }
    let server = bus::connect().await?;
    let approvals = Approvals::get(options, &server).await?;
    let clients = server.clients().await.map_err(bus::failure)?;
    // Every machine is found before anything is sent.
    let mut deliveries = Vec::with_capacity(sealed.len());
    for sealed in sealed {
        let host = sealed.header().host;
        let owner = clients
            .iter()
            .find(|it| it.guard.host_key_id.parse() == Ok(host));
        let owner = owner.ok_or_else(|| {
            let name = &sealed.header().name;
            let what = format!("no client has the host key {host}, for which {name} is sealed");
            Failure::new(EX_NOUSER, what).hint("the ids are shown by: nightlatch show --all")
        })?;
        deliveries.push(Delivery {
            client: owner.name.clone(),
            sealed,
        });
    }
    let Some(first) = deliveries.first() else {
        return Err(Failure::new(
            EX_DATAERR,
            "there is no sealed secret in these files",
        ));
    };
    let name = first.sealed.header().name.clone();
    let mut report = Report::new(name, options.dry_run, approvals);
    for batch in deliveries.chunks(BATCH) {
        deliver(&server, batch, options, &mut report).await;
    }
    ask_approvals(&server, &mut report).await;
    report.finish(options.json)
}

const END: &str = "-----END NIGHTLATCH SECRET-----";

/// Reads a file of sealed secrets, one block of text after the other.
fn read_sealed(file: &Path) -> Result<Vec<SealedSecret>, Failure> {
    let shown = file.display();
    let text = input::read(file, MAX_TEXT)
        .map_err(|error| Failure::new(EX_NOINPUT, format!("cannot read {shown}")).because(error))?;
    let bad = || Failure::new(EX_DATAERR, format!("cannot use {shown}"));
    let text = std::str::from_utf8(text.expose()).map_err(|error| bad().because(error))?;
    let blocks = text.split_inclusive(END);
    let blocks = blocks.filter(|block| !block.trim().is_empty());
    let sealed = blocks.map(SealedSecret::from_text);
    sealed
        .collect::<Result<_, _>>()
        .map_err(|error| bad().because(error))
}

#[cfg(test)]
mod tests;
