//! What is wrong with a message, and where.

use std::borrow::Cow;
use std::fmt;

/// A field that does not say what it must. The message is for the sender and repeats none of the field's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// The path of the field, such as `entities[2].attributes.owner`.
    pub field: String,
    pub message: Cow<'static, str>,
}

impl Malformed {
    #[must_use]
    pub fn new(field: impl Into<String>, message: impl Into<Cow<'static, str>>) -> Self {
        Self { field: field.into(), message: message.into() }
    }

    /// The same, seen from the message that holds the field.
    #[must_use]
    pub fn within(mut self, parent: impl fmt::Display) -> Self {
        let separator = if self.field.is_empty() || self.field.starts_with('[') { "" } else { "." };
        self.field = format!("{parent}{separator}{}", self.field);
        self
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.field, self.message)
    }
}

impl std::error::Error for Malformed {}
