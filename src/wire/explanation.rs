//! Explanations, towards the wire only.

use super::pb;
use crate::domain::explanation::Failure;
use crate::domain::{Cited, Explanation, Lack, NearMiss, UnmetClause};

impl From<&Explanation> for pb::Explanation {
    fn from(explanation: &Explanation) -> Self {
        Self {
            determining: explanation.determining.iter().map(Into::into).collect(),
            gates: explanation.gates.iter().map(Into::into).collect(),
            near_misses: explanation.near_misses.iter().map(Into::into).collect(),
        }
    }
}

impl From<&Cited> for pb::Citation {
    fn from(cited: &Cited) -> Self {
        // Where the server keeps its files is nobody's business.
        let name = cited.file.rsplit(['/', '\\']).next().unwrap_or_default();
        Self {
            policy: cited.policy.0.to_string(),
            file: name.to_owned(),
            line: cited.line,
            source: cited.source.to_string(),
        }
    }
}

impl From<&NearMiss> for pb::NearMiss {
    fn from(miss: &NearMiss) -> Self {
        let (lacks, clause) = match &miss.lack {
            Lack::Principal => ("principal", None),
            Lack::Resource => ("resource", None),
            Lack::Clause(unmet) => ("clause", Some(unmet.into())),
        };
        Self { permit: Some((&miss.cited).into()), lacks: lacks.to_owned(), clause }
    }
}

impl From<&UnmetClause> for pb::near_miss::Clause {
    fn from(unmet: &UnmetClause) -> Self {
        Self {
            number: u32::try_from(unmet.number).unwrap_or(u32::MAX),
            kind: unmet.kind.name().to_owned(),
            text: unmet.text.to_string(),
            line: unmet.line,
            failed: unmet.failure == Failure::Error,
        }
    }
}
