//! A page's source: its name, its text with the options put in, its code blocks.

use std::io;
use std::path::{Path, PathBuf};

use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag, TagEnd};

use crate::options;

/// The placeholder for the options of a command.
const OPTIONS: &str = "<!-- options: ";

/// A comment of which the rest is a script.
const BEFORE: &str = "before the examples";

/// The start of a comment.
const BEGIN: &str = "<!--";
const END: &str = "-->";

#[derive(Debug)]
pub struct ManualPage {
    /// The name, as `nightlatchd`.
    pub name: String,
    /// The section, as `8`.
    pub section: String,
    /// Markdown, with the options of the commands it describes and without comments.
    pub text: String,
    /// A script that prepares what the examples need.
    pub before_the_examples: String,
    /// The commands whose options it contains.
    pub commands: Vec<String>,
}

/// A code block.
#[derive(Debug)]
pub struct Block {
    /// The info string after the backticks, as `sh run`.
    pub kind: String,
    /// The text of the block.
    pub text: String,
}

/// A fault in the source of a page.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        source: io::Error,
    },
    /// Its name is not that of a page.
    #[error("{}: expected a name like nightlatchd.8.md", .0.display())]
    Name(PathBuf),
    /// It asks for the options of a command that does not exist.
    #[error("{page}: there is no command {command:?}")]
    NoCommand {
        page: String,
        /// The command in the placeholder.
        command: String,
    },
}

/// Every page in a folder, by name.
pub fn pages(folder: &Path) -> Result<Vec<ManualPage>, PageError> {
    let sources = sources(folder)?;
    let pages = sources
        .iter()
        .map(|(path, text)| ManualPage::new(path, text));
    pages.collect()
}

/// Every guide in a folder: text for people who read on, with examples that are run likewise.
pub fn guides(folder: &Path) -> Result<Vec<ManualPage>, PageError> {
    let mut guides = Vec::new();
    for (path, text) in sources(folder)? {
        let name = path.file_stem().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| PageError::Name(path.clone()))?;
        guides.push(ManualPage::of(name, "guide", text, Vec::new()));
    }
    Ok(guides)
}

/// The files in a folder with what they hold.
fn sources(folder: &Path) -> Result<Vec<(PathBuf, String)>, PageError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| PageError::Unreadable { path, source }
    };
    let mut sources = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable(folder))? {
        let path = entry.map_err(unreadable(folder))?.path();
        let text = std::fs::read_to_string(&path).map_err(unreadable(&path))?;
        sources.push((path, text));
    }
    sources.sort();
    Ok(sources)
}

impl ManualPage {
    fn new(path: &Path, text: &str) -> Result<Self, PageError> {
        let name = path.file_name().and_then(|name| name.to_str());
        let Some((name, section)) = name
            .and_then(|name| name.strip_suffix(".md"))
            .and_then(|name| name.rsplit_once('.'))
        else {
            return Err(PageError::Name(path.to_owned()));
        };
        let mut commands = Vec::new();
        let mut whole = String::new();
        for line in text.lines() {
            let words = line
                .strip_prefix(OPTIONS)
                .and_then(|rest| rest.strip_suffix(END));
            if let Some(words) = words {
                let words = words.trim();
                let described = options::describe(words).ok_or_else(|| PageError::NoCommand {
                    page: name.to_owned(),
                    command: words.to_owned(),
                })?;
                whole.push_str(&described);
                commands.push(words.to_owned());
            } else {
                whole.push_str(line);
            }
            whole.push('\n');
        }
        Ok(Self::of(name, section, whole, commands))
    }

    fn of(name: &str, section: &str, text: String, commands: Vec<String>) -> Self {
        let (text, comments) = without_comments(&text);
        let script = comments
            .iter()
            .find_map(|it| it.trim_start().strip_prefix(BEFORE));
        Self {
            name: name.to_owned(),
            section: section.to_owned(),
            before_the_examples: script.unwrap_or_default().to_owned(),
            text,
            commands,
        }
    }

    /// Name and section, as `nightlatchd(8)`.
    pub fn title(&self) -> String {
        format!("{}({})", self.name, self.section)
    }

    /// Its code blocks, in order.
    pub fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut open: Option<Block> = None;
        for event in Parser::new(&self.text) {
            match event {
                Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(kind))) => {
                    open = Some(Block {
                        kind: kind.into_string(),
                        text: String::new(),
                    });
                }
                Event::Text(text) => {
                    if let Some(block) = &mut open {
                        block.text.push_str(&text);
                    }
                }
                Event::End(TagEnd::CodeBlock) => blocks.extend(open.take()),
                _ => {}
            }
        }
        blocks
    }
}

/// The text without its comments, and what they said.
fn without_comments(text: &str) -> (String, Vec<&str>) {
    let mut visible = String::new();
    let mut comments = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(BEGIN) {
        visible.push_str(before);
        let (comment, after) = after.split_once(END).unwrap_or((after, ""));
        comments.push(comment);
        rest = after;
    }
    visible.push_str(rest);
    (visible, comments)
}
