//! `nightlatch secret seal`: seals a value without a server.

use std::path::PathBuf;

use clap::Args;
use nightlatch_console::failure::{EX_CANTCREAT, EX_USAGE, Failure, note};
use nightlatch_console::output;
use nightlatch_core::time::Wall;
use nightlatch_fleet::verbs::secret;
use serde::Serialize;

use crate::admin_key::SigningOptions;
use crate::config_folder::{self, ConfigFolder};
use crate::host_keys;
use crate::known_hosts::{HostKeys, KnownHosts};
use crate::sealing::{HeaderOptions, Sealer};
use crate::value::ValueOptions;

/// The options of `secret seal`.
#[derive(Args, Debug)]
pub(crate) struct SealOptions {
    /// Name of the secret, as postgres.password
    #[arg(id = "secret", value_name = "NAME")]
    secret: String,

    /// Seal for this machine, or for those that fit a pattern: * any text, ? any character, [a-f] one of these; may be
    /// repeated. Without --host-key the pinned keys are used
    #[arg(
        long = "host",
        value_name = "NAME",
        required_unless_present = "host_key"
    )]
    names: Vec<String>,

    /// Take the machines' keys from the sections in this file, as enroll prints them; may be repeated
    #[arg(long, value_name = "FILE")]
    host_key: Vec<PathBuf>,

    #[command(flatten)]
    value: ValueOptions,

    #[command(flatten)]
    header: HeaderOptions,

    #[command(flatten)]
    signing: SigningOptions,

    /// Write the text to this file, which must not exist, and not to standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Do all but writing
    #[arg(short = 'n', long)]
    dry_run: bool,

    /// Tell the outcome in JSON; needs --output, as standard output has the sealed text otherwise
    #[arg(long, requires = "output", conflicts_with = "print")]
    json: bool,
}

/// One machine in JSON. Keys may be added, never changed.
#[derive(Serialize)]
struct SealedJson<'s> {
    client: &'s str,
    name: &'s str,
    host_key_id: String,
    serial: u64,
    done: bool,
    dry_run: bool,
}

/// Seals the value for each of the chosen machines, all or none.
pub(crate) fn run(options: &SealOptions, now: Wall) -> Result<u8, Failure> {
    let sealer = Sealer::new(secret::name(&options.secret)?, &options.header, now)?;
    let passphrase = options.signing.passphrase_file.as_deref();
    options.value.check_stdin(passphrase)?;
    if options.value.print && options.output.is_none() {
        return Err(Failure::new(EX_USAGE, "--print without --output")
            .hint("standard output has the sealed text: write that to a file with --output FILE"));
    }
    let mut known = KnownHosts::open(ConfigFolder::of_user()?)?;
    let hosts = hosts(options, &known)?;
    let news = known.check(&hosts, &options.header.accept_changed_key)?;
    let admin = options.signing.load()?;
    let value = options.value.get(sealer.name())?;
    let mut text = String::new();
    for host in &hosts {
        text.push_str(&sealer.seal(&value, host, &admin)?.to_text());
    }
    let names: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
    let names = nightlatch_fleet::select::names(names.into_iter());
    let name = sealer.name();
    if options.dry_run {
        news.iter()
            .for_each(|line| note(format_args!("dry run: {line}")));
        note(format_args!("dry run: seal {name} for {names}"));
        print_json(options, &sealer, &hosts)?;
        return Ok(0);
    }
    known.save(&hosts)?;
    news.iter().for_each(note);
    match &options.output {
        Some(file) => config_folder::create(file, text.as_bytes()).map_err(|error| {
            let what = format!("cannot make {}", file.display());
            Failure::new(EX_CANTCREAT, what).because(error)
        })?,
        None => output::print(&text)?,
    }
    note(format_args!(
        "sealed {name} for {names}, serial {}",
        sealer.serial()
    ));
    print_json(options, &sealer, &hosts)?;
    if options.value.print {
        crate::put::print_value(None, &value)?;
    }
    Ok(0)
}

/// With `--json`, prints the outcome.
fn print_json(options: &SealOptions, sealer: &Sealer, hosts: &[HostKeys]) -> Result<(), Failure> {
    if !options.json {
        return Ok(());
    }
    let lines = hosts.iter().map(|host| SealedJson {
        client: host.name.as_str(),
        name: sealer.name().as_str(),
        host_key_id: host.host.to_string(),
        serial: sealer.serial(),
        done: !options.dry_run,
        dry_run: options.dry_run,
    });
    output::print(&output::json::text(&lines.collect::<Vec<_>>())?)
}

fn hosts(options: &SealOptions, known: &KnownHosts) -> Result<Vec<HostKeys>, Failure> {
    if options.host_key.is_empty() {
        return known.find_all(&options.names);
    }
    host_keys::read(&options.host_key, &options.names)
}
