//! How deep expressions are, counted on tokens: an upper bound of the tree's depth. Brackets must pair: Cedar's parser
//! recovers from a wrong one by dropping it, and would then nest deeper than any count here.

use std::ops::Range;

use super::ScanError;
use super::lexer::{Spot, Token};
use crate::engine::settings::Limits;

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

/// A bracket that is open, and the text around it.
struct Bracket {
    open: char,
    span: Range<usize>,
    line: u32,
    around: Frame,
}

pub struct Depth<'l> {
    limits: &'l Limits,
    brackets: Vec<Bracket>,
    current: Frame,
}

impl<'l> Depth<'l> {
    pub fn new(limits: &'l Limits) -> Self {
        Self { limits, brackets: Vec::new(), current: Frame::default() }
    }

    /// Whether no bracket is open.
    pub fn is_outside(&self) -> bool {
        self.brackets.is_empty()
    }

    pub fn see(&mut self, spot: &Spot<'_>) -> Result<(), ScanError> {
        match spot.token {
            Token::Open(bracket) => self.open(spot, bracket),
            Token::Close(bracket) => self.close(spot, bracket)?,
            Token::Comma => self.current.end_element(),
            Token::Semicolon if self.is_outside() => self.current = Frame::default(),
            Token::Semicolon => self.current.end_element(),
            Token::Connective | Token::Word("if" | "then" | "else" | "when" | "unless") => {
                self.current.end_operand();
                self.current.connectives += 1;
            }
            Token::Operator | Token::Word("in" | "has" | "like" | "is") => self.current.operators += 1,
            Token::At | Token::Slot | Token::Word(_) | Token::Text | Token::Other => {}
        }
        let refused = |message| Err(ScanError { line: spot.line, span: spot.span(), message });
        if self.brackets.len() > self.limits.bracket_depth_max {
            return refused(format!("brackets nest deeper than {}", self.limits.bracket_depth_max));
        }
        if self.current.depth() > self.limits.expression_depth_max {
            let limit = self.limits.expression_depth_max;
            return refused(format!("an expression is deeper than {limit} operators; split the policy"));
        }
        Ok(())
    }

    /// # Errors
    /// Where the text ends within a bracket: at the bracket.
    pub fn end(mut self) -> Result<(), ScanError> {
        let Some(Bracket { open, span, line, .. }) = self.brackets.pop() else { return Ok(()) };
        Err(ScanError { line, span, message: format!("`{open}` is never closed") })
    }

    fn open(&mut self, spot: &Spot<'_>, open: char) {
        self.current.operators += 1;
        let around = std::mem::take(&mut self.current);
        self.brackets.push(Bracket { open, span: spot.span(), line: spot.line, around });
    }

    fn close(&mut self, spot: &Spot<'_>, close: char) -> Result<(), ScanError> {
        let refused = |message| Err(ScanError { line: spot.line, span: spot.span(), message });
        self.current.end_element();
        let Some(bracket) = self.brackets.pop() else { return refused(format!("`{close}` closes nothing")) };
        if !matches!((bracket.open, close), ('(', ')') | ('[', ']') | ('{', '}')) {
            let (open, line) = (bracket.open, bracket.line);
            return refused(format!("`{close}` does not close the `{open}` of line {line}"));
        }
        let depth = self.current.element_max;
        self.current = bracket.around;
        self.current.inner = self.current.inner.max(depth);
        Ok(())
    }
}
