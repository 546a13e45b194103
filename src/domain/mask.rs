//! What `@mask` says: which kinds of data, and what is to be done with each. The engine reads it when policies are loaded, so
//! that a kind nobody knows refuses the set instead of letting data through; `masking` carries it out.

use std::collections::BTreeMap;
use std::fmt;

/// Begins the kinds that the operator defines himself (`X_EMPLOYEE_NUMBER`).
const OWN_PREFIX: &str = "X_";

/// Longest name of a kind, in bytes.
const NAME_BYTES_MAX: usize = 32;

/// A kind of personal data or secret. Where Presidio has an entity type for it, that is the name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DataKind(Name);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Name {
    BuiltIn(&'static str),
    /// Of the operator; zeros follow.
    Own([u8; NAME_BYTES_MAX]),
}

/// Kinds that are asked for together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KindGroup {
    /// About people: `PERSONAL`.
    Personal,
    /// Opens doors: `SECRETS`.
    Secrets,
}

macro_rules! kinds {
    ($($group:ident: $($name:ident)*;)*) => {
        impl DataKind {
            $($(pub const $name: Self = Self(Name::BuiltIn(stringify!($name)));)*)*

            /// Every kind that is built in, with its group.
            pub const BUILT_IN: &'static [(Self, KindGroup)] =
                &[$($((Self::$name, KindGroup::$group),)*)*];
        }
    };
}

kinds! {
    Personal:
        EMAIL_ADDRESS PHONE_NUMBER PERSON LOCATION DATE_OF_BIRTH
        CREDIT_CARD IBAN_CODE VAT_NUMBER ABA_ROUTING_NUMBER CRYPTO
        IP_ADDRESS MAC_ADDRESS
        US_SSN US_ITIN US_PASSPORT US_DRIVER_LICENSE US_BANK_NUMBER
        UK_NHS UK_NINO DE_TAX_ID DE_SOCIAL_SECURITY FR_NIR ES_NIF ES_NIE IT_FISCAL_CODE PL_PESEL NL_BSN
        SE_PERSONNUMMER FI_PERSONAL_IDENTITY_CODE IN_AADHAAR IN_PAN AU_TFN AU_ABN AU_ACN AU_MEDICARE SG_NRIC_FIN
        BR_CPF BR_CNPJ CA_SIN;
    Secrets:
        PRIVATE_KEY AWS_ACCESS_KEY AWS_SECRET_KEY GCP_API_KEY AZURE_KEY GITHUB_TOKEN SLACK_TOKEN STRIPE_KEY API_KEY JWT
        BEARER_TOKEN BASIC_CREDENTIALS URL_CREDENTIALS CONNECTION_STRING PASSWORD;
}

impl DataKind {
    /// A kind that is built in, or one of the operator's own (`X_...`). `None` for any other name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        if let Some((kind, _)) = Self::BUILT_IN.iter().find(|(kind, _)| kind.as_str() == name) {
            return Some(*kind);
        }
        let rest = name.strip_prefix(OWN_PREFIX)?;
        let is_word = rest.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
        let mut own = [0; NAME_BYTES_MAX];
        own.get_mut(..name.len()).filter(|_| is_word && !rest.is_empty())?.copy_from_slice(name.as_bytes());
        Some(Self(Name::Own(own)))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Name::BuiltIn(name) => name,
            Name::Own(name) => std::str::from_utf8(name).unwrap_or(OWN_PREFIX).trim_end_matches('\0'),
        }
    }

    /// The operator's own kinds count as personal.
    #[must_use]
    pub fn group(&self) -> KindGroup {
        let found = Self::BUILT_IN.iter().find(|(kind, _)| kind == self);
        found.map_or(KindGroup::Personal, |(_, group)| *group)
    }

    /// Whether `format` is offered for it: it ends in a check digit, and has nothing but digits. A result has a wrong one, by
    /// which it is known; of what has none, a result could be told from a value by nobody.
    #[must_use]
    pub fn keeps_form(&self) -> bool {
        Self::FORMED.contains(self)
    }

    const FORMED: [Self; 14] = [
        Self::CREDIT_CARD,
        Self::ABA_ROUTING_NUMBER,
        Self::UK_NHS,
        Self::DE_TAX_ID,
        Self::PL_PESEL,
        Self::NL_BSN,
        Self::SE_PERSONNUMMER,
        Self::IN_AADHAAR,
        Self::AU_TFN,
        Self::AU_ABN,
        Self::AU_ACN,
        Self::BR_CPF,
        Self::BR_CNPJ,
        Self::CA_SIN,
    ];

    /// Whether the operator defined it.
    #[must_use]
    pub const fn is_own(&self) -> bool {
        matches!(self.0, Name::Own(_))
    }
}

impl fmt::Display for DataKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl fmt::Debug for DataKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// What becomes of a value; weaker ones first. Of two that are asked for, the stronger is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transform {
    /// The last four characters stay, or the domain of an e-mail address: `**** 4242`.
    Partial,
    /// As many other digits between the same separators, the same for the same value: for what must keep its form. Only of kinds
    /// with a check digit ([`DataKind::keeps_form`]).
    Format,
    /// The same value becomes the same token, which nobody can open.
    Pseudonym,
    /// A token that `Unmask` opens.
    Seal,
    /// The kind in place of the value: `<EMAIL_ADDRESS>`.
    Replace,
    /// Not even the kind stays: `<REDACTED>`.
    Redact,
}

impl Transform {
    pub const ALL: [Self; 6] = [Self::Partial, Self::Format, Self::Pseudonym, Self::Seal, Self::Replace, Self::Redact];

    /// As it is written after the colon of `@mask`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Partial => "partial",
            Self::Format => "format",
            Self::Pseudonym => "pseudonym",
            Self::Seal => "seal",
            Self::Replace => "replace",
            Self::Redact => "redact",
        }
    }
}

/// Whether the enforcement point said that it carries out `@mask`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MaskSupport {
    Declared,
    /// It did not say so, and is not believed to.
    #[default]
    Absent,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Kind(DataKind),
    Group(KindGroup),
    All,
}

/// What is to be done with which kinds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MaskRules(BTreeMap<Target, Transform>);

impl MaskRules {
    /// Everything that is known becomes its kind.
    #[must_use]
    pub fn everything() -> Self {
        Self([(Target::All, Transform::Replace)].into())
    }

    /// For whoever has to decide: of a person's data so much stays that two values can be told apart, and of an e-mail address
    /// where it leads; of a secret nothing.
    #[must_use]
    pub fn views() -> Self {
        let rules = [(KindGroup::Personal, Transform::Partial), (KindGroup::Secrets, Transform::Redact)];
        Self(rules.map(|(group, transform)| (Target::Group(group), transform)).into())
    }

    /// Reads `EMAIL_ADDRESS:pseudonym, US_SSN:redact`. Without a colon the kind takes the value's place (`replace`). Beside kinds
    /// there are `PERSONAL`, `SECRETS` and `ALL`; a kind's own word stands before its group's.
    ///
    /// # Errors
    /// What was expected, for a kind or transform that is unknown, an empty item, or a kind named twice.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut rules = BTreeMap::new();
        for item in text.split(',').map(str::trim) {
            let (name, transform) = match item.split_once(':') {
                Some((name, word)) => (name.trim_end(), parse_transform(word.trim_start())?),
                None => (item, Transform::Replace),
            };
            let target = parse_target(name)?;
            if let Target::Kind(kind) = &target
                && transform == Transform::Format
                && !kind.keeps_form()
            {
                return Err(format!(
                    "`{kind}` has no check digit, so that what `format` makes of it would be taken for a value again: use \
                     `pseudonym`, or `format` for one of {}",
                    DataKind::FORMED.map(|kind| kind.to_string()).join(", ")
                ));
            }
            if rules.insert(target, transform).is_some() {
                return Err(format!("`{name}` is named twice"));
            }
        }
        Ok(Self(rules))
    }

    /// What to do with values of a kind; `None` leaves them as they are. Where a group is to keep its form, a kind that cannot
    /// is replaced.
    #[must_use]
    pub fn transform_of(&self, kind: &DataKind) -> Option<Transform> {
        let own = self.0.get(&Target::Kind(*kind));
        let asked =
            own.or_else(|| self.0.get(&Target::Group(kind.group()))).or_else(|| self.0.get(&Target::All)).copied();
        let is_possible = asked != Some(Transform::Format) || kind.keeps_form();
        if is_possible { asked } else { Some(Transform::Replace) }
    }

    /// Both: what either wants done, and the stronger of two.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let targets = self.0.keys().chain(other.0.keys());
        Self(targets.filter_map(|target| Some((target.clone(), self.of(target).max(other.of(target))?))).collect())
    }

    fn of(&self, target: &Target) -> Option<Transform> {
        match target {
            Target::Kind(kind) => self.transform_of(kind),
            Target::Group(_) => self.0.get(target).or_else(|| self.0.get(&Target::All)).copied(),
            Target::All => self.0.get(target).copied(),
        }
    }

    /// The operator's own kinds that are named: whoever masks must know them.
    pub fn own_kinds(&self) -> impl Iterator<Item = &DataKind> {
        self.0.keys().filter_map(|target| match target {
            Target::Kind(kind) => Some(kind).filter(|kind| kind.is_own()),
            Target::Group(_) | Target::All => None,
        })
    }

    /// Whether anything is to be done this way.
    #[must_use]
    pub fn uses(&self, transform: Transform) -> bool {
        self.0.values().any(|used| *used == transform)
    }
}

/// What [`MaskRules::parse`] reads.
impl fmt::Display for MaskRules {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (target, transform)) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            let target = match target {
                Target::Kind(kind) => kind.as_str(),
                Target::Group(KindGroup::Personal) => "PERSONAL",
                Target::Group(KindGroup::Secrets) => "SECRETS",
                Target::All => "ALL",
            };
            write!(out, "{comma}{target}:{}", transform.word())?;
        }
        Ok(())
    }
}

fn parse_target(name: &str) -> Result<Target, String> {
    match name {
        "" => Err("expected kinds separated by commas, such as `EMAIL_ADDRESS:pseudonym, US_SSN`".to_owned()),
        "ALL" => Ok(Target::All),
        "PERSONAL" => Ok(Target::Group(KindGroup::Personal)),
        "SECRETS" => Ok(Target::Group(KindGroup::Secrets)),
        _ => DataKind::parse(name)
            .map(Target::Kind)
            .ok_or_else(|| format!("`{name}` is no kind of data that is known; one of your own begins with `X_`")),
    }
}

fn parse_transform(word: &str) -> Result<Transform, String> {
    let found = Transform::ALL.into_iter().find(|transform| transform.word() == word);
    found.ok_or_else(|| {
        "expected `redact`, `replace`, `seal`, `pseudonym`, `format` or `partial` after the colon".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> MaskRules {
        MaskRules::parse(text).unwrap()
    }

    #[test]
    fn a_kind_stands_before_its_group_and_a_group_before_all() {
        let rules = rules("ALL:redact, SECRETS:seal , JWT : partial,X_BADGE");
        assert_eq!(rules.transform_of(&DataKind::JWT), Some(Transform::Partial));
        assert_eq!(rules.transform_of(&DataKind::PASSWORD), Some(Transform::Seal));
        assert_eq!(rules.transform_of(&DataKind::US_SSN), Some(Transform::Redact));
        assert_eq!(rules.own_kinds().map(DataKind::as_str).collect::<Vec<_>>(), ["X_BADGE"]);
        assert_eq!(self::rules("US_SSN").transform_of(&DataKind::JWT), None);
        assert_eq!(self::rules(&rules.to_string()), rules);
        assert_eq!(MaskRules::views().to_string(), "PERSONAL:partial, SECRETS:redact");
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (text, expected) in [
            ("", "expected kinds"),
            ("US_SSN,", "expected kinds"),
            ("US_SNN", "no kind of data that is known"),
            ("us_ssn", "no kind of data that is known"),
            ("X_", "no kind of data that is known"),
            ("X_a", "no kind of data that is known"),
            ("US_SSN:hash", "expected `redact`"),
            ("US_SSN:", "expected `redact`"),
            ("US_SSN:redact:seal", "expected `redact`"),
            ("US_SSN, US_SSN:redact", "named twice"),
            ("US_SSN:format", "`US_SSN` has no check digit"),
            ("X_BADGE:format", "`X_BADGE` has no check digit"),
        ] {
            let refused = MaskRules::parse(text).unwrap_err();
            assert!(refused.contains(expected), "`{text}`: {refused}");
        }
    }

    #[test]
    fn of_a_group_that_keeps_its_form_what_cannot_is_replaced() {
        let rules = rules("PERSONAL:format, SECRETS:redact, CA_SIN:format");
        assert_eq!(rules.transform_of(&DataKind::CREDIT_CARD), Some(Transform::Format));
        assert_eq!(rules.transform_of(&DataKind::CA_SIN), Some(Transform::Format));
        assert_eq!(rules.transform_of(&DataKind::US_SSN), Some(Transform::Replace));
        assert_eq!(rules.transform_of(&DataKind::JWT), Some(Transform::Redact));
    }

    #[test]
    fn of_two_obligations_the_stronger_transform_is_done() {
        let both = rules("ALL:pseudonym, JWT:redact").and(&rules("SECRETS:replace, US_SSN:partial"));
        assert_eq!(both.transform_of(&DataKind::JWT), Some(Transform::Redact));
        assert_eq!(both.transform_of(&DataKind::PASSWORD), Some(Transform::Replace));
        assert_eq!(both.transform_of(&DataKind::US_SSN), Some(Transform::Pseudonym));
        assert_eq!(both.transform_of(&DataKind::PERSON), Some(Transform::Pseudonym));
    }
}
