//! One set of policies, loaded and immutable: everything that an answer depends on, under one digest.

use std::collections::HashMap;
use std::sync::Arc;

use super::convert::Types;
use super::facts::Facts;
use super::index::Index;
use super::problem::Problem;
use super::schema::LoadedSchema;
use super::settings::{OnError, Reading};
use crate::domain::{EntityUid, Gate, Identity, Obligation, PolicyDigest};

/// A loaded set of policies.
#[derive(Debug)]
pub struct PolicySnapshot {
    pub(super) digest: PolicyDigest,
    pub(super) on_error: OnError,
    pub(super) reading: Reading,
    pub(super) schema: Option<LoadedSchema>,
    /// For policies without a schema.
    pub(super) open_types: Types,
    pub(super) rules: Index,
    pub(super) gates: Index,
    pub(super) policies: HashMap<Arc<str>, Listed>,
    pub(super) facts: Facts,
    /// The entities that policies name and that the server knows something of.
    pub(super) literals: Vec<EntityUid>,
    pub(super) warnings: Vec<Problem>,
}

/// One policy, with what its annotations say.
#[derive(Debug)]
pub(super) struct Listed {
    pub entry: PolicyEntry,
    pub gate: Option<Gate>,
    pub obligations: Vec<Obligation>,
}

/// One policy in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyEntry {
    pub id: Arc<str>,
    pub kind: PolicyKind,
    pub file: Arc<str>,
    pub line: u32,
    /// The template that this is a link of.
    pub template: Option<Arc<str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PolicyKind {
    Permit,
    Forbid,
    Gate,
}

/// What a snapshot holds, for logs and `policy check`.
#[derive(Debug, Clone)]
pub struct Summary {
    pub rules: usize,
    pub gates: usize,
    /// Entities in the server's own data.
    pub entities: usize,
    /// In the order of files and lines.
    pub policies: Vec<PolicyEntry>,
    /// What is odd but does no harm.
    pub warnings: Vec<Problem>,
}

impl PolicySnapshot {
    #[must_use]
    pub fn digest(&self) -> PolicyDigest {
        self.digest
    }

    #[must_use]
    pub fn summary(&self) -> Summary {
        let mut policies: Vec<_> = self.policies.values().map(|listed| listed.entry.clone()).collect();
        policies.sort_by(|a, b| (&a.file, a.line, &a.id).cmp(&(&b.file, b.line, &b.id)));
        Summary {
            rules: self.rules.len(),
            gates: self.gates.len(),
            entities: self.facts.len(),
            policies,
            warnings: self.warnings.clone(),
        }
    }

    /// Whether an identity is one of these or in one of these, by its token's groups and the server's entity data. What a
    /// caller says of anybody plays no part.
    #[must_use]
    pub fn names(&self, identity: &Identity, reviewers: &[EntityUid]) -> bool {
        let standing = self.facts.standing(identity);
        reviewers.iter().any(|reviewer| standing.contains(reviewer))
    }

    pub(super) fn types(&self) -> &Types {
        self.schema.as_ref().map_or(&self.open_types, |schema| &schema.types)
    }

    /// The schema that queries are held against.
    pub(super) fn enforced_schema(&self) -> Option<&LoadedSchema> {
        self.schema.as_ref().filter(|_| self.reading == Reading::Countersign)
    }
}
