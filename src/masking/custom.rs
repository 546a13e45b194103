//! What the operator adds: patterns, word lists and names of fields, each for a kind of his own or one that is built in.

use aho_corasick::{AhoCorasick, MatchKind};
use regex::{Regex, RegexBuilder};

use super::MaskError;
use super::detect::fields;
use super::finding::{Confidence, Finding, Layer};
use crate::domain::DataKind;

/// Largest compiled pattern, in bytes: more is a mistake, or takes too long.
const PATTERN_BYTES_MAX: usize = 1024 * 1024;

const SURE: Confidence = 85;

/// Not compiled yet, as configuration has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CustomRules {
    /// A kind and the pattern (syntax of the regex crate) that finds it within one line.
    pub patterns: Vec<(DataKind, String)>,
    /// A kind and the words that are one, whole words, in any letter case.
    pub words: Vec<(DataKind, Vec<String>)>,
    /// A kind and the names of fields whose value is one.
    pub fields: Vec<(DataKind, Vec<String>)>,
}

#[derive(Default)]
pub struct Custom {
    patterns: Vec<(DataKind, Regex)>,
    words: Option<(AhoCorasick, Vec<DataKind>)>,
    fields: Vec<(DataKind, String)>,
}

impl Custom {
    /// # Errors
    /// [`MaskError::Pattern`] for a pattern that is none, is too large, or matches nothing at all.
    pub fn new(rules: CustomRules) -> Result<Self, MaskError> {
        let compile = |(kind, pattern): (DataKind, String)| {
            let compiled = RegexBuilder::new(&pattern).size_limit(PATTERN_BYTES_MAX).build();
            let compiled = compiled.ok().filter(|regex| !regex.is_match(""));
            compiled.map(|regex| (kind, regex)).ok_or(MaskError::Pattern(pattern))
        };
        let patterns = rules.patterns.into_iter().map(compile).collect::<Result<_, _>>()?;
        let pairs = |lists: Vec<(DataKind, Vec<String>)>| {
            lists.into_iter().flat_map(|(kind, list)| list.into_iter().map(move |one| (kind, one)))
        };
        let (kinds, words): (Vec<_>, Vec<_>) = pairs(rules.words).filter(|(_, word)| !word.is_empty()).unzip();
        let words = match words.is_empty() {
            true => None,
            false => Some((
                AhoCorasick::builder()
                    .ascii_case_insensitive(true)
                    .match_kind(MatchKind::LeftmostLongest)
                    .build(&words)
                    .map_err(|_| MaskError::Engine)?,
                kinds,
            )),
        };
        Ok(Self { patterns, words, fields: pairs(rules.fields).collect() })
    }

    pub fn find(&self, text: &str, from: usize, found: &mut Vec<Finding>) {
        let add =
            |kind: &DataKind, span, why| Finding { kind: *kind, span, confidence: SURE, why, layer: Layer::Plain };
        for (kind, pattern) in &self.patterns {
            let mut at = from;
            while let Some(matched) = pattern.find_at(text, at) {
                found.push(add(kind, matched.range(), "pattern of the operator"));
                at = matched.end().max(at + 1);
            }
        }
        if let Some((words, kinds)) = &self.words {
            for hit in words.find_iter(aho_corasick::Input::new(text).range(from..)) {
                let kind = kinds.get(hit.pattern().as_usize()).filter(|_| stands_alone(text, hit.start(), hit.end()));
                found.extend(kind.map(|kind| add(kind, hit.range(), "word of the operator")));
            }
        }
    }

    /// The kind that a field of this name holds: the operator's word first.
    pub fn kind_of_field(&self, name: &str) -> Option<DataKind> {
        let own = self.fields.iter().find(|(_, field)| field.eq_ignore_ascii_case(name));
        own.map(|(kind, _)| *kind).or_else(|| fields::kind_of(name))
    }

    /// The operator's own kinds that something here finds.
    pub fn knows(&self, kind: &DataKind) -> bool {
        let of_words = self.words.iter().flat_map(|(_, kinds)| kinds);
        self.patterns
            .iter()
            .map(|(kind, _)| kind)
            .chain(of_words)
            .chain(self.fields.iter().map(|(kind, _)| kind))
            .any(|known| known == kind)
    }
}

fn stands_alone(text: &str, start: usize, end: usize) -> bool {
    let behind = text.get(..start).and_then(|text| text.chars().next_back());
    let ahead = text.get(end..).and_then(|text| text.chars().next());
    !behind.is_some_and(char::is_alphanumeric) && !ahead.is_some_and(char::is_alphanumeric)
}
