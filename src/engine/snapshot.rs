//! One set of policies, loaded and immutable: everything that an answer depends on, under one digest.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::convert::Types;
use super::facts::Facts;
use super::index::Index;
use super::problem::Problem;
use super::schema::LoadedSchema;
use super::settings::{OnError, Settings};
use crate::domain::{Absence, EntityData, EntityUid, Gate, Identity, Obligation, PolicyDigest};

/// Everything in force at one moment: the files' part, and the entities that were put over the API. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PolicySnapshot {
    pub(super) loaded: Arc<Loaded>,
    /// The server's own data: the files' and what was put.
    pub(super) facts: Arc<Facts>,
    /// What was put over the API, of all that is in `facts`.
    pub(super) put: Arc<EntityData>,
    /// Those of `put` that say who is away.
    pub(super) absences: Arc<[Absence]>,
    pub(super) revision: u64,
    /// See [`Self::serial`].
    pub(super) serial: u64,
}

/// What the files of the policy directory came to; its fields read as the snapshot's own.
#[derive(Debug)]
pub struct Loaded {
    /// What it was loaded under, and is loaded again under.
    pub(super) settings: Settings,
    pub(super) digest: PolicyDigest,
    pub(super) on_error: OnError,
    pub(super) schema: Option<LoadedSchema>,
    /// For policies without a schema.
    pub(super) open_types: Types,
    pub(super) rules: Index,
    /// What guards the service itself, where that is not the rules' part.
    pub(super) guards: Option<Index>,
    pub(super) gates: Index,
    pub(super) policies: HashMap<Arc<str>, Listed>,
    /// The entities that policies name.
    pub(super) named: Vec<EntityUid>,
    pub(super) warnings: Vec<Problem>,
}

/// One policy, with what its annotations say.
#[derive(Debug)]
pub(super) struct Listed {
    pub entry: PolicyEntry,
    pub gate: Option<Gate>,
    pub obligations: Vec<Obligation>,
    /// As it is written: for explanations, which read it again.
    pub text: Arc<str>,
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

impl PolicyEntry {
    /// So many lines below the policy's first, as far as that is in this file: a link's text is its template's.
    pub(super) fn line_below(&self, offset: u32) -> u32 {
        if self.template.is_some() { self.line } else { self.line.saturating_add(offset) }
    }
}

impl Deref for PolicySnapshot {
    type Target = Loaded;

    fn deref(&self) -> &Loaded {
        &self.loaded
    }
}

/// A number that no other set of this process has.
pub(super) fn next_serial() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl PolicySnapshot {
    pub(super) fn new(loaded: Loaded, facts: Facts) -> Self {
        Self {
            loaded: Arc::new(loaded),
            facts: Arc::new(facts),
            put: Arc::default(),
            absences: Arc::default(),
            revision: 0,
            serial: next_serial(),
        }
    }

    #[must_use]
    pub fn digest(&self) -> PolicyDigest {
        self.digest
    }

    /// The place in the journal of the newest change (a start, policies loaded, entities put or deleted) that this
    /// snapshot has; 0 before the first.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Tells these policies with these entities from all others of this process. The revision does not: entities that others put may
    /// come into force under the revision of a reload that was told of later.
    #[must_use]
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// The same, known to be as of that place in the journal.
    #[must_use]
    pub fn at(&self, revision: u64) -> Self {
        Self { revision, ..self.clone() }
    }

    /// What it was loaded under.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What is odd about the files but does no harm.
    #[must_use]
    pub fn warnings(&self) -> &[Problem] {
        &self.loaded.warnings
    }

    #[must_use]
    pub fn summary(&self) -> Summary {
        let mut policies: Vec<_> = self.policies.values().map(|listed| listed.entry.clone()).collect();
        policies.sort_by(|a, b| (&a.file, a.line, &a.id).cmp(&(&b.file, b.line, &b.id)));
        Summary {
            rules: self.rules.len() + self.guards.as_ref().map_or(0, Index::len),
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
        self.enforced_schema().map_or(&self.open_types, |schema| &schema.types)
    }

    /// The schema that queries are held against.
    pub(super) fn enforced_schema(&self) -> Option<&LoadedSchema> {
        self.schema.as_ref().filter(|_| self.on_error == OnError::FailClosed)
    }

    /// The policies that say who may do what with the service itself.
    pub(super) fn guarding(&self) -> &Index {
        self.guards.as_ref().unwrap_or(&self.rules)
    }
}
