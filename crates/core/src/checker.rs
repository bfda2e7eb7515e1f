//! A checker command: validated at load, expanded and quoted at each run.

/// A checker command as configured, after the start-time interpolation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckerTemplate(String);

impl CheckerTemplate {
    /// The text as configured.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
