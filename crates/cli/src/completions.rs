//! Completion in shells: a few lines of script for each, which ask this program. So that there is one
//! grammar, that of the parser, and clients are completed by their names.

use std::time::Duration;

use clap::{Arg, Command, CommandFactory, ValueHint};
use nightlatch_bus::proxy::MandosProxy;
use nightlatch_console::failure::Failure;
use nightlatch_console::output;
use nightlatch_core::name::compare_naturally;
use nightlatch_core::settings::client::{Setting, SettingKind, changeable_keys};
use nightlatch_fleet::ctl;

use crate::cli::{Cli, CompleteOptions, CompletionsOptions, Shell};
use crate::external;

/// A person waits at the prompt: a server that does not answer in this time has no names.
const PATIENCE: Duration = Duration::from_secs(2);

const BASH: &str = r#"# bash completion for nightlatch: eval "$(nightlatch completions bash)"
_nightlatch() {
    local IFS=$'\n'
    COMPREPLY=($(nightlatch complete -- "${COMP_WORDS[@]:0:COMP_CWORD+1}" 2>/dev/null))
    [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace
    return 0
}
complete -o default -F _nightlatch nightlatch
"#;

const ZSH: &str = r#"#compdef nightlatch
# zsh completion for nightlatch: eval "$(nightlatch completions zsh)"
_nightlatch() {
    local -a found
    found=(${(f)"$(nightlatch complete -- "${(@)words[1,CURRENT]}" 2>/dev/null)"})
    if (( ${#found} )); then
        compadd -S '' -q -- ${(M)found:#*=}
        compadd -- ${found:#*=}
    else
        _files
    fi
}
compdef _nightlatch nightlatch
"#;

const FISH: &str = "\
# fish completion for nightlatch: nightlatch completions fish | source
complete -c nightlatch -a '(nightlatch complete -- (commandline -opc) (commandline -ct) 2>/dev/null)'
";

/// Prints the script for a shell.
pub(crate) fn script(options: &CompletionsOptions) -> Result<u8, Failure> {
    output::print(match options.shell {
        Shell::Bash => BASH,
        Shell::Zsh => ZSH,
        Shell::Fish => FISH,
    })?;
    Ok(0)
}

/// Prints what the last word could become, one a line; nothing where a file belongs.
pub(crate) async fn complete(options: &CompleteOptions) -> Result<u8, Failure> {
    let found = match candidates(&options.words) {
        Candidates::Words(words) => words,
        Candidates::Clients(mut words) => {
            words.extend(names().await);
            words
        }
    };
    let last = options.words.last().map_or("", String::as_str);
    let fitting = found.into_iter().filter(|word| word.starts_with(last));
    output::print(&fitting.map(|word| word + "\n").collect::<String>())?;
    Ok(0)
}

/// Candidates for the last word of a command line.
#[derive(PartialEq, Eq, Debug)]
enum Candidates {
    /// One of these.
    Words(Vec<String>),
    /// One of these, or a client's name.
    Clients(Vec<String>),
}

fn candidates(words: &[String]) -> Candidates {
    let program = external::add_installed(Cli::command());
    let nothing = || Candidates::Words(Vec::new());
    let [_, before @ .., last] = words else {
        return nothing();
    };
    let (mut verb, mut before) = (&program, before);
    // A verb may have verbs of its own, as `secret put`.
    while verb.has_subcommands() {
        let Some((word, rest)) = before.split_first() else {
            let verbs = verb.get_subcommands().filter(|verb| !verb.is_hide_set());
            return Candidates::Words(verbs.map(|verb| verb.get_name().to_owned()).collect());
        };
        let Some(found) = verb.find_subcommand(word) else {
            return nothing();
        };
        (verb, before) = (found, rest);
    }
    let is_ctl = verb.get_name() == "ctl";
    if is_ctl && last.starts_with('-') {
        return Candidates::Words(ctl::long_options().collect());
    }
    if is_ctl {
        return Candidates::Clients(Vec::new());
    }
    if let Some(option) = before.last().and_then(|word| option(verb, word)) {
        return values(option);
    }
    if last.starts_with('-') {
        let long = verb.get_arguments().filter(|option| !option.is_hide_set());
        let long = long.filter_map(|option| Some(format!("--{}", option.get_long()?)));
        return Candidates::Words(long.collect());
    }
    let mut positionals = verb.get_positionals();
    match positionals.next() {
        Some(argument) if argument.get_id() == "words" => setting(before, last),
        // The name of a secret comes first, and then those of clients.
        Some(argument) if argument.get_id() == "secret" && before.is_empty() => nothing(),
        Some(argument) if argument.get_id() == "secret" => {
            positionals.next().map_or_else(nothing, values)
        }
        Some(argument) => values(argument),
        None => nothing(),
    }
}

/// The option that `word` is, when it takes a value.
fn option<'c>(verb: &'c Command, word: &str) -> Option<&'c Arg> {
    let is_named = |option: &&Arg| match word.strip_prefix("--") {
        Some(long) => option.get_long() == Some(long),
        None => option
            .get_short()
            .is_some_and(|short| word == format!("-{short}")),
    };
    let option = verb.get_arguments().find(is_named)?;
    option.get_action().takes_values().then_some(option)
}

/// The values of an option or a positional argument.
fn values(argument: &Arg) -> Candidates {
    let clients = ["names", "name", "client"];
    if clients.contains(&argument.get_id().as_str()) {
        return Candidates::Clients(Vec::new());
    }
    if argument.get_value_hint() == ValueHint::AnyPath {
        return Candidates::Words(Vec::new());
    }
    let values = argument.get_possible_values();
    let values = values.iter().filter(|value| !value.is_hide_set());
    Candidates::Words(values.map(|value| value.get_name().to_owned()).collect())
}

/// After a name, a setting can come instead of another name.
fn setting(before: &[String], last: &str) -> Candidates {
    if let Some((key, _)) = last.split_once('=') {
        let values: &[&str] = match Setting::by_key(key)
            .filter(|it| it.is_changeable())
            .map(Setting::kind)
        {
            Some(SettingKind::Boolean) => &["yes", "no"],
            _ => &[],
        };
        let words = values.iter().map(|value| format!("{key}={value}"));
        return Candidates::Words(words.collect());
    }
    if before.is_empty() {
        return Candidates::Clients(Vec::new());
    }
    let keys = changeable_keys().into_iter().map(|key| format!("{key}="));
    Candidates::Clients(keys.chain(["secret=@".to_owned()]).collect())
}

/// The names of all clients; none when the server cannot be asked.
async fn names() -> Vec<String> {
    let asked = async { MandosProxy::connect().await?.clients().await };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(clients)) => {
            let mut names: Vec<String> = clients.into_iter().map(|client| client.name).collect();
            names.sort_by(|a, b| compare_naturally(a, b));
            names
        }
        Ok(Err(_)) | Err(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: &str) -> Candidates {
        let words: Vec<String> = line.split(' ').map(String::from).collect();
        candidates(&words)
    }

    fn holds(candidates: Candidates, word: &str) -> bool {
        let (Candidates::Words(words) | Candidates::Clients(words)) = candidates;
        words.iter().any(|known| known == word)
    }

    #[test]
    fn every_place_of_the_grammar_completes() {
        assert!(holds(at("nightlatch "), "list"));
        assert!(!holds(at("nightlatch "), "complete"));
        assert!(holds(at("nightlatch list --"), "--json"));
        assert!(holds(at("nightlatch list --state "), "waiting"));
        assert!(holds(at("nightlatch wait foo -u "), "released"));
        assert!(holds(at("nightlatch completions "), "fish"));
        assert!(holds(at("nightlatch ctl --"), "--enable"));
        assert!(holds(at("nightlatch secret "), "put"));
        assert!(holds(at("nightlatch secret put --"), "--expires"));
        assert!(holds(at("nightlatch admin-key "), "show"));
        assert!(holds(at("nightlatch image "), "stage"));
        assert!(holds(at("nightlatch set foo "), "timeout="));
        let line = "nightlatch set foo approved_by_default=";
        assert!(holds(at(line), "approved_by_default=yes"));
        let names = Candidates::Clients(Vec::new());
        for line in [
            "nightlatch show ",
            "nightlatch remove a ",
            "nightlatch trust ",
            "nightlatch log --client ",
            "nightlatch wait ",
            "nightlatch ctl -e ",
            "nightlatch secret put card.pin ",
            "nightlatch secret put card.pin web1 ",
            "nightlatch secret list ",
            "nightlatch secret remove card.pin ",
            "nightlatch secret history card.pin ",
            "nightlatch secret seal card.pin --host ",
            "nightlatch set ",
        ] {
            assert_eq!(at(line), names, "{line}");
        }
        for line in [
            "nightlatch add ",
            "nightlatch nonsense ",
            "nightlatch",
            "nightlatch secret remove ",
            "nightlatch secret nonsense x ",
        ] {
            assert_eq!(at(line), Candidates::Words(Vec::new()), "{line}");
        }
    }
}
