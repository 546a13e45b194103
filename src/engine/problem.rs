//! What is wrong with a set of policies: every problem at once, each with its place and what was expected, so that an
//! author needs one round, not ten.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::domain::entity::Shown;

/// Why a set of policies was refused; never empty.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", Lines(.problems))]
pub struct LoadError {
    pub problems: Vec<Problem>,
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub level: Level,
    /// The path, relative to the working directory if the policy directory is.
    pub file: Arc<str>,
    /// From 1; `None` where the whole file or set is meant.
    pub line: Option<u32>,
    /// The policy's id.
    pub policy: Option<Arc<str>>,
    pub annotation: Option<Annotation>,
    /// What is wrong or what was expected; lower case, no full stop.
    pub message: String,
    /// What to do, such as the nearest known name.
    pub help: Option<String>,
    /// The text at fault; `None` where the whole file or set is meant.
    pub excerpt: Option<Excerpt>,
}

/// Whether a problem refuses the set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Error,
    /// The set loads, and fails closed; but its author hardly meant this.
    Warning,
}

impl Level {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// A piece of a file's text.
#[derive(Clone, PartialEq, Eq)]
pub struct Excerpt {
    /// The whole file's.
    pub text: Arc<str>,
    /// In bytes.
    pub span: Range<usize>,
}

impl Excerpt {
    /// The column of its first character, from 1, in characters.
    #[must_use]
    pub fn column(&self) -> usize {
        let before = self.text.get(..self.span.start).unwrap_or_default();
        before.rsplit('\n').next().unwrap_or_default().chars().count() + 1
    }
}

impl fmt::Debug for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {:?}", self.text.get(self.span.clone()).unwrap_or_default(), self.span)
    }
}

/// An annotation as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation {
    pub name: String,
    pub value: String,
}

impl Problem {
    /// A problem of a whole file.
    #[must_use]
    pub fn in_file(file: &Arc<str>, message: impl Into<String>) -> Self {
        Self {
            level: Level::Error,
            file: file.clone(),
            line: None,
            policy: None,
            annotation: None,
            message: message.into(),
            help: None,
            excerpt: None,
        }
    }

    /// The same, as something to think about.
    #[must_use]
    pub fn as_warning(mut self) -> Self {
        self.level = Level::Warning;
        self
    }

    #[must_use]
    pub fn at_line(mut self, line: u32) -> Self {
        self.line = Some(line);
        self
    }

    /// Names the text at fault; the line is what [`Self::at_line`] says.
    #[must_use]
    pub fn marking(mut self, text: &Arc<str>, span: Range<usize>) -> Self {
        self.excerpt = text.get(span.clone()).map(|_| Excerpt { text: text.clone(), span });
        self
    }

    #[must_use]
    pub fn in_policy(mut self, id: &Arc<str>) -> Self {
        self.policy = Some(id.clone());
        self
    }

    #[must_use]
    pub fn with_help(mut self, help: Option<String>) -> Self {
        self.help = help;
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Shown(&self.file))?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(policy) = &self.policy {
            write!(f, ": policy `{}`", Shown(policy))?;
        }
        if let Some(Annotation { name, value }) = &self.annotation {
            write!(f, ": `@{name}(\"{}\")`", Shown(value))?;
        }
        write!(f, ": {}", self.message)?;
        self.help.iter().try_for_each(|help| write!(f, "; {help}"))
    }
}

/// One problem a line.
struct Lines<'a>(&'a [Problem]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, problem) in self.0.iter().enumerate() {
            let separator = if position == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

/// An error with all its causes, on one line.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    for cause in causes.map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// `did you mean ..?` for the nearest of the known names, if one is near.
pub(super) fn nearest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let scored = known.into_iter().map(|name| (strsim::damerau_levenshtein(unknown, name), name));
    let (distance, name) = scored.min()?;
    let is_near = distance <= 1 + unknown.chars().count() / 4;
    is_near.then(|| format!("did you mean `{name}`?"))
}

/// The line of a place in a text, from 1.
pub(super) fn line_at(text: &str, offset: usize) -> u32 {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    let breaks = before.iter().filter(|byte| **byte == b'\n').count();
    u32::try_from(breaks).unwrap_or(u32::MAX).saturating_add(1)
}
