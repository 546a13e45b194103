//! From answers to messages.

use crate::domain::{Absence, Review, Shortfall, Timestamp};
use crate::service::Refusal;
use crate::service::authorize::{Answer, message};
use crate::service::follow::Event;
use crate::service::read::{Seen, Yours};
use crate::service::told::{Told, ToldPage};
use crate::wire::approval::{shown, timestamp};
use crate::wire::{self, pb};

use super::status::item_error;

/// One page of approvals: well below the largest message.
const PAGE_BYTES_MAX: usize = 3 << 20;

pub fn response(answer: &Answer, now: Timestamp) -> pb::AuthorizeResponse {
    let decided = &answer.decided;
    pb::AuthorizeResponse {
        outcome: pb::Outcome::from(decided.outcome).into(),
        decision_id: decided.repeats.unwrap_or(decided.id).to_string(),
        reason: decided.reason.code().into(),
        message: message(decided, answer.approval.as_ref()),
        determining_policies: decided.determining.iter().map(|policy| policy.0.to_string()).collect(),
        errors: decided.errors.iter().map(Into::into).collect(),
        obligations: decided.obligations.iter().map(Into::into).collect(),
        policy_digest: decided.digest.to_string(),
        approval: answer.approval.as_ref().map(|approval| brief(approval, now)),
        binding: decided.binding.to_string(),
        repeated_answer: decided.repeats.is_some(),
        policy_revision: decided.revision,
        explanation: answer.explanation.as_deref().map(Into::into),
    }
}

/// An approval without its canonical query, which is as long as all the rest and is there for `GetApproval`.
fn brief(approval: &Told, now: Timestamp) -> pb::Approval {
    pb::Approval { canonical_query: String::new(), ..self::approval(approval, now) }
}

/// As it may be shown. The canonical query is there where it is the one that the binding is of.
pub fn approval(told: &Told, now: Timestamp) -> pb::Approval {
    let mut message = shown(told.approval(), now);
    message.status.clone_from(&told.status);
    message.masked_values = u32::try_from(told.shown.masked).unwrap_or(u32::MAX);
    if told.shown.masked > 0 {
        message.canonical_query = String::new();
    }
    withhold_names(&mut message, told);
    message
}

/// Who voted is not everybody's to know.
fn withhold_names(message: &mut pb::Approval, told: &Told) {
    let withhold = |shown: &mut [pb::Review], votes: &[Review]| {
        for (shown, vote) in shown.iter_mut().zip(votes) {
            shown.reviewer.take_if(|_| !told.voters.are_told(&vote.reviewer));
            for (shown, stood_in) in shown.stands_in.iter_mut().zip(&vote.stands_in) {
                shown.person.take_if(|_| !told.voters.are_told(&stood_in.of));
            }
        }
    };
    withhold(&mut message.reviews, &told.approval().reviews);
    if let (Some(shown), Some(glass)) = (&mut message.break_glass, &told.approval().glass) {
        shown.by.take_if(|_| !told.voters.are_told(&glass.broken.by));
        withhold(&mut shown.examinations, &glass.examinations);
    }
}

/// One that was asked for by its id.
pub fn seen(seen: &Seen, now: Timestamp) -> pb::Approval {
    pb::Approval { yours: seen.yours.as_ref().map(yours), ..approval(&seen.told, now) }
}

fn yours(yours: &Yours) -> pb::Yours {
    pb::Yours {
        gates: yours.gates.iter().map(|gate| gate.0.to_string()).collect(),
        logged_in_at: yours.logged_in_at.map(timestamp),
        fresh_login: yours.fresh_login.try_into().ok(),
        stands_in_for: yours.stands_in_for.iter().map(Into::into).collect(),
        log_in_again: yours.shortfall.map(Shortfall::message).unwrap_or_default().to_owned(),
    }
}

/// One page, cut where it would become too large for a message; the token goes on from there.
pub fn page(listed: &ToldPage, now: Timestamp) -> pb::ListApprovalsResponse {
    let mut page = pb::ListApprovalsResponse {
        next_page_token: listed.more.map(|id| id.to_string()).unwrap_or_default(),
        ..pb::ListApprovalsResponse::default()
    };
    let mut bytes = 0;
    for approval in &listed.approvals {
        let approval = brief(approval, now);
        bytes += wire::encoded_bytes(&approval);
        if bytes > PAGE_BYTES_MAX
            && let Some(last) = page.approvals.last()
        {
            page.next_page_token = last.id.clone();
            break;
        }
        page.approvals.push(approval);
    }
    page
}

/// An answer within a batch or a stream: one that fails fails alone.
pub fn result(answer: Result<Answer, Refusal>, now: Timestamp) -> pb::AuthorizeResult {
    use pb::authorize_result::Result as Item;
    let item = match answer {
        Ok(answer) => Item::Response(response(&answer, now)),
        Err(refusal) => Item::Error(item_error(&refusal)),
    };
    pb::AuthorizeResult { result: Some(item) }
}

pub fn absence(absence: &Absence) -> pb::Absence {
    pb::Absence {
        person: Some((&absence.of.uid).into()),
        stands_in: Some((&absence.to).into()),
        from: Some(timestamp(absence.from)),
        until: Some(timestamp(absence.until)),
    }
}

pub fn event(event: &Event) -> pb::Event {
    pb::Event { cursor: event.cursor.to_string(), record: event.record.as_ref().map(Into::into) }
}
