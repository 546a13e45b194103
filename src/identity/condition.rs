//! Conditions on a token's claims, as a config file writes them and as they are evaluated. A claim of an unexpected
//! type matches nothing: unknown is no.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::json::{Json, Members};

/// One condition as configured: a claim and exactly one test of it.
///
/// ```toml
/// { claim = "/kind", equals = "agent" }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimCondition {
    /// JSON Pointer (RFC 6901) to the claim, such as `/client_id` or `/realm_access/roles`.
    pub claim: String,
    /// The claim is this text, integer or boolean, and of that type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equals: Option<Scalar>,
    /// The claim is one of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub one_of: Option<Vec<Scalar>>,
    /// The claim is an array with this member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contains: Option<Scalar>,
    /// The claim is text that begins with this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts_with: Option<String>,
    /// The claim is text that ends with this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_with: Option<String>,
    /// The claim is text, and the claim at this pointer is the same text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_as: Option<String>,
    /// The claim is text, and the claim at this pointer is another text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differs_from: Option<String>,
    /// The claim is there, whatever it is (`true`), or is not there at all (`false`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub present: Option<bool>,
}

/// A value that a claim can be compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Scalar {
    Bool(bool),
    Integer(i64),
    Text(String),
}

impl From<&str> for Scalar {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// A JSON Pointer, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer(Vec<String>);

impl Pointer {
    /// Parses RFC 6901; `None` unless it names a member (`""`, the whole document, does not).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let names = text.strip_prefix('/')?.split('/');
        Some(Self(names.map(|name| name.replace("~1", "/").replace("~0", "~")).collect()))
    }

    /// The member of this name.
    pub(super) fn member(name: &str) -> Option<Self> {
        (!name.is_empty()).then(|| Self(vec![name.to_owned()]))
    }

    /// The claim that it begins in.
    pub(super) fn first(&self) -> &str {
        self.0.first().map_or("", String::as_str)
    }

    /// The value it points to. It goes through objects only: nothing of ours sits at an array's index.
    pub(super) fn find<'a>(&self, members: &'a Members) -> Option<&'a Json> {
        let (first, rest) = self.0.split_first()?;
        rest.iter().try_fold(members.get(first)?, |json, name| json.as_object()?.get(name))
    }
}

/// A condition, ready to be evaluated.
#[derive(Debug, Clone)]
pub(super) struct Condition {
    claim: Pointer,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    OneOf(Vec<Scalar>),
    Contains(Scalar),
    StartsWith(String),
    EndsWith(String),
    SameAs(Pointer),
    DiffersFrom(Pointer),
    Present,
    Absent,
}

impl Condition {
    /// Reads what was configured; the error says what is wrong with it.
    pub(super) fn read(raw: &ClaimCondition) -> Result<Self, String> {
        let pointer = |text: &str| {
            Pointer::parse(text).ok_or_else(|| format!("`{text}` is not a JSON Pointer to a claim, such as `/groups`"))
        };
        let mut tests = Vec::new();
        tests.extend(raw.equals.clone().map(|value| Test::OneOf(vec![value])));
        tests.extend(raw.one_of.clone().map(Test::OneOf));
        tests.extend(raw.contains.clone().map(Test::Contains));
        tests.extend(raw.starts_with.clone().map(Test::StartsWith));
        tests.extend(raw.ends_with.clone().map(Test::EndsWith));
        tests.extend(raw.same_as.as_deref().map(pointer).transpose()?.map(Test::SameAs));
        tests.extend(raw.differs_from.as_deref().map(pointer).transpose()?.map(Test::DiffersFrom));
        tests.extend(raw.present.map(|present| if present { Test::Present } else { Test::Absent }));
        let is_empty = |text: &Option<String>| text.as_deref() == Some("");
        if is_empty(&raw.starts_with) || is_empty(&raw.ends_with) {
            return Err(format!(
                "the condition on `{}` has an empty text, which every text begins and ends with",
                raw.claim
            ));
        }
        match (tests.pop(), tests.pop()) {
            (Some(test), None) => Ok(Self { claim: pointer(&raw.claim)?, test }),
            _ => Err(format!(
                "the condition on `{}` needs exactly one of `equals`, `one_of`, `contains`, `starts_with`, `ends_with`, \
                 `same_as`, `differs_from`, `present`",
                raw.claim
            )),
        }
    }

    pub(super) fn holds(&self, claims: &Members) -> bool {
        let Some(claim) = self.claim.find(claims) else {
            return matches!(self.test, Test::Absent);
        };
        match &self.test {
            Test::OneOf(values) => values.iter().any(|value| is(claim, value)),
            Test::Contains(value) => matches!(claim, Json::Array(items) if items.iter().any(|item| is(item, value))),
            Test::StartsWith(prefix) => claim.as_text().is_some_and(|text| text.starts_with(prefix.as_str())),
            Test::EndsWith(end) => claim.as_text().is_some_and(|text| text.ends_with(end.as_str())),
            Test::SameAs(other) => both_texts(claim, other.find(claims)).is_some_and(|(a, b)| a == b),
            Test::DiffersFrom(other) => both_texts(claim, other.find(claims)).is_some_and(|(a, b)| a != b),
            Test::Present => true,
            Test::Absent => false,
        }
    }
}

fn is(claim: &Json, value: &Scalar) -> bool {
    match (claim, value) {
        (Json::Bool(a), Scalar::Bool(b)) => a == b,
        (Json::Integer(a), Scalar::Integer(b)) => a == b,
        (Json::Text(a), Scalar::Text(b)) => a == b,
        _ => false,
    }
}

fn both_texts<'a>(claim: &'a Json, other: Option<&'a Json>) -> Option<(&'a str, &'a str)> {
    Some((claim.as_text()?, other?.as_text()?))
}

#[cfg(test)]
mod tests {
    use super::super::json::parse_object;
    use super::*;

    fn holds(condition: &str, claims: &str) -> bool {
        let raw: ClaimCondition = serde_json::from_str(condition).unwrap();
        Condition::read(&raw).unwrap().holds(&parse_object(claims.as_bytes()).unwrap())
    }

    #[test]
    fn a_claim_of_another_type_matches_nothing() {
        assert!(holds(r#"{"claim":"/a","equals":"1"}"#, r#"{"a":"1"}"#));
        assert!(!holds(r#"{"claim":"/a","equals":"1"}"#, r#"{"a":1}"#));
        assert!(!holds(r#"{"claim":"/a","equals":"1"}"#, r#"{"a":["1"]}"#));
        assert!(!holds(r#"{"claim":"/a","differs_from":"/b"}"#, r#"{"a":"1"}"#));
        assert!(!holds(r#"{"claim":"/a","differs_from":"/b"}"#, r#"{"a":"1","b":2}"#));
    }

    #[test]
    fn pointers_reach_into_objects_and_unescape() {
        assert!(holds(r#"{"claim":"/realm/roles","contains":"x"}"#, r#"{"realm":{"roles":["y","x"]}}"#));
        assert!(holds(r#"{"claim":"/https:~1~1a~1g","present":true}"#, r#"{"https://a/g":null}"#));
        assert!(holds(r#"{"claim":"/gty","present":false}"#, "{}"));
    }

    #[test]
    fn a_condition_has_exactly_one_test() {
        for raw in
            [r#"{"claim":"/a"}"#, r#"{"claim":"/a","equals":"x","present":true}"#, r#"{"claim":"a","present":true}"#]
        {
            let raw: ClaimCondition = serde_json::from_str(raw).unwrap();
            assert!(Condition::read(&raw).is_err());
        }
    }
}
