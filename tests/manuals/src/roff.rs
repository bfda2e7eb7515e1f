//! From Markdown to man(7): the part of Markdown that the pages use. Anything else is refused by name.

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Parser, Tag, TagEnd};

use crate::ManualPage;

/// Something in a page that has no form in man(7) here.
#[derive(Debug, thiserror::Error)]
#[error("{page}: {what} is not used in manual pages")]
pub struct RoffError {
    /// The page with the fault.
    pub page: String,
    /// The unsupported element.
    pub what: String,
}

/// The page as man(1) reads it.
pub fn render(page: &ManualPage) -> Result<String, RoffError> {
    let head = format!(
        ".TH {} {} \"\" \"Nightlatch {}\" \"Nightlatch manual\"\n.nh\n.ad l\n",
        page.name.to_uppercase(),
        page.section,
        env!("CARGO_PKG_VERSION"),
    );
    let mut writer = RoffWriter {
        out: head,
        ..RoffWriter::default()
    };
    let events: Vec<Event<'_>> = Parser::new(&page.text).collect();
    for (index, event) in events.iter().enumerate() {
        writer
            .event(event, &events[index + 1..])
            .map_err(|what| RoffError {
                page: page.title(),
                what,
            })?;
    }
    Ok(writer.out)
}

/// The position of the text in a list item.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ItemPosition {
    /// Nothing of it is written yet; it has a term of its own, or is a dot and text.
    Term,
    Dot,
    /// In what follows the first paragraph.
    Body,
}

#[derive(Default)]
struct RoffWriter {
    out: String,
    items: Vec<ItemPosition>,
    /// In the heading that is the page's title, which `.TH` has said.
    title: bool,
    heading: bool,
    /// In the heading of a section, which stands in capitals.
    section: bool,
    code: bool,
    name_section: bool,
    /// The target of the link whose text is being written.
    link: Option<String>,
}

impl RoffWriter {
    fn event(&mut self, event: &Event<'_>, rest: &[Event<'_>]) -> Result<(), String> {
        match event {
            Event::Start(tag) => self.start(tag, rest)?,
            Event::End(tag) => self.end(*tag),
            Event::Text(text) => self.text(text),
            Event::Code(code) => {
                self.font(&format!("\\fB{}\\fR", escape_code(code)));
            }
            Event::SoftBreak => self.line(),
            Event::HardBreak => self.request("br"),
            other => return Err(format!("{other:?}")),
        }
        Ok(())
    }

    fn start(&mut self, tag: &Tag<'_>, rest: &[Event<'_>]) -> Result<(), String> {
        match tag {
            Tag::Heading { level, .. } => {
                self.heading = true;
                match level {
                    HeadingLevel::H1 => self.title = true,
                    HeadingLevel::H2 => {
                        self.section = true;
                        self.macro_line("SH ");
                    }
                    HeadingLevel::H3 => self.macro_line("SS "),
                    level => return Err(format!("a heading of level {level}")),
                }
            }
            Tag::Paragraph => self.paragraph(),
            Tag::List(None) => {
                if !self.items.is_empty() {
                    self.request("RS");
                }
            }
            Tag::Item => {
                let term = has_term(rest);
                self.items.push(if term {
                    ItemPosition::Term
                } else {
                    ItemPosition::Dot
                });
                self.request(if term { "TP" } else { "IP \\(bu 2" });
            }
            Tag::CodeBlock(CodeBlockKind::Fenced(_)) => {
                self.code = true;
                self.request("PP");
                self.request("RS 4");
                self.request("EX");
            }
            Tag::Emphasis => self.font("\\fI"),
            Tag::Strong => self.font("\\fB"),
            Tag::Link { dest_url, .. } => self.link = Some(dest_url.to_string()),
            other => return Err(format!("{other:?}")),
        }
        Ok(())
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(_) => {
                self.heading = false;
                self.section = false;
                self.title = false;
                self.line();
            }
            TagEnd::Paragraph => {
                self.line();
                if let Some(item) = self.items.last_mut() {
                    *item = ItemPosition::Body;
                }
            }
            TagEnd::Item => {
                self.line();
                self.items.pop();
            }
            TagEnd::List(_) if !self.items.is_empty() => self.request("RE"),
            TagEnd::CodeBlock => {
                self.code = false;
                self.line();
                self.request("EE");
                self.request("RE");
            }
            TagEnd::Emphasis | TagEnd::Strong => self.font("\\fR"),
            TagEnd::Link => {
                if let Some(to) = self.link.take() {
                    self.out.push_str(&format!(" ({})", escape(&to)));
                }
            }
            _ => {}
        }
    }

    /// Begins a paragraph: without a macro in an item's first, indented in later ones.
    fn paragraph(&mut self) {
        match self.items.last() {
            None => self.request("PP"),
            Some(ItemPosition::Term | ItemPosition::Dot) => {}
            Some(ItemPosition::Body) => {
                // The paragraph after a term is its text; what comes later is set apart.
                if !self.out.ends_with(".TP\n") && self.after_text() {
                    self.request("IP");
                }
            }
        }
    }

    /// True when the last line is text of an item's body and not its term.
    fn after_text(&self) -> bool {
        let mut lines = self.out.lines().rev();
        lines.next();
        lines.next() != Some(".TP")
    }

    fn text(&mut self, text: &str) {
        if self.title {
            return;
        }
        if self.section {
            self.name_section = text == "NAME";
            self.out.push_str(&escape(&text.to_uppercase()));
            return;
        }
        if self.heading {
            self.out.push_str(&escape(text));
            return;
        }
        if self.code {
            for line in text.split_inclusive('\n') {
                self.out.push_str(&guarded(&escape_code(line)));
            }
            return;
        }
        let text = if self.name_section {
            // The separator that whatis(1) expects.
            escape(text).replace(" - ", " \\- ")
        } else {
            escape(text)
        };
        if self.out.ends_with('\n') {
            self.out.push_str(&guarded(&text));
        } else {
            self.out.push_str(&text);
        }
    }

    fn font(&mut self, text: &str) {
        if !self.title {
            self.out.push_str(text);
        }
    }

    /// Ends the line that is being written, if one is.
    fn line(&mut self) {
        if !self.out.ends_with('\n') {
            self.out.push('\n');
        }
    }

    fn request(&mut self, request: &str) {
        self.line();
        self.out.push('.');
        self.out.push_str(request);
        self.out.push('\n');
    }

    /// A macro whose argument is the rest of the line.
    fn macro_line(&mut self, name: &str) {
        self.line();
        self.out.push('.');
        self.out.push_str(name);
    }
}

/// True when the item that begins here has a paragraph for a term and more after it.
fn has_term(rest: &[Event<'_>]) -> bool {
    if !matches!(rest.first(), Some(Event::Start(Tag::Paragraph))) {
        return false;
    }
    let mut after = rest
        .iter()
        .skip_while(|event| !matches!(event, Event::End(TagEnd::Paragraph)));
    after.next();
    matches!(
        after.next(),
        Some(Event::Start(Tag::Paragraph | Tag::CodeBlock(_)))
    )
}

/// Text that groff(7) takes as such.
fn escape(text: &str) -> String {
    text.replace('\\', "\\e")
}

/// Text to be copied: no character is replaced by a typographic one.
fn escape_code(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\e"),
            '-' => out.push_str("\\-"),
            '\'' => out.push_str("\\(aq"),
            '`' => out.push_str("\\(ga"),
            '^' => out.push_str("\\(ha"),
            '~' => out.push_str("\\(ti"),
            other => out.push(other),
        }
    }
    out
}

/// A line that does not begin as a request does.
fn guarded(line: &str) -> String {
    if line.starts_with(['.', '\'']) {
        format!("\\&{line}")
    } else {
        line.to_owned()
    }
}
