//! What the policies say of a query: the engine's answer, before approvals come into it.

use std::fmt;
use std::sync::Arc;

use super::requirement::Requirement;

/// The id of one policy: its `@id`, or the name its file and place give it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyId(pub Arc<str>);

impl fmt::Display for PolicyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&super::entity::Shown(&self.0), f)
    }
}

/// SHA-256 over the loaded policies, schema and entity data: which rules a decision was made under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyDigest(pub [u8; 32]);

impl fmt::Display for PolicyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::hex::write(f, &self.0)
    }
}

/// What the rules (everything but the gates) say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleVerdict {
    /// A permit matches and no forbid does.
    Permitted,
    /// A forbid matches: final, nobody can approve it.
    Forbidden,
    /// No permit matches.
    NotPermitted,
    /// A forbid or a gate could not be evaluated: it might have said no, so the answer is no.
    Unknown,
}

/// A policy that could not be evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvaluationError {
    pub policy: PolicyId,
    /// Cedar's words, without the caller's data where Cedar leaves it out.
    pub message: Arc<str>,
}

/// What the PEP must do with an ALLOW, or treat it as DENY.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obligation {
    /// `@mask`: transform these kinds of personal data before use.
    Mask { policy: PolicyId, what: Arc<str> },
    /// `@advice`: something to tell the user; may be ignored.
    Advice { policy: PolicyId, text: Arc<str> },
}

/// The whole answer of the engine for one query under one snapshot of policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evaluation {
    pub digest: PolicyDigest,
    /// The place in the journal of the newest change to policies or entity data that it was made with.
    pub revision: u64,
    pub verdict: RuleVerdict,
    /// The rules that made the verdict, sorted.
    pub determining: Vec<PolicyId>,
    pub errors: Vec<EvaluationError>,
    /// The gates that fired; only for [`RuleVerdict::Permitted`].
    pub requirement: Option<Requirement>,
    pub obligations: Vec<Obligation>,
}

impl Evaluation {
    /// Whether an ALLOW is for masked data only.
    #[must_use]
    pub fn must_mask(&self) -> bool {
        self.obligations.iter().any(|obligation| matches!(obligation, Obligation::Mask { .. }))
    }
}
