//! Why the policies said what they said: for the people who write them, and for those who were told no.
//!
//! It names policies, quotes their text and says which clause did not hold. It holds no value of any entity or context, so
//! that asking why tells nothing of the server's facts beyond what the answer itself told.

use std::sync::Arc;

use super::evaluation::PolicyId;

/// Most policies that one explanation quotes in each of its lists.
pub const CITED_MAX: usize = 20;

/// Most bytes of a policy's text that are quoted.
pub const SOURCE_BYTES_MAX: usize = 2_048;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Explanation {
    /// The rules that made the verdict.
    pub determining: Vec<Cited>,
    /// The gates that fired.
    pub gates: Vec<Cited>,
    /// Where nothing permits: the permits that nearly did, nearest first.
    pub near_misses: Vec<NearMiss>,
}

/// A policy and where it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cited {
    pub policy: PolicyId,
    /// As the loader names it.
    pub file: Arc<str>,
    /// Its first line, from 1.
    pub line: u32,
    /// Its text, cut at [`SOURCE_BYTES_MAX`].
    pub source: Arc<str>,
}

/// A permit for this action that did not permit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NearMiss {
    pub cited: Cited,
    pub lack: Lack,
}

/// What a permit lacked: the first thing, in the order in which Cedar looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    /// Its scope names other principals.
    Principal,
    /// Its scope names other resources.
    Resource,
    /// One of its clauses did not hold.
    Clause(UnmetClause),
}

/// A `when` that was false, an `unless` that was true, or one that could not be evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnmetClause {
    /// Among the policy's clauses, from 1.
    pub number: usize,
    pub kind: ClauseKind,
    /// Where the part that decided it begins.
    pub line: u32,
    /// The part that decided it: one operand of the clause's `&&`, or the whole clause.
    pub text: Arc<str>,
    pub failure: Failure,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClauseKind {
    When,
    Unless,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It was evaluated, and the other way.
    Unmet,
    /// It could not be evaluated.
    Error,
}

impl ClauseKind {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::When => "when",
            Self::Unless => "unless",
        }
    }
}
