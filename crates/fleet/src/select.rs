//! Selects the clients of a verb: by names, by patterns, or all.

use clap::Args;
use glob::Pattern;
use nightlatch_bus::client::ClientView;
use nightlatch_console::failure::{EX_NOUSER, EX_USAGE, Failure};
use nightlatch_console::output::table::visible;
use nightlatch_core::name::compare_naturally;
use nightlatch_core::suggest;

/// Selects clients, for verbs that have no default.
#[derive(Args, Debug, Default)]
pub struct SelectOptions {
    /// Names of clients, or patterns: * any text, ? any character, [a-f] one of these
    #[arg(required_unless_present = "all", value_name = "NAME")]
    pub names: Vec<String>,

    /// All clients
    #[arg(short, long, conflicts_with = "names")]
    pub all: bool,
}

/// The clients that were chosen, in the order of the server and each once.
#[derive(Debug)]
pub struct Selection<'c> {
    /// The clients.
    pub clients: Vec<&'c ClientView>,
    /// True when each was named, so that neither a pattern nor `--all` has chosen one.
    pub by_name: bool,
}

impl<'c> Selection<'c> {
    /// The clients that `which` selects. A name or a pattern without a match is an error, and so is `--all` without
    /// clients.
    pub fn of(clients: &'c [ClientView], which: &SelectOptions) -> Result<Self, Failure> {
        if which.all {
            if clients.is_empty() {
                return Err(Failure::new(EX_NOUSER, "the server has no clients"));
            }
            return Ok(Self {
                clients: clients.iter().collect(),
                by_name: false,
            });
        }
        Self::named(clients, &which.names)
    }

    /// The clients that fit one of `names`.
    ///
    /// # Errors
    /// A name or a pattern without a match.
    pub fn named(clients: &'c [ClientView], names: &[String]) -> Result<Self, Failure> {
        let mut chosen = vec![false; clients.len()];
        let mut by_name = true;
        for name in names {
            let exact = clients.iter().position(|client| client.name == *name);
            if let Some(index) = exact {
                chosen[index] = true;
                continue;
            }
            let mut found = false;
            if is_pattern(name) {
                by_name = false;
                let pattern = pattern(name)?;
                for (chosen, client) in chosen.iter_mut().zip(clients) {
                    if pattern.matches(&client.name) {
                        (*chosen, found) = (true, true);
                    }
                }
            }
            if !found {
                return Err(unknown(clients, name));
            }
        }
        let chosen = clients.iter().zip(chosen).filter(|(_, chosen)| *chosen);
        Ok(Self {
            clients: chosen.map(|(client, _)| client).collect(),
            by_name,
        })
    }

    /// The names of all of them, for a question.
    pub fn all_names(&self) -> String {
        let mut names: Vec<&str> = self.clients.iter().map(|it| it.name.as_str()).collect();
        names.sort_by(|a, b| compare_naturally(a, b));
        visible(&names.join(", "))
    }
}

/// Names for a sentence: all of a few, else the first and how many more.
pub fn names<'n>(names: impl Iterator<Item = &'n str>) -> String {
    const SHOWN: usize = 5;
    let names: Vec<&str> = names.collect();
    if names.len() <= SHOWN {
        return visible(&names.join(", "));
    }
    let first = visible(&names[..SHOWN - 1].join(", "));
    format!("{first} and {} more", names.len() - (SHOWN - 1))
}

/// Those of `known` that `wanted` names, or that fit it as a pattern; a name wins over the pattern it looks like.
///
/// # Errors
/// A text that looks like a pattern and is none.
pub fn matching<'n>(known: &[&'n str], wanted: &str) -> Result<Vec<&'n str>, Failure> {
    if let Some(name) = known.iter().find(|name| **name == wanted) {
        return Ok(vec![name]);
    }
    if !is_pattern(wanted) {
        return Ok(Vec::new());
    }
    let pattern = pattern(wanted)?;
    Ok(known
        .iter()
        .copied()
        .filter(|name| pattern.matches(name))
        .collect())
}

pub(crate) fn one<'c>(clients: &'c [ClientView], name: &str) -> Result<&'c ClientView, Failure> {
    let found = clients.iter().find(|client| client.name == name);
    found.ok_or_else(|| unknown(clients, name))
}

/// True when `text` has a character that makes it a pattern.
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// A pattern of names, as in a shell.
fn pattern(text: &str) -> Result<Pattern, Failure> {
    Pattern::new(text).map_err(|error| {
        Failure::new(EX_USAGE, format!("{text:?} is no pattern"))
            .because(error)
            .hint("* is any text, ? any character, [a-f] one of these, [!a-f] none of these")
    })
}

fn unknown(clients: &[ClientView], name: &str) -> Failure {
    if is_pattern(name) {
        return Failure::new(EX_NOUSER, format!("no client fits the pattern {name:?}"))
            .hint("the names are shown by: nightlatch list");
    }
    let failure = Failure::new(EX_NOUSER, format!("no client is called {name:?}"));
    let names = clients.iter().map(|client| client.name.as_str());
    match suggest::nearest(name, names) {
        Some(near) => failure.hint(format!("did you mean {near}?")),
        None => failure.hint("the names are shown by: nightlatch list"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::samples::client;

    fn chosen(names: &[&str]) -> Result<(Vec<String>, bool), String> {
        let clients = ["b.example", "a.example", "web-1", "x*y"].map(client);
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let selection = Selection::named(&clients, &names);
        let selection = selection.map_err(|failure| failure.to_string())?;
        let names = selection.clients.iter().map(|client| client.name.clone());
        Ok((names.collect(), selection.by_name))
    }

    #[test]
    fn names_and_patterns_choose_each_client_once() {
        let (names, by_name) = chosen(&["web-1", "*.example", "a.example"]).unwrap();
        assert_eq!(names, ["b.example", "a.example", "web-1"]);
        assert!(!by_name);
        assert_eq!(chosen(&["web-1"]), Ok((vec!["web-1".to_owned()], true)));
    }

    #[test]
    fn a_text_that_is_no_pattern_is_said_to_be_none() {
        let error = chosen(&["web[1"]).unwrap_err();
        assert!(error.starts_with("\"web[1\" is no pattern: "), "{error}");
        let (names, _) = chosen(&["[!bw].e*", "web-[0-9]"]).unwrap();
        assert_eq!(names, ["a.example", "web-1"]);
    }

    #[test]
    fn a_name_wins_over_the_pattern_it_looks_like() {
        assert_eq!(chosen(&["x*y"]), Ok((vec!["x*y".to_owned()], true)));
    }

    #[test]
    fn a_name_that_nobody_has_is_an_error() {
        assert_eq!(
            chosen(&["web-1", "web-2"]),
            Err("no client is called \"web-2\"".to_owned())
        );
        assert_eq!(
            chosen(&["db*"]),
            Err("no client fits the pattern \"db*\"".to_owned())
        );
    }

    #[test]
    fn a_question_has_every_name_and_no_control_character_in_it() {
        let clients: Vec<_> = (1..=12).map(|n| client(&format!("h{n}"))).collect();
        let selection = Selection::named(&clients, &["h*".to_owned()]).unwrap();
        let all = selection.all_names();
        assert_eq!(all, "h1, h2, h3, h4, h5, h6, h7, h8, h9, h10, h11, h12");
        let clients = [client("a\x1b[2J")];
        let selection = Selection::named(&clients, &["a*".to_owned()]).unwrap();
        assert_eq!(selection.all_names(), "a\\u{1b}[2J");
    }

    #[test]
    fn many_names_are_cut_short() {
        assert_eq!(names(["a", "b"].into_iter()), "a, b");
        let many = ["a", "b", "c", "d", "e", "f"];
        assert_eq!(names(many.into_iter()), "a, b, c, d and 2 more");
    }
}
