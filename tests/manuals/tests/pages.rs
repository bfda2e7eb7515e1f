//! Each page says what the programs do: options and keys are those of the parsers, examples of
//! configuration are accepted, other pages that are named exist, and man(1) has nothing to complain of.
#![allow(clippy::unwrap_used, reason = "in a test it is the assertion itself")]

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use nightlatch_core::network;
use nightlatch_core::settings::{agent, card, client, machine, server};
use nightlatch_interop::programs::ours;
use nightlatch_manuals::{ManualPage, command, pages, render, source_folder};

fn all() -> Vec<ManualPage> {
    pages(&source_folder()).unwrap()
}

fn page(title: &str) -> ManualPage {
    let mut pages = all().into_iter();
    pages.find(|page| page.title() == title).unwrap()
}

/// The bold or code text at the beginning of each list item, up to the end of its line.
fn terms(page: &ManualPage, section: &str) -> Vec<String> {
    let (_, after) = page.text.split_once(&format!("\n## {section}\n")).unwrap();
    let section = after.split("\n## ").next().unwrap();
    let items = section.lines().filter_map(|line| line.strip_prefix("- `"));
    items.map(|item| format!("`{item}")).collect()
}

/// The words in backticks of a term that `wanted` wants.
fn words(term: &str, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let quoted = term.split('`').skip(1).step_by(2);
    quoted
        .filter(|word| wanted(word))
        .map(str::to_owned)
        .collect()
}

#[test]
fn man_renders_every_page_without_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    for page in all() {
        let file = folder
            .path()
            .join(format!("{}.{}", page.name, page.section));
        std::fs::write(&file, render(&page).unwrap()).unwrap();
        let output = Command::new("man")
            .args(["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"])
            .arg(&file)
            .env("MANWIDTH", "80")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let warnings = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && warnings.is_empty(),
            "{}: {warnings}",
            page.title()
        );
    }
}

#[test]
fn every_page_has_what_a_reader_looks_for() {
    for page in all() {
        let title = page.title();
        assert!(
            page.text.starts_with(&format!("# {title}\n")),
            "{title}: its heading"
        );
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "EXAMPLES", "SEE ALSO"] {
            assert!(
                page.text.contains(&format!("\n## {section}\n")),
                "{title}: {section}"
            );
        }
        assert!(
            page.text.contains(&format!("\n{} - ", page.name)),
            "{title}: its name"
        );
        let runs = page.blocks().iter().any(|block| block.kind == "sh run");
        assert!(runs, "{title}: an example that a test runs");
    }
}

#[test]
fn every_verb_has_a_page_with_its_options() {
    let pages = all();
    let described: BTreeSet<&str> = pages
        .iter()
        .flat_map(|page| page.commands.iter().map(String::as_str))
        .collect();
    let verbs = command("nightlatch").unwrap();
    let verbs = verbs.get_subcommands().filter(|verb| !verb.is_hide_set());
    for verb in verbs
        .map(clap::Command::get_name)
        .filter(|name| *name != "help")
    {
        let words = format!("nightlatch {verb}");
        // Its options are read by a parser of its own.
        assert!(
            verb == "ctl"
                || described.contains(words.as_str())
                || described
                    .iter()
                    .any(|of| of.starts_with(&format!("{words} "))),
            "no page has the options of {words}"
        );
        let entry = format!("**nightlatch-{verb}**(1)");
        assert!(
            page("nightlatch(1)").text.contains(&entry),
            "nightlatch(1) does not name {verb}"
        );
    }
    assert!(described.contains("nightlatchd"));
}

#[test]
fn keys_of_configuration_files_are_those_of_the_parsers() {
    let links = network::KEYS.map(|(key, _)| key);
    for (title, keys) in [
        ("clients.conf(5)", &client::keys()[..]),
        ("nightlatch.conf(5)", &server::KEYS[..]),
        ("client.conf(5)", &machine::KEYS[..]),
        ("agent.conf(5)", &agent::KEYS[..]),
        ("card.conf(5)", &card::KEYS[..]),
        ("network.conf(5)", &links[..]),
    ] {
        let page = page(title);
        let described: Vec<String> = terms(&page, "SETTINGS")
            .iter()
            .flat_map(|term| words(term, |_| true))
            .collect();
        let set = |words: &[String]| words.iter().cloned().collect::<BTreeSet<_>>();
        let known: Vec<String> = keys.iter().map(ToString::to_string).collect();
        assert_eq!(set(&described), set(&known), "{title}");
        assert_eq!(described.len(), known.len(), "{title}: a key stands twice");
    }
}

#[test]
fn options_that_are_written_by_hand_are_those_that_the_help_tells() {
    let ctl = Command::new(ours("nightlatch"))
        .args(["ctl", "--help"])
        .output();
    let ctl = String::from_utf8(ctl.unwrap().stdout).unwrap();
    assert_told("nightlatch-ctl(1)", "OPTIONS", &told(&ctl));
    assert_told(
        "nightlatch-agent(8)",
        "OPTIONS",
        &told(nightlatch_agent::HELP),
    );
    // Described once for all applets.
    let common = ["-?", "--help", "--usage", "-V", "--version"].map(str::to_owned);
    for (applet, help) in nightlatch_boot::helps() {
        let mut told = told(help);
        let section = match applet {
            "client" => "OPTIONS".to_owned(),
            other => {
                told.retain(|option| !common.contains(option));
                other.to_uppercase()
            }
        };
        assert_told("nightlatch-boot(8)", &section, &told);
    }
}

/// The options in a help text: they come first in a line, and their explanation is set apart.
fn told(help: &str) -> BTreeSet<String> {
    let lines = help.lines().map(str::trim_start);
    let lines = lines.filter(|line| line.starts_with('-'));
    let told: BTreeSet<String> = lines
        .filter_map(|line| line.split("  ").next())
        .flat_map(|names| names.split([' ', ',']).filter(|word| word.starts_with('-')))
        .map(str::to_owned)
        .collect();
    assert!(told.len() > 5, "the help was misread: {help}");
    told
}

fn assert_told(title: &str, section: &str, told: &BTreeSet<String>) {
    let described: BTreeSet<String> = terms(&page(title), section)
        .iter()
        .flat_map(|term| words(term, |word| word.starts_with('-')))
        .collect();
    assert_eq!(&described, told, "{title}, {section}");
}

#[test]
fn configuration_in_the_pages_is_accepted_without_a_doubt() {
    let mut seen = BTreeSet::new();
    for page in all() {
        for block in page.blocks() {
            let name = format!("{}, {}", page.title(), block.kind);
            match block.kind.as_str() {
                "conf clients" => {
                    let parsed = client::parse(&[(name.clone(), block.text)]).unwrap();
                    assert_eq!(parsed.warnings, [], "{name}");
                }
                "conf server" => {
                    let parsed = server::parse(&name, &block.text).unwrap();
                    assert_eq!(parsed.warnings, [], "{name}");
                }
                "conf machine" => {
                    let parsed = machine::parse(&name, &block.text).unwrap();
                    assert_eq!(parsed.warnings, [], "{name}");
                }
                "conf agent" => {
                    let parsed = agent::parse(&name, &block.text).unwrap();
                    assert_eq!(parsed.warnings, [], "{name}");
                }
                "conf card" => {
                    let parsed = card::parse(&name, &block.text).unwrap();
                    assert_eq!(parsed.warnings, [], "{name}");
                }
                "conf network" => {
                    let parsed = network::Definition::parse(&block.text);
                    assert!(parsed.is_ok(), "{name}: {parsed:?}");
                }
                "sh" | "sh run" | "text" => continue,
                other => panic!("{name}: unknown kind {other:?}"),
            }
            seen.insert(block.kind);
        }
    }
    assert_eq!(seen.len(), 6);
}

#[test]
fn pages_that_are_named_exist() {
    let pages = all();
    let titles: BTreeSet<String> = pages.iter().map(ManualPage::title).collect();
    for page in &pages {
        for (name, rest) in page
            .text
            .split("**")
            .zip(page.text.split("**").skip(1))
            .skip(1)
            .step_by(2)
        {
            let ours = name.starts_with("nightlatch")
                || matches!(
                    name,
                    "clients.conf" | "client.conf" | "agent.conf" | "card.conf"
                );
            let section = rest.strip_prefix('(').and_then(|rest| rest.split_once(')'));
            if let (true, Some((section, _))) = (ours, section) {
                let title = format!("{name}({section})");
                assert!(titles.contains(&title), "{} names {title}", page.title());
            }
        }
    }
}
