//! One record on one line.

use crate::cli::words::{escaped, identity, micros, outcome, report, uid, verdict};
use crate::wire::pb;
use crate::wire::pb::record::Fact;
use crate::wire::pb::transition::Kind;

/// The record as a line: when, where, what.
#[must_use]
pub fn record(record: &pb::Record) -> String {
    let what = match &record.fact {
        None => "a fact that this program does not know".to_owned(),
        Some(Fact::Started(started)) => format!("STARTED   countersign {}", escaped(&started.version)),
        Some(Fact::Decided(decided)) => self::decided(decided),
        Some(Fact::Moved(moved)) => self::moved(moved),
        Some(Fact::Refused(refused)) => self::refused(refused),
        Some(Fact::PoliciesReloaded(reloaded)) => self::reloaded(reloaded),
        Some(Fact::EntitiesChanged(changed)) => self::changed(changed),
        // Never sent: it is how a record lies on disk.
        Some(Fact::Sealed(_)) => "a record that is sealed".to_owned(),
        Some(Fact::Revealed(revealed)) => {
            format!("REVEALED  {} to {}", escaped(&revealed.approval_id), identity(revealed.to.as_ref()))
        }
    };
    format!("{} {:>6}  {what}", micros(record.at_micros), record.sequence)
}

fn decided(decided: &pb::Decided) -> String {
    let (outcome, reason) = (outcome(decided.outcome), escaped(&decided.reason));
    let who = match &decided.on_behalf_of {
        Some(person) => format!("{} for {}", uid(decided.principal.as_ref()), uid(Some(person))),
        None => uid(decided.principal.as_ref()),
    };
    let (action, resource) = (uid(decided.action.as_ref()), uid(decided.resource.as_ref()));
    let approval = match &decided.change {
        Some(pb::decided::Change::Opened(_)) => format!(", opens {}", escaped(&decided.approval_id)),
        Some(pb::decided::Change::Redeemed(_)) => format!(", redeems {}", escaped(&decided.approval_id)),
        None if decided.approval_id.is_empty() => String::new(),
        None => format!(", about {}", escaped(&decided.approval_id)),
    };
    format!("{outcome:<9} {who} {action} {resource}: {reason}{approval}")
}

fn moved(moved: &pb::Moved) -> String {
    let id = escaped(&moved.approval_id);
    let kind = moved.transition.as_ref().and_then(|transition| transition.kind.as_ref());
    let (word, detail) = kind.map_or(("UNKNOWN", String::new()), step);
    let detail = if detail.is_empty() { detail } else { format!(": {detail}") };
    format!("{word:<9} {id}{detail}")
}

fn step(kind: &Kind) -> (&'static str, String) {
    match kind {
        Kind::Reviewed(vote) => ("REVIEWED", review(Some(vote))),
        Kind::Approved(approved) => ("APPROVED", review(approved.review.as_ref())),
        Kind::Rejected(vote) => ("REJECTED", review(Some(vote))),
        Kind::Expired(_) => ("EXPIRED", "nobody decided in time".to_owned()),
        Kind::Escalated(_) => ("ESCALATED", "more people may review".to_owned()),
        Kind::Reminded(_) => ("REMINDED", "people were told again".to_owned()),
        Kind::BrokenGlass(broken) => {
            let (by, reason) = (identity(broken.by.as_ref()), escaped(&broken.reason));
            ("GLASS", format!("broken by {by}, \"{reason}\""))
        }
        Kind::Examined(look) => ("EXAMINED", review(Some(look))),
        Kind::Cancelled(by) => ("CANCELLED", withdrawn(by)),
        Kind::Revoked(by) => ("REVOKED", withdrawn(by)),
        Kind::Lapsed(_) => ("LAPSED", "not used in time".to_owned()),
        Kind::Consumed(consumed) => ("CONSUMED", format!("by {}", escaped(&consumed.decision_id))),
        Kind::Used(used) => ("USED", format!("by {}", escaped(&used.decision_id))),
        Kind::Reported(number) => ("REPORTED", report(*number).to_owned()),
    }
}

fn review(review: Option<&pb::Review>) -> String {
    let Some(review) = review else { return String::new() };
    format!("{} by {}{}", verdict(review.verdict), identity(review.reviewer.as_ref()), comment(&review.comment))
}

fn withdrawn(withdrawn: &pb::transition::Withdrawn) -> String {
    format!("by {}{}", identity(withdrawn.by.as_ref()), comment(&withdrawn.comment))
}

fn comment(comment: &str) -> String {
    if comment.is_empty() { String::new() } else { format!(", \"{}\"", escaped(comment)) }
}

fn refused(refused: &pb::Refused) -> String {
    let caller = identity(refused.caller.as_ref());
    let field = if refused.field.is_empty() { String::new() } else { format!(" ({})", escaped(&refused.field)) };
    format!("REFUSED   {} by {caller}: {}{field}", escaped(&refused.method), escaped(&refused.reason))
}

fn reloaded(reloaded: &pb::PoliciesReloaded) -> String {
    let cause = match reloaded.cause() {
        pb::ReloadCause::Watch => "the directory changed".to_owned(),
        pb::ReloadCause::Signal => "by a signal".to_owned(),
        pb::ReloadCause::Request => format!("for {}", identity(reloaded.by.as_ref())),
        pb::ReloadCause::Unspecified => "UNKNOWN".to_owned(),
    };
    let digest: String = reloaded.policy_digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let problem = reloaded.problems.first().map(|problem| escaped(problem)).unwrap_or_default();
    let what = if reloaded.refused { format!("refused {digest}..: {problem}") } else { format!("loaded {digest}..") };
    format!("POLICIES  {what}, {cause}")
}

fn changed(changed: &pb::EntitiesChanged) -> String {
    let by = changed.by.as_ref().map_or_else(|| "the service, again".to_owned(), |by| identity(Some(by)));
    let put: Vec<_> = changed.put.iter().map(|entity| uid(entity.uid.as_ref())).collect();
    let deleted: Vec<_> = changed.deleted.iter().map(|one| uid(Some(one))).collect();
    let part = |word: &str, all: &[String]| match all {
        [] => String::new(),
        [one] => format!(", {word} {one}"),
        [first, rest @ ..] => format!(", {word} {first} and {} more", rest.len()),
    };
    format!("ENTITIES  by {by}{}{}", part("put", &put), part("deleted", &deleted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entity(kind: &str, id: &str) -> Option<pb::EntityUid> {
        Some(pb::EntityUid { r#type: kind.into(), id: id.into() })
    }

    fn check(fact: Fact, expected: &str) {
        let line =
            record(&pb::Record { sequence: 7, at_micros: 1_700_000_000_000_000, fact: Some(fact), origin: None });
        assert_eq!(line, format!("2023-11-14T22:13:20.000Z      7  {expected}"));
    }

    #[test]
    fn every_record_is_one_line_whatever_it_holds() {
        let reviewer = pb::Identity { uid: entity("User", "al\nice"), ..pb::Identity::default() };
        let moved = |kind| {
            let transition = Some(pb::Transition { kind: Some(kind) });
            Fact::Moved(pb::Moved { approval_id: "apr_1".into(), transition, ..pb::Moved::default() })
        };
        check(
            moved(Kind::Rejected(pb::Review {
                reviewer: Some(reviewer.clone()),
                verdict: pb::Verdict::Reject.into(),
                comment: "no\u{1b}".into(),
                ..pb::Review::default()
            })),
            r#"REJECTED  apr_1: REJECT by User::"al\u{a}ice", "no\u{1b}""#,
        );
        check(
            moved(Kind::Escalated(pb::transition::Timed { at_micros: 1 })),
            "ESCALATED apr_1: more people may review",
        );
        check(moved(Kind::Expired(pb::transition::Timed { at_micros: 1 })), "EXPIRED   apr_1: nobody decided in time");
        check(
            Fact::Decided(pb::Decided {
                principal: entity("Agent", "bot"),
                action: entity("Action", "export"),
                resource: entity("Dataset", "d"),
                outcome: pb::Outcome::Pending.into(),
                reason: "approval_required".into(),
                approval_id: "apr_1".into(),
                change: Some(pb::decided::Change::Opened(pb::Opened::default())),
                ..pb::Decided::default()
            }),
            r#"PENDING   Agent::"bot" Action::"export" Dataset::"d": approval_required, opens apr_1"#,
        );
        check(
            Fact::Refused(pb::Refused {
                method: "Decide".into(),
                reason: "not_reviewer".into(),
                caller: Some(reviewer),
                ..pb::Refused::default()
            }),
            r#"REFUSED   Decide by User::"al\u{a}ice": not_reviewer"#,
        );
    }
}
