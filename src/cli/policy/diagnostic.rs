//! Problems as a compiler shows them: the text, what is at fault in it, and what to do.

use std::fmt;
use std::sync::Arc;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents, Severity,
    SourceCode, SourceSpan, SpanContents, ThemeCharacters, ThemeStyles,
};

use crate::cli::screen::{Screen, Style};
use crate::cli::words::escaped;
use crate::engine::{Level, Problem};

/// How many are shown whole; who has more than that wants them one at a time or in JSON.
const SHOWN_MAX: usize = 50;

/// Longest line that is shown; of a longer one nothing is, but its place.
const LINE_BYTES_MAX: usize = 400;

/// Width where it is not a terminal's.
const WIDTH: usize = 110;

/// Writes problems to where errors go.
pub fn show(problems: &[Problem], screen: &Screen) {
    problems.iter().take(SHOWN_MAX).for_each(|problem| screen.note(&drawn(problem, screen.style)));
    if problems.len() > SHOWN_MAX {
        screen.note(&format!("... and {} more; all of them with -o json\n", problems.len() - SHOWN_MAX));
    }
}

fn drawn(problem: &Problem, style: Style) -> String {
    let styles = match style {
        Style::Plain => ThemeStyles::none(),
        Style::Coloured => ThemeStyles::ansi(),
    };
    let theme = GraphicalTheme { characters: ThemeCharacters::unicode(), styles };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(WIDTH).with_links(false).with_context_lines(1);
    let mut text = String::new();
    match handler.render_report(&mut text, &Report::of(problem)) {
        Ok(()) => text,
        // A text that cannot be drawn still has a line to say.
        Err(_) => escaped(&problem.to_string()),
    }
}

/// A problem with the lines that it is in, escaped: whatever is in a file, it must not reach a terminal as it is.
#[derive(Debug)]
struct Report {
    title: String,
    help: Option<String>,
    level: Level,
    lines: Option<Lines>,
}

#[derive(Debug)]
struct Lines {
    name: String,
    text: Arc<str>,
    /// Within the text.
    span: (usize, usize),
    line: usize,
    column: usize,
}

impl Report {
    fn of(problem: &Problem) -> Self {
        let policy = problem.policy.iter().map(|id| format!("policy `{}`: ", escaped(id)));
        let annotation = problem.annotation.iter().map(|annotation| format!("`@{}`: ", escaped(&annotation.name)));
        let title: String = policy.chain(annotation).chain([escaped(&problem.message)]).collect();
        let lines = Lines::of(problem);
        // Where there is no text to show, the title says where it is.
        let title = if lines.is_some() { title } else { format!("{}: {title}", place(problem)) };
        Self { title, help: problem.help.as_deref().map(escaped), level: problem.level, lines }
    }
}

fn place(problem: &Problem) -> String {
    let line = problem.line.iter().map(|line| format!(":{line}"));
    [escaped(&problem.file)].into_iter().chain(line).collect()
}

impl Lines {
    /// The first line of what is at fault.
    fn of(problem: &Problem) -> Option<Self> {
        let excerpt = problem.excerpt.as_ref()?;
        let (before, rest) = excerpt.text.split_at_checked(excerpt.span.start)?;
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let before = before.get(start..)?;
        let at_fault = rest.get(..excerpt.span.len())?.lines().next().unwrap_or_default();
        let after = rest.get(at_fault.len()..)?.lines().next().unwrap_or_default();
        if before.len() + at_fault.len() + after.len() > LINE_BYTES_MAX {
            return None;
        }
        let clean = |text: &str| escaped(&text.replace('\t', "    "));
        let (before, at_fault, after) = (clean(before), clean(at_fault), clean(after));
        Some(Self {
            name: escaped(&problem.file),
            span: (before.len(), at_fault.len()),
            column: excerpt.column(),
            line: usize::try_from(problem.line?).ok()?,
            text: format!("{before}{at_fault}{after}").into(),
        })
    }
}

impl SourceCode for Lines {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let found = self.text.read_span(span, before, after)?;
        Ok(Box::new(MietteSpanContents::new_named(
            self.name.clone(),
            found.data(),
            *found.span(),
            // It counts from 0.
            self.line.saturating_sub(1),
            self.column.saturating_sub(1),
            1,
        )))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title)
    }
}

impl std::error::Error for Report {}

impl Diagnostic for Report {
    fn severity(&self) -> Option<Severity> {
        Some(match self.level {
            Level::Error => Severity::Error,
            Level::Warning => Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.lines.as_ref().map(|lines| lines as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let lines = self.lines.as_ref()?;
        Some(Box::new(std::iter::once(LabeledSpan::new(None, lines.span.0, lines.span.1))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str, span: std::ops::Range<usize>) -> Problem {
        let text: Arc<str> = text.into();
        let problem = Problem::in_file(&"p\u{1b}.cedar".into(), "what is wrong").at_line(3);
        problem.marking(&text, span).in_policy(&"a".into()).with_help(Some("do this".to_owned()))
    }

    #[test]
    fn a_problem_is_shown_in_its_line_with_the_file_and_what_to_do() {
        let text = "// 1\n// 2\n  @quorum(\"0\") // three\n";
        let at = text.find("\"0\"").unwrap();
        let drawn = drawn(&problem(text, at..at + 3), Style::Plain);
        let lines: Vec<_> = drawn.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        let expected = [
            "  × policy `a`: what is wrong",
            "   ╭─[p\\u{1b}.cedar:3:11]",
            " 3 │   @quorum(\"0\") // three",
            "   ·           ───",
            "   ╰────",
            "  help: do this",
        ];
        assert_eq!(lines, expected, "{drawn}");
    }

    #[test]
    fn what_is_in_a_file_does_not_reach_the_terminal() {
        let text = "// 1\n// 2\n\u{1b}[2J\u{202e} é x\n";
        for end in [10, 14, 17] {
            let drawn = drawn(&problem(text, 10..end), Style::Plain);
            assert!(!drawn.contains(['\u{1b}', '\u{202e}']), "{drawn}");
        }
    }

    #[test]
    fn a_line_without_end_is_named_and_not_shown() {
        let drawn = drawn(&problem(&"x".repeat(1_000_000), 0..5), Style::Plain);
        assert!(drawn.contains("p\\u{1b}.cedar:3: policy `a`: what is wrong") && drawn.len() < 500, "{drawn}");
    }
}
