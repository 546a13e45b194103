//! Where a policy or link stands, so that whoever finds something wrong with it can point there: Cedar counts from the
//! beginning of the policy, and people from the beginning of the file.

use std::ops::Range;

use miette::Diagnostic;

use crate::engine::problem::{Problem, line_at};
use crate::engine::scan;
use crate::engine::settings::Limits;
use crate::engine::source::SourceFile;

/// The text of a policy, template or link.
#[derive(Debug, Clone)]
pub struct Place<'f> {
    pub file: &'f SourceFile,
    pub span: Range<usize>,
    pub line: u32,
    /// Whether it is Cedar text. In a link, what Cedar finds is in its template.
    pub is_text: bool,
}

impl Place<'_> {
    fn text(&self) -> &str {
        self.file.text.get(self.span.clone()).unwrap_or_default()
    }

    fn problem(&self, span: Range<usize>, message: impl Into<String>) -> Problem {
        let before = span.start.saturating_sub(self.span.start);
        let line = self.line + line_at(self.text(), before) - 1;
        Problem::in_file(&self.file.path, message).at_line(line).marking(&self.file.text, span)
    }

    /// All of it, by its first line.
    fn head(&self) -> Range<usize> {
        let first = self.text().lines().next().unwrap_or_default().trim_end();
        self.span.start..self.span.start + first.len()
    }

    /// A problem that Cedar found; it may say where.
    pub fn diagnosed(&self, found: &dyn Diagnostic, message: &str) -> Problem {
        let label = found.labels().and_then(|mut labels| labels.next()).filter(|_| self.is_text);
        let span = label.as_ref().and_then(|label| self.within(label.inner()));
        // What was expected is a label's text, not the message's.
        let expected = label.as_ref().and_then(|label| label.label()).filter(|text| !message.contains(text));
        let message = expected.map_or_else(|| message.to_owned(), |text| format!("{message}: {text}"));
        let help = found.help().map(|help| help.to_string().replace('\n', " "));
        self.problem(span.unwrap_or_else(|| self.head()), message).with_help(help)
    }

    /// A span that counts from the beginning of the policy, as one of the file.
    fn within(&self, span: &miette::SourceSpan) -> Option<Range<usize>> {
        let end = span.offset().checked_add(span.len())?;
        let last = self.text().len();
        // At the end of the text there is nothing to mark but its last character.
        let start = span.offset().min(last.saturating_sub(1));
        let end = end.clamp(start, last);
        let span = self.span.start + start..self.span.start + end.max(start);
        self.file.text.get(span.clone()).map(|_| span)
    }

    /// A problem with one of its annotations; with all of it if there is none of the name.
    pub fn annotated(&self, annotation: Option<&str>, message: impl Into<String>) -> Problem {
        let mark = annotation.filter(|_| self.is_text).and_then(|name| {
            let found = scan::statements(self.text(), &Limits::default()).ok()?;
            found.first()?.marks.iter().find(|mark| mark.name == name).map(|mark| mark.span.clone())
        });
        let span = mark.map(|span| self.span.start + span.start..self.span.start + span.end);
        self.problem(span.unwrap_or_else(|| self.head()), message)
    }
}
