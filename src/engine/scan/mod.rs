//! A look at Cedar text before Cedar's parser sees it: where each policy begins, and how deep its expressions are.
//!
//! Cedar's parser turns nested brackets into recursion and aborts the process when the stack ends; its evaluator skips a
//! policy that is too deep for the stack, which turns a forbid into nothing. So depth is bounded here, on the raw text,
//! with Cedar's own rules for strings and comments ([`lexer`]). The bound is an upper one: it counts operators, not the
//! tree ([`depth`]).

mod depth;
mod lexer;

use std::ops::Range;

use self::depth::Depth;
use self::lexer::{Lexer, Spot, Token};
use super::settings::Limits;
use crate::domain::ClauseKind;

/// One policy's text.
#[derive(Debug)]
pub struct Statement<'t> {
    pub text: &'t str,
    /// Where it begins in the file, in bytes.
    pub start: usize,
    /// The line of its first word.
    pub line: u32,
    pub marks: Vec<Mark<'t>>,
    /// Whether it has a slot, such as `?principal`.
    pub is_template: bool,
}

impl Statement<'_> {
    pub fn span(&self) -> Range<usize> {
        self.start..self.start + self.text.len()
    }

    /// Its first line: what stands for the whole.
    pub fn head(&self) -> Range<usize> {
        let line = self.text.lines().next().unwrap_or_default();
        self.start..self.start + line.trim_end().len()
    }
}

/// Where an annotation stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark<'t> {
    pub name: &'t str,
    pub line: u32,
    /// Its value, with the quotes; where it has none, its name.
    pub span: Range<usize>,
}

/// Why text is refused unread.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ScanError {
    pub line: u32,
    pub span: Range<usize>,
    pub message: String,
}

/// Splits a file of policies, refusing what is too deep.
pub fn statements<'t>(text: &'t str, limits: &Limits) -> Result<Vec<Statement<'t>>, ScanError> {
    let mut splitter = Splitter { text, found: Vec::new(), current: None, reading: Reading::Else };
    let mut depth = Depth::new(limits);
    for spot in Lexer::new(text) {
        let spot = spot?;
        let was_outside = depth.is_outside();
        depth.see(&spot)?;
        splitter.see(&spot, was_outside, depth.is_outside());
    }
    depth.end()?;
    Ok(splitter.finish())
}

/// Refuses a schema that is too deep.
pub fn check_depth(text: &str, limits: &Limits) -> Result<(), ScanError> {
    let mut depth = Depth::new(limits);
    Lexer::new(text).try_for_each(|spot| depth.see(&spot?))?;
    depth.end()
}

/// The `when` and `unless` of one policy's text, in order.
pub fn clauses(text: &str) -> Vec<ClauseKind> {
    let (mut found, mut depth, mut after_at) = (Vec::new(), 0_usize, false);
    // The text was scanned when it was loaded: a place that is none ends it.
    for spot in Lexer::new(text).map_while(Result::ok) {
        match spot.token {
            Token::Open(_) => depth += 1,
            Token::Close(_) => depth = depth.saturating_sub(1),
            Token::Word("when") if depth == 0 && !after_at => found.push(ClauseKind::When),
            Token::Word("unless") if depth == 0 && !after_at => found.push(ClauseKind::Unless),
            _ => {}
        }
        after_at = spot.token == Token::At;
    }
    found
}

/// The comments of a text, in order, each without the white space at its end.
pub fn comments(text: &str) -> Vec<&str> {
    let (mut found, mut end) = (Vec::new(), 0);
    for spot in Lexer::new(text).map_while(Result::ok) {
        found.extend(comments_in(text.get(end..spot.start).unwrap_or_default()));
        end = spot.end;
    }
    found.extend(comments_in(text.get(end..).unwrap_or_default()));
    found
}

/// Between two tokens there is nothing but white space and comments.
fn comments_in(gap: &str) -> impl Iterator<Item = &str> {
    gap.split(['\n', '\r']).map(str::trim).filter(|line| line.starts_with("//"))
}

/// How far into an annotation we are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    Else,
    /// After `@`.
    Name,
    /// After `@name`, then after its `(`.
    Bracket,
    Value,
}

struct Splitter<'t> {
    text: &'t str,
    found: Vec<Statement<'t>>,
    current: Option<(usize, Statement<'t>)>,
    reading: Reading,
}

impl<'t> Splitter<'t> {
    fn see(&mut self, spot: &Spot<'t>, was_outside: bool, is_outside: bool) {
        let fresh =
            || Statement { text: "", start: spot.start, line: spot.line, marks: Vec::new(), is_template: false };
        let (end, statement) = self.current.get_or_insert_with(|| (spot.end, fresh()));
        *end = spot.end;
        statement.is_template |= spot.token == Token::Slot;
        self.reading = match (self.reading, spot.token) {
            (_, Token::At) if was_outside => Reading::Name,
            (Reading::Name, Token::Word(name)) => {
                statement.marks.push(Mark { name, line: spot.line, span: spot.span() });
                Reading::Bracket
            }
            (Reading::Bracket, Token::Open('(')) => Reading::Value,
            (Reading::Value, Token::Text) => {
                if let Some(mark) = statement.marks.last_mut() {
                    (mark.line, mark.span) = (spot.line, spot.span());
                }
                Reading::Else
            }
            _ => Reading::Else,
        };
        if spot.token == Token::Semicolon && is_outside {
            self.close();
        }
    }

    fn close(&mut self) {
        if let Some((end, mut statement)) = self.current.take() {
            statement.text = self.text.get(statement.start..end).unwrap_or_default();
            self.found.push(statement);
        }
    }

    fn finish(mut self) -> Vec<Statement<'t>> {
        self.close();
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<(u32, String)> {
        let found = statements(text, &Limits::default()).unwrap();
        found.into_iter().map(|statement| (statement.line, statement.text.to_owned())).collect()
    }

    #[test]
    fn semicolons_in_strings_and_comments_split_nothing() {
        let text = "// a; b\npermit(\"x;\\\";\");\n\n @id(\"1\") forbid{ // ;\n};\n// end";
        let expected = [(2, "permit(\"x;\\\";\");"), (4, "@id(\"1\") forbid{ // ;\n};")];
        assert_eq!(split(text), expected.map(|(line, text)| (line, text.to_owned())));
    }

    #[test]
    fn a_last_statement_without_an_end_is_kept_for_the_parser_to_refuse() {
        assert_eq!(split("a; b"), [(1, "a;".to_owned()), (1, "b".to_owned())]);
    }

    #[test]
    fn annotations_are_found_with_their_places() {
        let text = "@id(\"@no(x)\")\n// @no\n@quorum(\"2\")\n@bare forbid(principal);";
        let found = statements(text, &Limits::default()).unwrap();
        let marks: Vec<_> =
            found[0].marks.iter().map(|mark| (mark.name, mark.line, &text[mark.span.clone()])).collect();
        assert_eq!(marks, [("id", 1, "\"@no(x)\""), ("quorum", 3, "\"2\""), ("bare", 4, "bare")]);
    }

    #[test]
    fn a_slot_is_found_outside_strings_only() {
        let found =
            statements("permit(\"?principal\");\npermit(principal == ?principal);", &Limits::default()).unwrap();
        assert_eq!(found.iter().map(|statement| statement.is_template).collect::<Vec<_>>(), [false, true]);
    }

    #[test]
    fn depth_is_refused_one_past_the_limit_whatever_it_is_made_of() {
        let limits = Limits { bracket_depth_max: 8, expression_depth_max: 8, ..Limits::default() };
        let repeat = |piece: &str, times: usize| piece.repeat(times);
        let cases = [
            (repeat("(", 9) + &repeat(")", 9), "brackets nest deeper than 8"),
            (repeat("[{", 5), "brackets nest deeper than 8"),
            (repeat("a && ", 9), "an expression is deeper than 8 operators; split the policy"),
            (repeat("a || ", 9), "an expression is deeper than 8 operators; split the policy"),
            (repeat("!", 9), "an expression is deeper than 8 operators; split the policy"),
            (repeat("- ", 9), "an expression is deeper than 8 operators; split the policy"),
            (repeat("1 + ", 9), "an expression is deeper than 8 operators; split the policy"),
            ("a".to_owned() + &repeat(".b", 9), "an expression is deeper than 8 operators; split the policy"),
            (repeat("if a then b else ", 3), "an expression is deeper than 8 operators; split the policy"),
            ("a".to_owned() + &repeat("[\"b\"]", 9), "an expression is deeper than 8 operators; split the policy"),
            (repeat("when { a } ", 9), "an expression is deeper than 8 operators; split the policy"),
        ];
        for (text, message) in cases {
            let refused = statements(&text, &limits).err().map(|error| error.message);
            assert_eq!(refused.as_deref(), Some(message), "{text}");
        }
    }

    #[test]
    fn width_is_not_depth() {
        let limits = Limits { bracket_depth_max: 8, expression_depth_max: 8, ..Limits::default() };
        let set = format!("[{}]", "User::\"a\", ".repeat(1_000));
        let operands = "(a.b == 1) && (c.d == 2) && (e.f == 3);".repeat(100);
        assert!(statements(&set, &limits).is_ok());
        assert!(statements(&operands, &limits).is_ok());
        assert!(statements("\"((((((((((((\" // ((((((((((((((", &limits).is_ok());
    }

    #[test]
    fn a_string_ends_where_cedar_ends_it() {
        for text in ["\"abc", "\"abc\\\"", "\"abc\\\n\" ((("] {
            let refused = statements(text, &Limits::default()).err();
            assert_eq!(
                refused,
                Some(ScanError { line: 1, span: 0..1, message: "a string has no end".into() }),
                "{text}"
            );
        }
    }

    #[test]
    fn brackets_must_pair_or_cedar_would_nest_deeper_than_we_count() {
        for (text, line, message) in [
            ("a\n(b", 2, "`(` is never closed"),
            ("a;\n)", 2, "`)` closes nothing"),
            ("(\n]", 2, "`]` does not close the `(` of line 1"),
            (&"(]".repeat(100_000), 1, "`]` does not close the `(` of line 1"),
            (&"(){[}".repeat(100_000), 1, "`}` does not close the `[` of line 1"),
        ] {
            for refused in [statements(text, &Limits::default()).err(), check_depth(text, &Limits::default()).err()] {
                let refused = refused.map(|error| (error.line, error.message));
                assert_eq!(refused, Some((line, message.to_owned())));
            }
        }
    }

    #[test]
    fn a_byte_order_mark_is_named() {
        let refused = statements("\u{feff}permit();", &Limits::default()).err().map(|error| error.message);
        assert_eq!(refused.as_deref(), Some("begins with a byte-order mark; save it as plain UTF-8"));
    }

    #[test]
    fn every_statement_is_where_it_says() {
        let text = "// é\r\npermit(a);\r\n\tforbid(\u{1f980}\"\u{0}\");";
        for statement in statements(text, &Limits::default()).unwrap() {
            assert_eq!(&text[statement.span()], statement.text);
        }
    }
}
