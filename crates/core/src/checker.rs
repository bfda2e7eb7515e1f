//! A checker command: validated at load, expanded and quoted at each run.

/// A checker command as configured, after the start-time interpolation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckerTemplate(String);

impl CheckerTemplate {
    /// Takes `text` as a template.
    pub fn new(text: &str) -> Result<Self, std::convert::Infallible> {
        Ok(Self(text.into()))
    }

    /// The text as configured.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
