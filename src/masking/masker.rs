//! All of masking behind one type: scanner, keys, and what a profile asks for.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::MaskError;
use super::budget::Budget;
use super::custom::Custom;
use super::encoded;
use super::finding::{Finding, Layer};
use super::json::JsonStream;
use super::keys::Keyring;
use super::scan::Scanner;
use super::text::TextStream;
use super::token::{REDACTED, Token, is_partial, token_at};
use super::transform::apply;
use crate::domain::{DataKind, MaskRules, Transform};

/// How often a text is masked again until nothing is found in it any more. From the second half on values are replaced by
/// their kind, whatever the rules say, since that leaves nothing to find.
const ROUNDS_MAX: usize = 8;

/// How often another number is tried where one would be taken for a value; about one in twelve cards is.
const ATTEMPTS_MAX: u8 = 8;

/// What happens to a part of the text that could not be searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// The call fails.
    #[default]
    Strict,
    /// The part is withheld: `<REDACTED>` stands for it.
    Lenient,
}

/// What is to be done, for whom.
#[derive(Debug, Clone)]
pub struct Profile {
    /// Pseudonyms and sealed tokens of one tenant mean nothing to another.
    pub tenant: Arc<str>,
    pub rules: MaskRules,
    pub mode: Mode,
    /// Of this call.
    pub budget: Budget,
}

/// How many values of each kind were masked.
pub type Counts = BTreeMap<DataKind, u64>;

pub struct Masker {
    pub(super) scanner: Scanner,
    pub(super) keyring: Keyring,
}

impl Masker {
    /// # Errors
    /// [`MaskError::Engine`] if the detectors do not compile.
    pub fn new(custom: Custom, keyring: Keyring) -> Result<Self, MaskError> {
        Ok(Self { scanner: Scanner::new(custom)?, keyring })
    }

    /// Whether everything that the rules ask for can be done here: the keys are there, and the operator's kinds are known.
    ///
    /// # Errors
    /// What is missing.
    pub fn check(&self, rules: &MaskRules) -> Result<(), MaskError> {
        if let Some(missing) =
            Transform::ALL.into_iter().find(|transform| rules.uses(*transform) && !self.keyring.can(*transform))
        {
            return Err(MaskError::NoKey(missing));
        }
        let unknown = rules.own_kinds().find(|kind| !self.scanner.custom().knows(kind));
        unknown.map_or(Ok(()), |kind| Err(MaskError::UnknownKind(*kind)))
    }

    /// What is in a text, with its context before `from`.
    ///
    /// # Errors
    /// [`MaskError::Engine`], and [`MaskError::Timeout`] once the profile's time is up.
    pub fn find(&self, profile: &Profile, text: &str, from: usize) -> Result<Vec<Finding>, MaskError> {
        profile.budget.ask()?;
        let wanted = |kind: &DataKind| profile.rules.transform_of(kind).is_some();
        self.scanner.find(text, from, &wanted, &|token| self.keyring.wrote(&profile.tenant, token))
    }

    /// A whole text.
    ///
    /// # Errors
    /// Why it could not be masked.
    pub fn text(&self, profile: &Profile, text: &str) -> Result<(String, Counts), MaskError> {
        self.text_after(profile, "", text)
    }

    /// A whole text that something stands before, such as the name of its field.
    pub(super) fn text_after(
        &self,
        profile: &Profile,
        context: &str,
        text: &str,
    ) -> Result<(String, Counts), MaskError> {
        let mut stream = TextStream::after(self, profile, context);
        let mut masked = String::with_capacity(text.len());
        stream.push(text.as_bytes(), &mut masked)?;
        let counts = stream.finish(&mut masked)?;
        Ok((masked, counts))
    }

    /// A whole JSON text, or several in a row; structure, order, spaces and numbers stay as they are.
    ///
    /// # Errors
    /// Why it could not be masked.
    pub fn json(&self, profile: &Profile, json: &str) -> Result<(String, Counts), MaskError> {
        let mut stream = JsonStream::new(self, profile);
        let mut masked = String::with_capacity(json.len());
        stream.push(json.as_bytes(), &mut masked)?;
        let counts = stream.finish(&mut masked)?;
        Ok((masked, counts))
    }

    /// One value of a field or column: its name may say what it is.
    ///
    /// # Errors
    /// Why it could not be masked.
    pub fn field(&self, profile: &Profile, name: &str, value: &str) -> Result<(String, Counts), MaskError> {
        // What its name tells needs no search, which would ask.
        match (profile.budget.ask(), profile.mode) {
            (Ok(()), _) => {}
            (Err(error), Mode::Strict) => return Err(error),
            (Err(_), Mode::Lenient) => return Ok((format!("<{REDACTED}>"), Counts::new())),
        }
        match self.rule_of_field(profile, name) {
            Some((kind, Transform::Format)) if self.is_value(profile, value) => {
                if self.keyring.is_formed(&profile.tenant, kind, value)? {
                    return Ok((value.to_owned(), Counts::new()));
                }
                Ok((self.formed(profile, kind, value)?, Counts::from([(kind, 1)])))
            }
            Some((kind, transform)) if self.is_value(profile, value) => {
                let masked = apply(transform, &self.keyring, &profile.tenant, kind, value)?;
                let mut counts = Counts::from([(kind, 1)]);
                if transform != Transform::Partial {
                    return Ok((masked, counts));
                }
                // What stays of the value is searched like any other text.
                let (settled, more) = self.text_after(profile, &format!("{name}: "), &masked)?;
                add(&mut counts, &more);
                Ok((settled, counts))
            }
            Some(_) | None => self.text_after(profile, &format!("{name}: "), value),
        }
    }

    /// Rows of a table; the names of the columns say what is in them.
    ///
    /// # Errors
    /// Why they could not be masked; [`MaskError::Rows`] where a row has other columns.
    pub fn rows(
        &self,
        profile: &Profile,
        columns: &[String],
        rows: Vec<Vec<String>>,
    ) -> Result<(Vec<Vec<String>>, Counts), MaskError> {
        let mut counts = Counts::new();
        let mut mask = |cells: Vec<String>| {
            if cells.len() != columns.len() {
                return Err(MaskError::Rows);
            }
            let mask = |(name, cell): (&String, String)| {
                let (masked, more) = self.field(profile, name, &cell)?;
                add(&mut counts, &more);
                Ok(masked)
            };
            columns.iter().zip(cells).map(mask).collect()
        };
        let rows = rows.into_iter().map(&mut mask).collect::<Result<_, _>>()?;
        Ok((rows, counts))
    }

    /// What a field of this name holds, and what becomes of it.
    pub(super) fn rule_of_field(&self, profile: &Profile, name: &str) -> Option<(DataKind, Transform)> {
        let kind = self.scanner.custom().kind_of_field(name)?;
        Some((kind, profile.rules.transform_of(&kind)?))
    }

    /// The value in a sealed token.
    ///
    /// # Errors
    /// [`MaskError::Unopened`].
    pub fn open(&self, tenant: &str, token: &Token<'_>) -> Result<String, MaskError> {
        self.keyring.open(tenant, token)
    }

    /// Whether something is there to be masked: neither nothing, nor what masking left.
    fn is_value(&self, profile: &Profile, value: &str) -> bool {
        let trimmed = value.trim();
        let token = token_at(trimmed, 0).filter(|token| token.span.end == trimmed.len());
        !trimmed.is_empty()
            && !is_partial(trimmed)
            && !token.is_some_and(|token| self.keyring.wrote(&profile.tenant, &token))
    }

    /// Masks what begins in `segment` until nothing is found there any more; `None` if nothing was. `before` and `ahead` are
    /// context, `whole` is room to work in.
    pub(super) fn settle(
        &self,
        profile: &Profile,
        [before, segment, ahead]: [&str; 3],
        whole: &mut String,
        counts: &mut Counts,
    ) -> Result<Option<String>, MaskError> {
        let mut settled: Option<String> = None;
        for round in 0..ROUNDS_MAX {
            let now = settled.as_deref().unwrap_or(segment);
            whole.clear();
            whole.extend([before, now, ahead]);
            let end = before.len() + now.len();
            let mut found = self.find(profile, whole, before.len())?;
            found.retain(|finding| finding.span.start < end);
            if found.is_empty() {
                return Ok(settled);
            }
            let mut masked = String::with_capacity(now.len());
            let mut at = before.len();
            for finding in found {
                masked.push_str(whole.get(at..finding.span.start).ok_or(MaskError::Engine)?);
                let span = finding.span.start..finding.span.end.min(end);
                let value = whole.get(span.clone()).ok_or(MaskError::Engine)?;
                masked.push_str(&self.replacement(profile, &finding, value, round, counts)?);
                at = span.end;
            }
            masked.push_str(whole.get(at..end).ok_or(MaskError::Engine)?);
            settled = Some(masked);
        }
        Err(MaskError::Unsettled)
    }

    fn replacement(
        &self,
        profile: &Profile,
        finding: &Finding,
        value: &str,
        round: usize,
        counts: &mut Counts,
    ) -> Result<String, MaskError> {
        if finding.layer == Layer::Base64
            && round < ROUNDS_MAX / 2
            && let Some((inner, form)) = encoded::decode(value)
        {
            let (masked, inside) = self.text(profile, &inner)?;
            add(counts, &inside);
            return Ok(form.encode(&masked));
        }
        add(counts, &[(finding.kind, 1)].into());
        let asked = profile.rules.transform_of(&finding.kind).unwrap_or(Transform::Redact);
        // What kept its form and is found all the same, by the words around it, would be another value each time.
        let rounds_max = if asked == Transform::Format { 1 } else { ROUNDS_MAX / 2 };
        let transform = if round < rounds_max { asked } else { asked.max(Transform::Replace) };
        match transform {
            Transform::Format => self.formed(profile, finding.kind, value),
            other => apply(other, &self.keyring, &profile.tenant, finding.kind, value),
        }
    }

    /// What keeps its form and is taken for no other value: of four groups of digits three may be somebody's number. The same
    /// whatever else is masked.
    fn formed(&self, profile: &Profile, kind: DataKind, value: &str) -> Result<String, MaskError> {
        for attempt in 0..ATTEMPTS_MAX {
            let Some(formed) = self.keyring.format(&profile.tenant, kind, value, attempt)? else { break };
            if self.scanner.find(&formed, 0, &|_| true, &|_| false)?.is_empty() {
                return Ok(formed);
            }
        }
        apply(Transform::Replace, &self.keyring, &profile.tenant, kind, value)
    }
}

/// Adds up.
pub(super) fn add(counts: &mut Counts, more: &Counts) {
    for (kind, count) in more {
        *counts.entry(*kind).or_default() += count;
    }
}
