//! A look at Cedar text before Cedar's parser sees it: where each policy begins, and how deep its expressions are.
//!
//! Cedar's parser turns nested brackets into recursion and aborts the process when the stack ends; its evaluator skips a
//! policy that is too deep for the stack, which turns a forbid into nothing. So depth is bounded here, on the raw text,
//! with Cedar's own rules for strings and comments. The bound is an upper one: it counts operators, not the tree.

use super::settings::Limits;

/// One policy's text.
#[derive(Debug)]
pub struct Statement<'t> {
    pub text: &'t str,
    /// The line of its first word.
    pub line: u32,
    /// The names of its annotations with their lines.
    pub annotations: Vec<(&'t str, u32)>,
    /// Where it has a slot (`?principal`): it is a template then.
    pub slot_line: Option<u32>,
}

/// Why text is refused unread.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ScanError {
    pub line: u32,
    pub message: String,
}

/// Splits a file of policies, refusing what is too deep.
pub fn statements<'t>(text: &'t str, limits: &Limits) -> Result<Vec<Statement<'t>>, ScanError> {
    let mut splitter = Splitter { text, found: Vec::new(), current: None, after_at: false };
    let mut depth = Depth::new(limits);
    for spot in Lexer::new(text) {
        let spot = spot?;
        depth.see(&spot)?;
        splitter.see(&spot, depth.is_outside());
    }
    Ok(splitter.finish())
}

/// Refuses a schema that is too deep.
pub fn check_depth(text: &str, limits: &Limits) -> Result<(), ScanError> {
    let mut depth = Depth::new(limits);
    Lexer::new(text).try_for_each(|spot| depth.see(&spot?))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'t> {
    Open,
    Close,
    Comma,
    Semicolon,
    At,
    Slot,
    Word(&'t str),
    /// `&&`, `||`: their operands are side by side.
    Connective,
    /// Any other operator: may nest its operand.
    Operator,
    /// A string, a number's sign aside, anything that cannot nest.
    Other,
}

struct Spot<'t> {
    token: Token<'t>,
    start: usize,
    end: usize,
    line: u32,
}

struct Splitter<'t> {
    text: &'t str,
    found: Vec<Statement<'t>>,
    current: Option<(usize, usize, Statement<'t>)>,
    after_at: bool,
}

impl<'t> Splitter<'t> {
    fn see(&mut self, spot: &Spot<'t>, is_outside: bool) {
        let fresh = || Statement { text: "", line: spot.line, annotations: Vec::new(), slot_line: None };
        let (_, end, statement) = self.current.get_or_insert_with(|| (spot.start, spot.end, fresh()));
        *end = spot.end;
        match spot.token {
            Token::Word(name) if self.after_at && is_outside => statement.annotations.push((name, spot.line)),
            Token::Slot => statement.slot_line = statement.slot_line.or(Some(spot.line)),
            _ => {}
        }
        self.after_at = spot.token == Token::At;
        if spot.token == Token::Semicolon && is_outside {
            self.close();
        }
    }

    fn close(&mut self) {
        if let Some((start, end, mut statement)) = self.current.take() {
            statement.text = self.text.get(start..end).unwrap_or_default();
            self.found.push(statement);
        }
    }

    fn finish(mut self) -> Vec<Statement<'t>> {
        self.close();
        self.found
    }
}

/// One bracket's worth of text, since its last comma.
#[derive(Default)]
struct Frame {
    connectives: usize,
    /// Operators of the operand that is being read, and the deepest bracket within it.
    operators: usize,
    inner: usize,
    /// The deepest operand before it.
    operand_max: usize,
    /// The deepest element before the last comma.
    element_max: usize,
}

impl Frame {
    fn depth(&self) -> usize {
        let operand = self.operand_max.max(self.operators + self.inner);
        self.element_max.max(self.connectives + operand)
    }

    fn end_operand(&mut self) {
        self.operand_max = self.operand_max.max(self.operators + self.inner);
        self.operators = 0;
        self.inner = 0;
    }

    fn end_element(&mut self) {
        *self = Self { element_max: self.depth(), ..Self::default() };
    }
}

struct Depth<'l> {
    limits: &'l Limits,
    frames: Vec<Frame>,
    current: Frame,
}

impl<'l> Depth<'l> {
    fn new(limits: &'l Limits) -> Self {
        Self { limits, frames: Vec::new(), current: Frame::default() }
    }

    /// Whether no bracket is open.
    fn is_outside(&self) -> bool {
        self.frames.is_empty()
    }

    fn see(&mut self, spot: &Spot<'_>) -> Result<(), ScanError> {
        match spot.token {
            Token::Open => self.open(),
            Token::Close => self.close(),
            Token::Comma | Token::Semicolon => self.current.end_element(),
            Token::Connective | Token::Word("if" | "then" | "else" | "when" | "unless") => {
                self.current.end_operand();
                self.current.connectives += 1;
            }
            Token::Operator | Token::Word("in" | "has" | "like" | "is") => self.current.operators += 1,
            Token::At | Token::Slot | Token::Word(_) | Token::Other => {}
        }
        let refused = |message| Err(ScanError { line: spot.line, message });
        if self.frames.len() > self.limits.bracket_depth_max {
            return refused(format!("brackets nest deeper than {}", self.limits.bracket_depth_max));
        }
        if self.current.depth() > self.limits.expression_depth_max {
            let limit = self.limits.expression_depth_max;
            return refused(format!("an expression is deeper than {limit} operators; split the policy"));
        }
        Ok(())
    }

    fn open(&mut self) {
        self.current.operators += 1;
        self.frames.push(std::mem::take(&mut self.current));
    }

    fn close(&mut self) {
        self.current.end_element();
        // A bracket too many is Cedar's to report.
        if let Some(outer) = self.frames.pop() {
            let depth = self.current.element_max;
            self.current = outer;
            self.current.inner = self.current.inner.max(depth);
        } else {
            self.current = Frame::default();
        }
    }
}

/// Cedar's tokens, as far as splitting and depth need them. Strings: `"(\\.|[^"\\])*"`; comments: `//` to the line's end.
struct Lexer<'t> {
    text: &'t str,
    characters: std::iter::Peekable<std::str::CharIndices<'t>>,
    line: u32,
}

impl<'t> Lexer<'t> {
    fn new(text: &'t str) -> Self {
        Self { text, characters: text.char_indices().peekable(), line: 1 }
    }

    fn take_if(&mut self, wanted: impl Fn(char) -> bool) -> bool {
        let taken = self.characters.next_if(|&(_, character)| wanted(character));
        self.line += u32::from(taken.is_some_and(|(_, character)| character == '\n'));
        taken.is_some()
    }

    fn position(&mut self) -> usize {
        self.characters.peek().map_or(self.text.len(), |&(offset, _)| offset)
    }

    fn string(&mut self) -> Result<Token<'t>, ScanError> {
        let unterminated = ScanError { line: self.line, message: "a string has no end".into() };
        loop {
            if self.take_if(|c| c == '"') {
                return Ok(Token::Other);
            }
            let escaped = self.take_if(|c| c == '\\');
            // Cedar's `\\.` does not match a line's end; where it ends a string, this must too.
            if !self.take_if(|c| !(escaped && matches!(c, '\n' | '\r'))) {
                return Err(unterminated);
            }
        }
    }

    fn word(&mut self, start: usize) -> Token<'t> {
        while self.take_if(|c| c.is_ascii_alphanumeric() || c == '_') {}
        let end = self.position();
        Token::Word(self.text.get(start..end).unwrap_or_default())
    }

    fn token(&mut self, start: usize, first: char) -> Result<Token<'t>, ScanError> {
        Ok(match first {
            '(' | '[' | '{' => Token::Open,
            ')' | ']' | '}' => Token::Close,
            ',' => Token::Comma,
            ';' => Token::Semicolon,
            '@' => Token::At,
            '?' if self.characters.peek().is_some_and(|(_, c)| c.is_ascii_alphabetic()) => Token::Slot,
            '"' => return self.string(),
            '&' | '|' => {
                self.take_if(|c| c == first);
                Token::Connective
            }
            '=' | '!' | '<' | '>' => {
                self.take_if(|c| c == '=');
                Token::Operator
            }
            '+' | '-' | '*' | '/' | '%' | '.' => Token::Operator,
            _ if first.is_ascii_alphanumeric() || first == '_' => self.word(start),
            _ => Token::Other,
        })
    }
}

impl<'t> Iterator for Lexer<'t> {
    type Item = Result<Spot<'t>, ScanError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            while self.take_if(char::is_whitespace) {}
            let (start, first) = self.characters.next()?;
            let line = self.line;
            if first == '/' && self.take_if(|c| c == '/') {
                while self.take_if(|c| !matches!(c, '\n' | '\r')) {}
                continue;
            }
            let token = self.token(start, first);
            let end = self.position();
            return Some(token.map(|token| Spot { token, start, end, line }));
        }
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
    fn annotations_are_found_with_their_lines() {
        let text = "@id(\"@no(x)\")\n// @no\n@quorum(\"2\")\nforbid(principal);";
        let found = statements(text, &Limits::default()).unwrap();
        assert_eq!(found[0].annotations, [("id", 1), ("quorum", 3)]);
    }

    #[test]
    fn a_slot_is_found_outside_strings_only() {
        let found =
            statements("permit(\"?principal\");\npermit(principal == ?principal);", &Limits::default()).unwrap();
        assert_eq!(found.iter().map(|statement| statement.slot_line).collect::<Vec<_>>(), [None, Some(2)]);
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
            assert_eq!(refused, Some(ScanError { line: 1, message: "a string has no end".into() }), "{text}");
        }
    }
}
