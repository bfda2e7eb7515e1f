//! The options of a program as its command line defines them, in the pages' own Markdown.

use clap::{Arg, ArgAction, Command};

/// The command of these words, as `nightlatch keygen`.
pub fn command(words: &str) -> Option<Command> {
    let mut words = words.split_whitespace();
    let mut command = match words.next()? {
        "nightlatchd" => nightlatch_server::cli::command(),
        "nightlatch" => nightlatch_cli::command(),
        "nightlatch-card" => nightlatch_card::command(),
        _ => return None,
    };
    // Options that hold everywhere and help texts find their places.
    command.build();
    for word in words {
        command = command.find_subcommand(word)?.clone();
    }
    Some(command)
}

/// The options and arguments of a command, each an item of a list.
pub(crate) fn describe(words: &str) -> Option<String> {
    let command = command(words)?;
    let described: Vec<String> = command
        .get_arguments()
        .filter(|arg| !arg.is_hide_set())
        .map(item)
        .collect();
    Some(described.join("\n"))
}

fn item(arg: &Arg) -> String {
    let mut text = format!("- {}\n", term(arg));
    let help = arg.get_long_help().or_else(|| arg.get_help());
    let help = help.map(ToString::to_string).unwrap_or_default();
    for line in escaped(&help).lines() {
        text.push_str(&format!("\n  {line}"));
    }
    if !text.trim_end().ends_with(['.', ':']) {
        text.push('.');
    }
    let defaults: Vec<_> = arg
        .get_default_values()
        .iter()
        .map(|value| value.to_string_lossy())
        .collect();
    if takes_value(arg) && !arg.is_hide_default_value_set() && !defaults.is_empty() {
        text.push_str(&format!(" The default is `{}`.", defaults.join(" ")));
    }
    let values: Vec<_> = arg
        .get_possible_values()
        .iter()
        .filter(|value| !value.is_hide_set())
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    if takes_value(arg) && !values.is_empty() {
        text.push_str(&format!(" One of {}.", values.join(", ")));
    }
    text.push('\n');
    text
}

/// `` `-i`, `--interface` *IF* ``, or `*DEVICE*...` for an argument without a name.
fn term(arg: &Arg) -> String {
    let short = arg.get_short().map(|short| format!("`-{short}`"));
    let long = arg.get_long().map(|long| format!("`--{long}`"));
    let names: Vec<String> = short.into_iter().chain(long).collect();
    let mut term = names.join(", ");
    if takes_value(arg) {
        let values = arg.get_value_names().unwrap_or_default();
        for value in values {
            if !term.is_empty() {
                term.push(' ');
            }
            term.push_str(&format!("*{}*", escaped(value)));
        }
        if names.is_empty() && matches!(arg.get_action(), ArgAction::Append) {
            term.push_str("...");
        }
    }
    term
}

fn takes_value(arg: &Arg) -> bool {
    arg.get_action().takes_values()
}

/// Plain text that Markdown takes as such.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if "\\`*_{}[]<>#|&".contains(character) {
            out.push('\\');
        }
        out.push(character);
    }
    out
}
