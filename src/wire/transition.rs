//! Steps in the life of an approval.

use super::gate::{parse_terms, terms};
use super::{Malformed, identity, pb, value};
use crate::domain::{Breach, Grant, GrantTerms, Identity, PolicyId, Review, StoodIn, Timestamp, Transition};
use pb::transition::{Approved, BrokenGlass, Consumed, Kind, Timed, Used, Withdrawn};
use std::sync::Arc;

impl From<&Review> for pb::Review {
    fn from(review: &Review) -> Self {
        Self {
            reviewer: Some((&*review.reviewer).into()),
            verdict: pb::Verdict::from(review.verdict).into(),
            gates: review.gates.iter().map(|gate| gate.0.to_string()).collect(),
            comment: review.comment.as_deref().unwrap_or_default().into(),
            at_micros: review.at.as_micros(),
            stands_in: review.stands_in.iter().map(Into::into).collect(),
        }
    }
}

impl From<&StoodIn> for pb::StoodIn {
    fn from(stood_in: &StoodIn) -> Self {
        Self { gate: stood_in.gate.0.to_string(), person: Some((&*stood_in.of).into()) }
    }
}

impl From<&Transition> for pb::Transition {
    fn from(transition: &Transition) -> Self {
        let timed = |at: &Timestamp| Timed { at_micros: at.as_micros() };
        let kind = match transition {
            Transition::Reviewed(review) => Kind::Reviewed(review.into()),
            Transition::Approved(review, grant) => Kind::Approved(Approved {
                review: Some(review.into()),
                grant_for_micros: terms(grant.terms),
                granted_at_micros: grant.granted_at.as_micros(),
                lapses_at_micros: grant.lapses_at.as_micros(),
            }),
            Transition::Rejected(review) => Kind::Rejected(review.into()),
            Transition::Expired { at } => Kind::Expired(timed(at)),
            Transition::Escalated { at } => Kind::Escalated(timed(at)),
            Transition::Reminded { at } => Kind::Reminded(timed(at)),
            Transition::Cancelled { by, comment, at } => Kind::Cancelled(withdrawn(by, comment.as_deref(), *at)),
            Transition::Revoked { by, comment, at } => Kind::Revoked(withdrawn(by, comment.as_deref(), *at)),
            Transition::BrokenGlass(broken, grant) => Kind::BrokenGlass(BrokenGlass {
                by: Some((&*broken.by).into()),
                reason: broken.reason.to_string(),
                at_micros: broken.at.as_micros(),
                lapses_at_micros: grant.lapses_at.as_micros(),
            }),
            Transition::Examined(review) => Kind::Examined(review.into()),
            Transition::Lapsed { at } => Kind::Lapsed(timed(at)),
            Transition::Consumed { by, decision, at, report_by } => Kind::Consumed(Consumed {
                by: by.as_ref().map(Into::into),
                decision_id: decision.to_string(),
                at_micros: at.as_micros(),
                report_by_micros: report_by.as_micros(),
            }),
            Transition::Used { decision, at } => {
                Kind::Used(Used { decision_id: decision.to_string(), at_micros: at.as_micros() })
            }
            Transition::Reported(report) => Kind::Reported(pb::Report::from(*report).into()),
        };
        Self { kind: Some(kind) }
    }
}

fn withdrawn(by: &Identity, comment: Option<&str>, at: Timestamp) -> Withdrawn {
    Withdrawn { by: Some(by.into()), comment: comment.unwrap_or_default().into(), at_micros: at.as_micros() }
}

pub(super) fn parse(transition: pb::Transition) -> Result<Transition, Malformed> {
    let missing = |field: &'static str| move || Malformed::new(field, "missing or unknown");
    Ok(match transition.kind.ok_or_else(missing("kind"))? {
        Kind::Reviewed(review) => Transition::Reviewed(parse_review(review)?),
        Kind::Approved(approved) => {
            let grant = Grant {
                terms: parse_terms(approved.grant_for_micros),
                granted_at: Timestamp::from_micros(approved.granted_at_micros),
                lapses_at: Timestamp::from_micros(approved.lapses_at_micros),
            };
            Transition::Approved(parse_review(approved.review.ok_or_else(missing("review"))?)?, grant)
        }
        Kind::Rejected(review) => Transition::Rejected(parse_review(review)?),
        Kind::Expired(timed) => Transition::Expired { at: Timestamp::from_micros(timed.at_micros) },
        Kind::Escalated(timed) => Transition::Escalated { at: Timestamp::from_micros(timed.at_micros) },
        Kind::Reminded(timed) => Transition::Reminded { at: Timestamp::from_micros(timed.at_micros) },
        Kind::Cancelled(Withdrawn { by, comment, at_micros }) => Transition::Cancelled {
            by: identity::required("by", by)?,
            comment: spoken(comment),
            at: Timestamp::from_micros(at_micros),
        },
        Kind::Revoked(Withdrawn { by, comment, at_micros }) => Transition::Revoked {
            by: identity::required("by", by)?,
            comment: spoken(comment),
            at: Timestamp::from_micros(at_micros),
        },
        Kind::BrokenGlass(BrokenGlass { by, reason, at_micros, lapses_at_micros }) => {
            let at = Timestamp::from_micros(at_micros);
            let lapses_at = Timestamp::from_micros(lapses_at_micros);
            let broken = Breach { by: identity::required("by", by)?, reason: reason.into(), at };
            Transition::BrokenGlass(broken, Grant { terms: GrantTerms::Once, granted_at: at, lapses_at })
        }
        Kind::Examined(review) => Transition::Examined(parse_review(review)?),
        Kind::Lapsed(timed) => Transition::Lapsed { at: Timestamp::from_micros(timed.at_micros) },
        Kind::Consumed(consumed) => Transition::Consumed {
            by: consumed.by.map(value::parse_uid).transpose()?,
            decision: consumed.decision_id.parse().map_err(|_| missing("decision_id")())?,
            at: Timestamp::from_micros(consumed.at_micros),
            report_by: Timestamp::from_micros(consumed.report_by_micros),
        },
        Kind::Used(used) => Transition::Used {
            decision: used.decision_id.parse().map_err(|_| missing("decision_id")())?,
            at: Timestamp::from_micros(used.at_micros),
        },
        Kind::Reported(report) => Transition::Reported(pb::Report::parse(report).ok_or_else(missing("reported"))?),
    })
}

pub(super) fn parse_review(review: pb::Review) -> Result<Review, Malformed> {
    Ok(Review {
        reviewer: identity::required("reviewer", review.reviewer)?,
        verdict: pb::Verdict::parse(review.verdict).ok_or_else(|| Malformed::new("verdict", "missing or unknown"))?,
        gates: review.gates.into_iter().map(|gate| PolicyId(gate.into())).collect(),
        comment: spoken(review.comment),
        at: Timestamp::from_micros(review.at_micros),
        stands_in: review.stands_in.into_iter().map(parse_stood_in).collect::<Result<_, _>>()?,
    })
}

fn parse_stood_in(stood_in: pb::StoodIn) -> Result<StoodIn, Malformed> {
    let of = identity::required("stands_in.person", stood_in.person)?;
    Ok(StoodIn { gate: PolicyId(stood_in.gate.into()), of })
}

/// Text that somebody may have left empty.
pub(super) fn spoken(text: String) -> Option<Arc<str>> {
    (!text.is_empty()).then(|| text.into())
}
