//! Runs the detectors over a text: one pass for words that tell, one for numbers and names, and the shapes only where those
//! passes say that something can begin. What nothing points at costs two look-ups a byte.

use std::collections::HashMap;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use super::MaskError;
use super::custom::Custom;
use super::detect::{contact, credentials, crypto, dates, government, network, payment, persons, places, secrets};
use super::encoded;
use super::finding::{Confidence, Finding, resolve};
use super::shape::{Search, Shapes};
use super::token::{Token, token_at};
use super::view::View;
use crate::domain::DataKind;

/// From here on a finding counts.
pub const CONFIDENCE_MIN: Confidence = 50;

/// How many layers of percent signs and escapes are undone, and how many of base64 are looked into.
pub const LAYERS_MAX: usize = 3;

/// Longest word that can be a salutation or given name, in bytes.
const NAME_BYTES_MAX: usize = 16;
/// Letters before the first digit of a number that can belong to it (`QQ 12 34 56 C`, `January 5, 1980`).
const LEAD_BYTES_MAX: usize = 10;

/// Longest line that announces a name on the next one, in bytes.
const ROLE_LINE_BYTES_MAX: usize = 24;

/// What a telling word sets off.
#[derive(Clone, Copy)]
enum Trigger {
    At,
    Scheme,
    PrivateKey,
    Prefix,
    SecretName,
    Role,
    Street,
    Token,
}

/// All detectors, ready to run. Building one compiles patterns: do it once.
pub struct Scanner {
    words: AhoCorasick,
    triggers: Vec<Trigger>,
    names: HashMap<&'static str, NameWord>,
    numbers: Shapes,
    keys: Shapes,
    addresses: places::Addresses,
    custom: Custom,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum NameWord {
    Salutation,
    Given,
}

impl Scanner {
    /// # Errors
    /// A pattern that does not compile.
    pub fn new(custom: Custom) -> Result<Self, MaskError> {
        let broken = |_| MaskError::Engine;
        let (texts, triggers): (Vec<&str>, Vec<Trigger>) = telling_words().unzip();
        let words = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::DFA))
            .build(&texts)
            .map_err(|_| MaskError::Engine)?;
        let given = persons::GIVEN_NAMES.split_whitespace().map(|name| (name, NameWord::Given));
        let names = given.chain(persons::SALUTATIONS.iter().map(|word| (*word, NameWord::Salutation))).collect();
        let families =
            [payment::SHAPES, network::SHAPES, contact::SHAPES, crypto::SHAPES, dates::SHAPES, places::SHAPES];
        let numbers = families.iter().chain(government::SHAPES).copied().flatten().collect();
        Ok(Self {
            words,
            triggers,
            names,
            numbers: Shapes::new(numbers).map_err(broken)?,
            keys: Shapes::new(secrets::SHAPES.iter().collect()).map_err(broken)?,
            addresses: places::Addresses::new().map_err(|_| MaskError::Engine)?,
            custom,
        })
    }

    pub const fn custom(&self) -> &Custom {
        &self.custom
    }

    /// What of the kinds that are `wanted` begins at or after `from`; what stands before is context. Sorted, without overlaps.
    ///
    /// # Errors
    /// [`MaskError::Engine`]: nothing is known about the text then.
    pub fn find(
        &self,
        text: &str,
        from: usize,
        wanted: &dyn Fn(&DataKind) -> bool,
        ours: &dyn Fn(&Token<'_>) -> bool,
    ) -> Result<Vec<Finding>, MaskError> {
        let mut pass = Pass { scanner: self, text, found: Vec::new(), tokens: Vec::new(), hints: Hints::default() };
        pass.run(from, ours)?;
        let Pass { mut found, tokens, hints, .. } = pass;
        if hints.is_encoded {
            self.find_in_view(text, from, LAYERS_MAX, &mut found)?;
        }
        encoded::find(self, text, &hints.long_runs, LAYERS_MAX, wanted, &mut found)?;
        self.custom.find(text, from, &mut found);
        found.retain(|finding| {
            finding.confidence >= CONFIDENCE_MIN
                && finding.span.start >= from
                && wanted(&finding.kind)
                && !is_masked(text, finding, &tokens)
        });
        Ok(resolve(found))
    }

    /// Searches the text with one layer of encoding undone, and that with another.
    fn find_in_view(&self, text: &str, from: usize, layers: usize, found: &mut Vec<Finding>) -> Result<(), MaskError> {
        let Some(view) = View::of(text).filter(|_| layers > 0) else { return Ok(()) };
        let start = view.place_of(from);
        let mut pass =
            Pass { scanner: self, text: &view.text, found: Vec::new(), tokens: Vec::new(), hints: Hints::default() };
        pass.run(start, &|_| true)?;
        let mut inside = pass.found;
        self.custom.find(&view.text, start, &mut inside);
        self.find_in_view(&view.text, start, layers - 1, &mut inside)?;
        found.extend(
            inside.into_iter().filter_map(|finding| Some(Finding { span: view.origin(&finding.span)?, ..finding })),
        );
        Ok(())
    }
}

/// A finding within a token of ours, or one of which tokens and signs are all that is left.
fn is_masked(text: &str, finding: &Finding, tokens: &[std::ops::Range<usize>]) -> bool {
    let mut at = finding.span.start;
    for token in tokens.iter().filter(|token| token.start < finding.span.end && token.end > finding.span.start) {
        if text.get(at..token.start).is_some_and(|between| between.chars().any(char::is_alphanumeric)) {
            return false;
        }
        at = token.end;
    }
    at >= finding.span.end
        || (at > finding.span.start
            && !text.get(at..finding.span.end).is_some_and(|rest| rest.chars().any(char::is_alphanumeric)))
}

fn telling_words() -> impl Iterator<Item = (&'static str, Trigger)> {
    let all = |words: &'static [&'static str], trigger| words.iter().map(move |word| (*word, trigger));
    [("@", Trigger::At), ("://", Trigger::Scheme), (credentials::PEM_BEGIN, Trigger::PrivateKey), ("<", Trigger::Token)]
        .into_iter()
        .chain(all(secrets::PREFIXES, Trigger::Prefix))
        .chain(all(credentials::PASSWORD_NAMES, Trigger::SecretName))
        .chain(all(credentials::KEY_NAMES, Trigger::SecretName))
        .chain(all(persons::ROLES, Trigger::Role))
        .chain(all(places::STREETS, Trigger::Street))
}

/// What one pass noticed beside findings.
#[derive(Default)]
struct Hints {
    is_encoded: bool,
    /// Where letters and digits run on for long: it may be base64.
    long_runs: Vec<std::ops::Range<usize>>,
}

struct Pass<'a> {
    scanner: &'a Scanner,
    text: &'a str,
    found: Vec<Finding>,
    tokens: Vec<std::ops::Range<usize>>,
    hints: Hints,
}

impl Pass<'_> {
    fn run(&mut self, from: usize, ours: &dyn Fn(&Token<'_>) -> bool) -> Result<(), MaskError> {
        self.words(from, ours)?;
        self.numbers_and_names(from)
    }

    fn words(&mut self, from: usize, ours: &dyn Fn(&Token<'_>) -> bool) -> Result<(), MaskError> {
        let text = self.text;
        let mut keys = None;
        let (mut key_end, mut userinfo_end) = (0, 0);
        let start = from - short_line_before(text, from);
        for hit in self.scanner.words.find_overlapping_iter(aho_corasick::Input::new(text).range(start..)) {
            let Some(trigger) = self.scanner.triggers.get(hit.pattern().as_usize()) else { continue };
            let found = match trigger {
                // What stands before the host of a URL is no mailbox.
                Trigger::At if hit.start() <= userinfo_end => None,
                Trigger::At => contact::email(text, hit.start()),
                Trigger::Scheme => {
                    credentials::url_credentials(text, hit.start()).inspect(|url| userinfo_end = url.span.end)
                }
                Trigger::PrivateKey if hit.start() >= key_end => {
                    credentials::private_key(text, hit.start()).inspect(|key| key_end = key.span.end)
                }
                Trigger::PrivateKey => None,
                Trigger::Prefix => {
                    if !is_within_word(text, hit.start()) {
                        keys.get_or_insert_with(|| self.scanner.keys.search()).at(
                            text,
                            hit.start(),
                            &mut self.found,
                        )?;
                    }
                    None
                }
                Trigger::SecretName => credentials::beside_name(text, hit.range()),
                Trigger::Role if !is_within_word(text, hit.start()) => persons::after_word(text, hit.end(), false),
                Trigger::Role => None,
                Trigger::Street => {
                    self.scanner.addresses.around(text, hit.start(), &mut self.found);
                    None
                }
                Trigger::Token => {
                    self.tokens.extend(token_at(text, hit.start()).filter(|token| ours(token)).map(|token| token.span));
                    None
                }
            };
            self.found.extend(found);
        }
        Ok(())
    }

    /// Walks over runs of letters and digits.
    fn numbers_and_names(&mut self, from: usize) -> Result<(), MaskError> {
        let bytes = self.text.as_bytes();
        let mut search = None;
        let mut at = from;
        while let Some(byte) = bytes.get(at) {
            let class = class_of(*byte);
            if class & WORD == 0 {
                self.hints.is_encoded |= class & ENCODES != 0;
                at += 1;
                continue;
            }
            let (start, mut seen) = (at, 0);
            while let Some(class) = bytes.get(at).map(|byte| class_of(*byte)).filter(|class| class & WORD != 0) {
                seen |= class;
                at += 1;
            }
            self.hints.is_encoded |= seen & ENCODES != 0;
            if seen & DIGIT != 0 {
                let search = search.get_or_insert_with(|| self.scanner.numbers.search());
                number(search, self.text, from, start, &mut self.found)?;
            }
            let leads = bytes.get(at).is_some_and(|byte| b" .,:".contains(byte));
            if class & UPPER != 0 && leads && at - start <= NAME_BYTES_MAX {
                self.name(start, at);
            }
            if at - start >= encoded::RUN_BYTES_MIN {
                self.hints.long_runs.push(start..at);
            }
        }
        Ok(())
    }

    fn name(&mut self, start: usize, end: usize) {
        let mut lower = [0_u8; NAME_BYTES_MAX];
        let Some(word) = self.text.get(start..end) else { return };
        let Some(room) = lower.get_mut(..word.len()) else { return };
        room.copy_from_slice(word.as_bytes());
        room.make_ascii_lowercase();
        let Ok(word) = std::str::from_utf8(room) else { return };
        let found = match self.scanner.names.get(word) {
            Some(NameWord::Salutation) => persons::after_word(self.text, end, true),
            Some(NameWord::Given) if text_goes_on(self.text, end) => persons::from_given_name(self.text, start),
            Some(NameWord::Given) | None => None,
        };
        self.found.extend(found);
    }
}

/// Every place where a number whose first run of letters and digits is at `start` may begin.
fn number(
    search: &mut Search<'_>,
    text: &str,
    from: usize,
    start: usize,
    found: &mut Vec<Finding>,
) -> Result<(), MaskError> {
    search.at(text, start, found)?;
    let behind = text.as_bytes().get(from..start).unwrap_or_default();
    match behind.last() {
        Some(b'+' | b'(') => {
            search.at(text, start - 1, found)?;
            if behind.ends_with(b"+(") {
                search.at(text, start - 2, found)?;
            }
        }
        // `::1`, and groups of hexadecimal letters only.
        Some(b':') => {
            let group =
                behind.iter().rev().take(40).take_while(|byte| byte.is_ascii_hexdigit() || **byte == b':').count();
            search.at(text, start - group, found)?;
        }
        Some(b' ' | b'-') => {
            let letters = behind
                .iter()
                .rev()
                .skip(1)
                .take(LEAD_BYTES_MAX + 1)
                .take_while(|byte| byte.is_ascii_alphabetic() || **byte == b'.')
                .count();
            if (1..=LEAD_BYTES_MAX).contains(&letters) {
                search.at(text, start - 1 - letters, found)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Length of the line above if it is short: `Regards,` stands alone, and a name follows on the next line.
fn short_line_before(text: &str, from: usize) -> usize {
    let behind = text.get(..from).unwrap_or_default().as_bytes();
    match behind.split_last() {
        Some((b'\n', above)) => {
            1 + above
                .iter()
                .rev()
                .take(ROLE_LINE_BYTES_MAX)
                .take_while(|byte| byte.is_ascii() && **byte != b'\n')
                .count()
        }
        Some(_) | None => 0,
    }
}

/// Whether a space and a capital follow.
fn text_goes_on(text: &str, end: usize) -> bool {
    let ahead = text.get(end..).unwrap_or_default().strip_prefix(' ');
    ahead.and_then(|ahead| ahead.chars().next()).is_some_and(char::is_uppercase)
}

fn is_within_word(text: &str, at: usize) -> bool {
    let behind = at.checked_sub(1).and_then(|before| text.as_bytes().get(before));
    behind.is_some_and(|byte| class_of(*byte) & WORD != 0 || *byte == b'_')
}

const DIGIT: u8 = 1;
const UPPER: u8 = 2;
const WORD: u8 = 4;
/// May stand for something else: see [`View`].
const ENCODES: u8 = 8;

fn class_of(byte: u8) -> u8 {
    const CLASSES: [u8; 256] = classes();
    CLASSES.get(usize::from(byte)).copied().unwrap_or(0)
}

#[expect(clippy::indexing_slicing, reason = "evaluated when it is compiled; a byte is below 256")]
const fn classes() -> [u8; 256] {
    let mut classes = [0; 256];
    let mut byte = 0_usize;
    while byte < 256 {
        let letter = byte as u8;
        classes[byte] = match letter {
            b'0'..=b'9' => DIGIT | WORD,
            b'A'..=b'Z' => UPPER | WORD,
            b'a'..=b'z' => WORD,
            b'%' | b'\\' => ENCODES,
            // Letters of other scripts, and all that looks like something else.
            0x80..=0xFF => WORD | ENCODES,
            _ => 0,
        };
        byte += 1;
    }
    classes
}
