//! Patterns that texts must match, compiled when the first text comes.

use std::sync::OnceLock;

use regex::Regex;

/// A regular expression in the syntax of RE2.
#[derive(Debug)]
pub struct Pattern {
    text: String,
    compiled: OnceLock<Result<Regex, String>>,
}

impl Pattern {
    /// Keeps a pattern; nothing is compiled yet.
    pub fn new(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            compiled: OnceLock::new(),
        }
    }

    /// The pattern as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether a text has a match in it.
    ///
    /// # Errors
    /// Why the pattern is none.
    pub fn matches(&self, text: &str) -> Result<bool, &str> {
        let compiled = self
            .compiled
            .get_or_init(|| Regex::new(&self.text).map_err(|error| error.to_string()));
        match compiled {
            Ok(regex) => Ok(regex.is_match(text)),
            Err(why) => Err(why),
        }
    }
}
