//! Values that are known by their form: a pattern that begins at a given place, a check of what it matched, and words around it.
//!
//! All patterns run as one automaton that starts where a word starts and stops when none can go on. Time is linear: every
//! place costs at most the longest pattern, and patterns without a bound cannot be entered twice within one run of letters.

use std::ops::Range;

use regex_automata::hybrid::BuildError;
use regex_automata::hybrid::dfa::{Cache, Config, DFA, OverlappingState};
use regex_automata::nfa::thompson;
use regex_automata::util::pool::Pool;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind};

use super::context::Near;
use super::finding::{Confidence, Finding, Layer};
use crate::domain::DataKind;

/// A pattern runs over at most this many bytes, however long the text.
const MATCH_BYTES_MAX: usize = 8 * 1024;
/// And over at most this many where it begins in the middle of what may be one long token: it is entered there again and again.
const MATCH_WITHIN_BYTES_MAX: usize = 256;

/// What must hold of a match beside the pattern.
pub enum Check {
    None,
    Valid(fn(&str) -> bool),
    /// The part of the match that is the value; `None` if there is none.
    Part(fn(&str) -> Option<Range<usize>>),
}

/// What may stand directly beside it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// Not a part of something longer: no letter or digit, nor a `-`, `.`, `/`, `:` or `,` that leads to one.
    Alone,
    /// No letter or digit.
    Word,
}

pub struct Shape {
    pub kind: DataKind,
    /// Matches from its start; ASCII.
    pub pattern: &'static str,
    pub check: Check,
    pub edge: Edge,
    /// How sure its looks alone make us.
    pub alone: Confidence,
    /// How sure it is beside one of `words`.
    pub supported: Confidence,
    /// Lower case.
    pub words: &'static [&'static str],
    pub why: &'static str,
}

impl Shape {
    /// A form that needs no support.
    pub const fn sure(
        kind: DataKind,
        pattern: &'static str,
        check: Check,
        alone: Confidence,
        why: &'static str,
    ) -> Self {
        Self { kind, pattern, check, edge: Edge::Alone, alone, supported: 100, words: &[], why }
    }

    /// The part of a match that is the value, if it holds.
    fn value(&self, text: &str, matched: Range<usize>) -> Option<Range<usize>> {
        if !self.edge.holds(text, &matched) {
            return None;
        }
        let body = text.get(matched.clone())?;
        match self.check {
            Check::None => Some(matched),
            Check::Valid(holds) => holds(body).then_some(matched),
            Check::Part(part) => part(body).map(|part| matched.start + part.start..matched.start + part.end),
        }
    }

    fn confidence(&self, text: &str, span: &Range<usize>, near: &Near) -> Confidence {
        if near.supports(self.words, text, span.end) {
            self.supported
        } else if self.alone < 90 && near.is_harmless() {
            0
        } else {
            self.alone
        }
    }
}

impl Edge {
    fn holds(self, text: &str, matched: &Range<usize>) -> bool {
        let behind = text.get(..matched.start).unwrap_or_default();
        let ahead = text.get(matched.end..).unwrap_or_default();
        let free = !behind.chars().next_back().is_some_and(is_word) && !ahead.chars().next().is_some_and(is_word);
        free && (self == Self::Word || !(is_glued(behind.chars().rev()) || is_glued(ahead.chars())))
    }
}

/// Whether a separator that joins is followed, away from the value, by a letter or digit.
fn is_glued(mut away: impl Iterator<Item = char>) -> bool {
    let (Some(first), second) = (away.next(), away.next()) else { return false };
    let joins = if second.is_some_and(|letter| letter.is_ascii_digit()) { "-./:," } else { "-." };
    joins.contains(first) && second.is_some_and(is_word)
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// Many shapes as one automaton.
pub struct Shapes {
    shapes: Vec<&'static Shape>,
    automaton: DFA,
    caches: Pool<Cache, Box<dyn Fn() -> Cache + Send + Sync>>,
}

impl Shapes {
    /// # Errors
    /// A pattern that is none.
    pub fn new(shapes: Vec<&'static Shape>) -> Result<Self, Box<BuildError>> {
        let patterns: Vec<&str> = shapes.iter().map(|shape| shape.pattern).collect();
        let automaton = DFA::builder()
            .syntax(syntax::Config::new().unicode(false).utf8(false))
            .thompson(thompson::Config::new().utf8(false))
            .configure(Config::new().match_kind(MatchKind::All).cache_capacity(32 * 1024 * 1024))
            .build_many(&patterns)?;
        let of_pool = automaton.clone();
        let caches = Pool::new(Box::new(move || of_pool.create_cache()) as Box<dyn Fn() -> Cache + Send + Sync>);
        Ok(Self { shapes, automaton, caches })
    }

    /// A search that keeps its memory from one place to the next.
    pub fn search(&self) -> Search<'_> {
        Search { shapes: self, cache: self.caches.get(), ends: Vec::new() }
    }
}

/// A cache of the automaton, taken from the pool for as long as one text is searched.
pub struct Search<'s> {
    shapes: &'s Shapes,
    cache: regex_automata::util::pool::PoolGuard<'s, Cache, Box<dyn Fn() -> Cache + Send + Sync>>,
    ends: Vec<(usize, usize)>,
}

impl Search<'_> {
    /// Adds what begins at `start` to `found`: per shape the longest match that holds.
    ///
    /// # Errors
    /// The automaton gave up; then nothing is known about the text.
    pub fn at(&mut self, text: &str, start: usize, found: &mut Vec<Finding>) -> Result<(), super::MaskError> {
        self.collect(text, start)?;
        let (mut done, mut near) = (None, None);
        for (shape_index, end) in self.ends.drain(..).rev() {
            let Some(shape) = self.shapes.shapes.get(shape_index).filter(|_| done != Some(shape_index)) else {
                continue;
            };
            let Some(span) = shape.value(text, start..end) else { continue };
            done = Some(shape_index);
            let confidence = shape.confidence(text, &span, near.get_or_insert_with(|| Near::at(text, start)));
            if confidence > 0 {
                found.push(Finding { kind: shape.kind, span, confidence, why: shape.why, layer: Layer::Plain });
            }
        }
        Ok(())
    }

    /// Every end of every pattern, by pattern and then by length.
    fn collect(&mut self, text: &str, start: usize) -> Result<(), super::MaskError> {
        self.ends.clear();
        let behind = start.checked_sub(1).and_then(|before| text.as_bytes().get(before));
        let is_within = behind.is_some_and(|byte| b"-._~+%".contains(byte));
        let most = if is_within { MATCH_WITHIN_BYTES_MAX } else { MATCH_BYTES_MAX };
        let span = start..text.len().min(start + most);
        let input = Input::new(text.as_bytes()).range(span).anchored(Anchored::Yes);
        let mut state = OverlappingState::start();
        loop {
            self.shapes
                .automaton
                .try_search_overlapping_fwd(&mut self.cache, &input, &mut state)
                .map_err(|_| super::MaskError::Engine)?;
            let Some(matched) = state.get_match() else { break };
            self.ends.push((matched.pattern().as_usize(), matched.offset()));
        }
        self.ends.sort_unstable();
        Ok(())
    }
}
