//! Groups and roles of a token: where they stand in it and what they are called here. Several sources never yield one
//! name by accident, and what a token leaves out because it is too much is unknown, not empty.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::condition::Pointer;
use super::json::{Json, Members};
use super::refusal::Reason;
use super::template::{id_of, is_id};

/// Entra leaves groups out beyond 200; nobody else should send more, of all sources together.
const GROUPS_MAX: usize = 200;

/// One place in a token where groups or roles stand, as the configuration writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupSource {
    /// JSON Pointer to an array of texts, or to one text.
    pub claim: String,
    /// What stands between names that are one text, as `" "` does in `scope`. Not set: one text is one name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub separator: Option<char>,
    /// Their Cedar type.
    #[serde(default = "default_entity_type")]
    pub entity_type: String,
    /// Taken off the beginning of each name.
    #[serde(default)]
    pub strip_prefix: Option<String>,
    /// What becomes of names that do not begin with `strip_prefix`.
    #[serde(default)]
    pub others: Others,
    /// Put before each name, so that names of two sources stay apart.
    #[serde(default)]
    pub prefix: String,
}

/// What becomes of a name without the prefix that is expected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Others {
    /// The token is refused: a group that is left out silently could be one that a policy forbids something.
    #[default]
    Refuse,
    /// They are not meant for here.
    Ignore,
}

impl GroupSource {
    /// Names at `claim`, as they are, of the type `Group`.
    #[must_use]
    pub fn at(claim: &str) -> Self {
        Self {
            claim: claim.to_owned(),
            separator: None,
            entity_type: default_entity_type(),
            strip_prefix: None,
            others: Others::default(),
            prefix: String::new(),
        }
    }
}

fn default_entity_type() -> String {
    "Group".to_owned()
}

/// A source, ready to be read.
pub(super) struct Groups {
    pointer: Pointer,
    separator: Option<char>,
    strip_prefix: String,
    others: Others,
    prefix: String,
}

impl Groups {
    pub fn read(source: &GroupSource) -> Result<Self, String> {
        let pointer = Pointer::parse(&source.claim)
            .ok_or_else(|| format!("`{}` is not a JSON Pointer to groups, such as `/groups`", source.claim))?;
        let strip_prefix = source.strip_prefix.clone().unwrap_or_default();
        let (separator, others, prefix) = (source.separator, source.others, source.prefix.clone());
        Ok(Self { pointer, separator, strip_prefix, others, prefix })
    }

    /// The names that a token states here.
    pub fn names(&self, claims: &Members) -> Result<BTreeSet<String>, Reason> {
        if is_left_out(claims, self.pointer.first()) {
            return Err(Reason::GroupsOverage);
        }
        let names = match self.pointer.find(claims) {
            None => Vec::new(),
            Some(Json::Text(text)) => self.split(text).map(|name| Some(name).filter(|name| is_id(name))).collect(),
            Some(Json::Array(names)) => names.iter().map(id_of).collect(),
            Some(_) => return Err(Reason::ClaimType),
        };
        if names.len() > GROUPS_MAX {
            return Err(Reason::ClaimType);
        }
        let mut found = BTreeSet::new();
        for name in names {
            let name = name.ok_or(Reason::ClaimType)?;
            match (name.strip_prefix(&*self.strip_prefix).filter(|rest| !rest.is_empty()), self.others) {
                (Some(rest), _) => drop(found.insert(format!("{}{rest}", self.prefix))),
                (None, Others::Ignore) => {}
                (None, Others::Refuse) => return Err(Reason::ClaimType),
            }
        }
        Ok(found)
    }
}

impl Groups {
    fn split<'t>(&self, text: &'t str) -> impl Iterator<Item = &'t str> {
        let separator = self.separator;
        let whole = separator.is_none();
        // Between two separators there is no name.
        text.split(move |one| Some(one) == separator).filter(move |name| whole || !name.is_empty())
    }
}

/// Entra says "too many to list" in two ways. Unknown is not empty: a forbid by group must not be evaded.
fn is_left_out(claims: &Members, claim: &str) -> bool {
    let elsewhere = claims.get("_claim_names");
    let is_elsewhere = elsewhere.is_some_and(|names| names.as_object().is_none_or(|names| names.contains_key(claim)));
    is_elsewhere || (claim == "groups" && claims.get("hasgroups").is_some_and(|claim| *claim != Json::Bool(false)))
}

/// Whether names of two sources of one type could meet; the error says which.
pub(super) fn check_apart(sources: &[GroupSource]) -> Result<(), String> {
    for (index, one) in sources.iter().enumerate() {
        let mut others = sources.iter().skip(index + 1).filter(|other| other.entity_type == one.entity_type);
        if let Some(other) =
            others.find(|other| one.prefix.starts_with(&*other.prefix) || other.prefix.starts_with(&*one.prefix))
        {
            return Err(format!(
                "the groups at `{}` and `{}` have one type: each needs a `prefix` of its own, neither the beginning of \
                 the other",
                one.claim, other.claim
            ));
        }
    }
    Ok(())
}
