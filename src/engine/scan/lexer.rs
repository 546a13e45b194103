//! Cedar's tokens, as far as splitting and depth need them. Strings: `"(\\.|[^"\\])*"`; comments: `//` to the line's end.
//! Where Cedar would read on and we cannot be sure how, the text is refused.

use std::ops::Range;

use super::ScanError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token<'t> {
    Open(char),
    Close(char),
    Comma,
    Semicolon,
    At,
    Slot,
    Word(&'t str),
    Text,
    /// `&&`, `||`: their operands are side by side.
    Connective,
    /// Any other operator: may nest its operand.
    Operator,
    /// Anything that cannot nest.
    Other,
}

/// A token and where it stands.
#[derive(Debug)]
pub struct Spot<'t> {
    pub token: Token<'t>,
    pub start: usize,
    pub end: usize,
    pub line: u32,
}

impl Spot<'_> {
    pub fn span(&self) -> Range<usize> {
        self.start..self.end
    }
}

pub struct Lexer<'t> {
    text: &'t str,
    characters: std::iter::Peekable<std::str::CharIndices<'t>>,
    line: u32,
}

impl<'t> Lexer<'t> {
    pub fn new(text: &'t str) -> Self {
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

    fn string(&mut self, start: usize) -> Result<Token<'t>, ScanError> {
        let line = self.line;
        loop {
            if self.take_if(|c| c == '"') {
                return Ok(Token::Text);
            }
            let escaped = self.take_if(|c| c == '\\');
            // Cedar's `\\.` does not match a line's end; where it ends a string, this must too.
            if !self.take_if(|c| !(escaped && matches!(c, '\n' | '\r'))) {
                return Err(ScanError { line, span: start..start + 1, message: "a string has no end".into() });
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
            '(' | '[' | '{' => Token::Open(first),
            ')' | ']' | '}' => Token::Close(first),
            ',' => Token::Comma,
            ';' => Token::Semicolon,
            '@' => Token::At,
            '?' if self.characters.peek().is_some_and(|(_, c)| c.is_ascii_alphabetic()) => Token::Slot,
            '"' => return self.string(start),
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
            '\u{feff}' if start == 0 => {
                let message = "begins with a byte-order mark; save it as plain UTF-8".into();
                return Err(ScanError { line: 1, span: 0..first.len_utf8(), message });
            }
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
