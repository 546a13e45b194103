//! What of a record may hold personal data or secrets, and is sealed on disk. The only place that says so.
//!
//! Every message of a record is taken apart here by naming all its fields, without `..`: a field that is new does not compile
//! until somebody has said on which side it belongs. What stays readable is what a record is found by and what the index has
//! in clear (who, what, on what, which approval), what policies say, and moments. The binding is sealed as well: it is a hash
//! without salt of the query, by which few possible values could be tried out.
//!
//! Both parts are messages of the same type. Written one behind the other they are the whole, as protobuf has it; so only
//! whole fields are taken, and lists as one.

use std::mem::take;

use super::pb;
use pb::record::Fact;

/// Takes out what is to be sealed; `None` where there is nothing of the kind.
pub(super) fn take_from(fact: &mut Fact) -> Option<Fact> {
    match fact {
        Fact::Started(pb::Started { version: _, policy_digest: _ }) => None,
        Fact::Decided(decided) => Some(Fact::Decided(of_decided(decided))),
        Fact::Moved(moved) => Some(Fact::Moved(of_moved(moved))),
        Fact::Refused(refused) => of_refused(refused).map(Fact::Refused),
        Fact::PoliciesReloaded(reloaded) => of_reloaded(reloaded).map(Fact::PoliciesReloaded),
        Fact::EntitiesChanged(changed) => of_changed(changed).map(Fact::EntitiesChanged),
        Fact::Revealed(revealed) => of_revealed(revealed).map(Fact::Revealed),
        // Already.
        Fact::Sealed(pb::Sealed { key_id: _, data_key: _, shown: _, sealed: _ }) => None,
    }
}

fn of_decided(decided: &mut pb::Decided) -> pb::Decided {
    let pb::Decided {
        context,
        environment,
        entities,
        binding,
        principal_identity,
        caller_identity,
        errors,
        justification,
        change,
        idempotency_key,
        decision_id: _,
        principal: _,
        on_behalf_of: _,
        action: _,
        resource: _,
        outcome: _,
        reason: _,
        determining_policies: _,
        obligations: _,
        policy_digest: _,
        request_id: _,
        approval_id: _,
        repeats_decision_id: _,
        follows_decision_id: _,
        policy_revision: _,
    } = decided;
    pb::Decided {
        context: take(context),
        environment: take(environment),
        entities: take(entities),
        binding: take(binding),
        principal_identity: of(principal_identity, of_identity),
        caller_identity: of(caller_identity, of_identity),
        errors: take(errors),
        justification: take(justification),
        change: of(change, of_change),
        idempotency_key: take(idempotency_key),
        ..pb::Decided::default()
    }
}

fn of_change(change: &mut pb::decided::Change) -> Option<pb::decided::Change> {
    use pb::decided::Change;
    match change {
        // Gates are what policies say.
        Change::Opened(pb::Opened { gates: _, opened_at_micros: _, deadline_micros: _, trace_parent: _ }) => None,
        Change::Redeemed(transition) => of_transition(transition).map(Change::Redeemed),
    }
}

fn of_moved(moved: &mut pb::Moved) -> pb::Moved {
    let pb::Moved { binding, transition, approval_id: _, principal: _, action: _, resource: _, request_id: _ } = moved;
    pb::Moved { binding: take(binding), transition: of(transition, of_transition), ..pb::Moved::default() }
}

fn of_transition(transition: &mut pb::Transition) -> Option<pb::Transition> {
    use pb::transition::{Approved, BrokenGlass, Consumed, Kind, Timed, Used};
    let pb::Transition { kind } = transition;
    let kind = match kind.as_mut()? {
        Kind::Reviewed(review) => Kind::Reviewed(of_review(review)?),
        Kind::Approved(Approved { review, grant_for_micros: _, granted_at_micros: _, lapses_at_micros: _ }) => {
            Kind::Approved(Approved { review: Some(of(review, of_review)?), ..Approved::default() })
        }
        Kind::Rejected(review) => Kind::Rejected(of_review(review)?),
        Kind::Examined(review) => Kind::Examined(of_review(review)?),
        Kind::Cancelled(withdrawn) => Kind::Cancelled(of_withdrawn(withdrawn)?),
        Kind::Revoked(withdrawn) => Kind::Revoked(of_withdrawn(withdrawn)?),
        Kind::BrokenGlass(BrokenGlass { by, reason, at_micros: _, lapses_at_micros: _ }) => {
            Kind::BrokenGlass(BrokenGlass { by: of(by, of_identity), reason: take(reason), ..BrokenGlass::default() })
        }
        Kind::Expired(Timed { at_micros: _ })
        | Kind::Lapsed(Timed { at_micros: _ })
        | Kind::Escalated(Timed { at_micros: _ })
        | Kind::Reminded(Timed { at_micros: _ })
        | Kind::Consumed(Consumed { decision_id: _, at_micros: _, report_by_micros: _, by: _ })
        | Kind::Used(Used { decision_id: _, at_micros: _ })
        | Kind::Reported(_) => return None,
    };
    Some(pb::Transition { kind: Some(kind) })
}

fn of_review(review: &mut pb::Review) -> Option<pb::Review> {
    let pb::Review { reviewer, comment, stands_in, verdict: _, gates: _, at_micros: _ } = review;
    let (reviewer, comment) = (of(reviewer, of_identity), take(comment));
    // As a whole: of a repeated field the parts cannot be told apart again.
    let stands_in = std::mem::take(stands_in);
    let is_any = reviewer.is_some() || !comment.is_empty() || !stands_in.is_empty();
    is_any.then(|| pb::Review { reviewer, comment, stands_in, ..pb::Review::default() })
}

fn of_withdrawn(withdrawn: &mut pb::transition::Withdrawn) -> Option<pb::transition::Withdrawn> {
    let pb::transition::Withdrawn { by, comment, at_micros: _ } = withdrawn;
    let (by, comment) = (of(by, of_identity), take(comment));
    let is_any = by.is_some() || !comment.is_empty();
    is_any.then(|| pb::transition::Withdrawn { by, comment, ..pb::transition::Withdrawn::default() })
}

fn of_refused(refused: &mut pb::Refused) -> Option<pb::Refused> {
    let pb::Refused { field, caller, method: _, reason: _, approval_id: _, request_id: _ } = refused;
    let (field, caller) = (take(field), of(caller, of_identity));
    (caller.is_some() || !field.is_empty()).then(|| pb::Refused { field, caller, ..pb::Refused::default() })
}

fn of_reloaded(reloaded: &mut pb::PoliciesReloaded) -> Option<pb::PoliciesReloaded> {
    let pb::PoliciesReloaded {
        by,
        cause: _,
        previous_digest: _,
        policy_digest: _,
        refused: _,
        // Of policies, which lie beside in clear.
        problems: _,
        request_id: _,
    } = reloaded;
    let by = of(by, of_identity);
    by.is_some().then(|| pb::PoliciesReloaded { by, ..pb::PoliciesReloaded::default() })
}

fn of_changed(changed: &mut pb::EntitiesChanged) -> Option<pb::EntitiesChanged> {
    let pb::EntitiesChanged { by, put, deleted: _, request_id: _, version: _, more_follows: _ } = changed;
    let (by, put) = (of(by, of_identity), take(put));
    (by.is_some() || !put.is_empty()).then(|| pb::EntitiesChanged { by, put, ..pb::EntitiesChanged::default() })
}

fn of_revealed(revealed: &mut pb::Revealed) -> Option<pb::Revealed> {
    let pb::Revealed { to, approval_id: _, request_id: _ } = revealed;
    let to = of(to, of_identity);
    to.is_some().then(|| pb::Revealed { to, ..pb::Revealed::default() })
}

/// Who it is stays; what a token or certificate said of him goes.
fn of_identity(identity: &mut pb::Identity) -> Option<pb::Identity> {
    let pb::Identity {
        groups,
        issuer,
        subject,
        display_name,
        on_behalf_of,
        earlier_actors,
        credential,
        certificate_sha256,
        uid: _,
        kind: _,
        proof_method: _,
        proof_expires_at_micros: _,
        authenticated_at_micros: _,
    } = identity;
    let sealed = pb::Identity {
        groups: take(groups),
        issuer: take(issuer),
        subject: take(subject),
        display_name: take(display_name),
        on_behalf_of: take(on_behalf_of),
        earlier_actors: take(earlier_actors),
        credential: take(credential),
        certificate_sha256: take(certificate_sha256),
        ..pb::Identity::default()
    };
    (sealed != pb::Identity::default()).then_some(sealed)
}

fn of<T>(field: &mut Option<T>, taken: impl FnOnce(&mut T) -> Option<T>) -> Option<T> {
    field.as_mut().and_then(taken)
}
