//! `approvals show`: one approval in the order in which a reviewer needs it. What the service knows comes first; what the
//! requester claims comes after it and is marked as such (case 51).

use std::fmt::Write as _;

use comfy_table::Table;

use super::list::severity;
use crate::cli::screen::{Style, table};
use crate::cli::words;
use crate::wire::pb;

/// The approval as text.
#[must_use]
pub fn approval(approval: &pb::Approval, now: jiff::Timestamp, style: Style) -> String {
    let status = match &*approval.status {
        "" => String::new(),
        status => format!("\n  status   {}", words::escaped(status)),
    };
    format!("{}\n\n{}{status}\n{}\n", body(approval, style), standing(approval, now, style), names(approval))
}

/// The same without the time that runs: what there is to read.
#[must_use]
pub fn without_time(approval: &pb::Approval, style: Style) -> String {
    format!("{}\n\n{}\n", body(approval, style), names(approval))
}

fn body(approval: &pb::Approval, style: Style) -> String {
    let parts = [
        sentence(approval, style),
        gate_texts(approval, style),
        parameters(approval, style),
        people(approval, style),
        claim(approval, style),
        gates(approval, style),
        reviews(approval, style),
        glass(approval, style),
    ];
    let parts: Vec<_> = parts.iter().map(|part| part.trim_end()).filter(|part| !part.is_empty()).collect();
    parts.join("\n\n")
}

fn sentence(approval: &pb::Approval, style: Style) -> String {
    let who = words::identity(approval.principal.as_ref());
    let (action, resource) = (words::uid(approval.action.as_ref()), words::uid(approval.resource.as_ref()));
    style.bold(&format!("{who} wants to {action} on {resource}"))
}

fn gate_texts(approval: &pb::Approval, style: Style) -> String {
    let severity = severity(approval);
    let painted = if matches!(severity, "HIGH" | "CRITICAL") { style.red(severity) } else { style.yellow(severity) };
    let texts = approval.gates.iter().filter_map(|status| status.gate.as_ref());
    let texts: Vec<_> = texts.map(|gate| words::escaped(&gate.text)).collect();
    format!("{painted}  {}", texts.join("; "))
}

fn parameters(approval: &pb::Approval, style: Style) -> String {
    let heading = match approval.masked_values {
        0 => style.bold("Parameters"),
        masked => format!(
            "{}  {}",
            style.bold("Parameters"),
            style.yellow(&format!("{masked} masked here; `--reveal` shows them, on record"))
        ),
    };
    if approval.context.is_empty() && approval.entities.is_empty() {
        return format!("{heading}\n  none");
    }
    let mut rows = table(&["name", "type", "value"]);
    for (name, value) in &approval.context {
        let (kind, text) = words::value(value);
        rows.add_row([words::escaped(name), kind.to_owned(), text]);
    }
    for entity in &approval.entities {
        supplied(&mut rows, entity);
    }
    format!("{heading}\n{}", rows.trim_fmt())
}

/// Facts about an entity that came with the query.
fn supplied(rows: &mut Table, entity: &pb::Entity) {
    let name = words::uid(entity.uid.as_ref());
    if !entity.parents.is_empty() {
        rows.add_row([format!("{name} in"), "supplied".to_owned(), words::uids(&entity.parents)]);
    }
    for (field, value) in entity.attributes.iter().chain(&entity.tags) {
        rows.add_row([format!("{name}.{}", words::escaped(field)), "supplied".to_owned(), words::value(value).1]);
    }
}

fn people(approval: &pb::Approval, style: Style) -> String {
    let mut text = style.bold("Who");
    let mut line = |role: &str, identity: &pb::Identity| {
        let name = Some(&identity.display_name).filter(|name| !name.is_empty());
        let name = name.map_or_else(String::new, |name| format!(" \"{}\"", words::escaped(name)));
        let (uid, kind) = (words::uid(identity.uid.as_ref()), words::kind(identity));
        // Writing to a String cannot fail.
        let _ = write!(text, "\n  {role:<12} {uid}{name} ({kind}), proved {}", words::proof(identity));
    };
    if let Some(principal) = &approval.principal {
        line("acting", principal);
        if let Some(person) = &principal.on_behalf_of {
            line("for", person);
        }
    }
    if let Some(caller) = approval.caller.as_ref().filter(|&caller| approval.principal.as_ref() != Some(caller)) {
        line("asked by", caller);
    }
    text
}

fn claim(approval: &pb::Approval, style: Style) -> String {
    if approval.justification.is_empty() {
        return String::new();
    }
    let heading = style.yellow("Claimed by the requester, not verified");
    format!("{heading}\n  \"{}\"", words::escaped(&approval.justification))
}

fn gates(approval: &pb::Approval, style: Style) -> String {
    let mut rows = table(&["gate", "votes", "reviewers", "then"]);
    for (status, gate) in approval.gates.iter().filter_map(|status| Some((status, status.gate.as_ref()?))) {
        let escalations = gate.escalations.iter();
        let escalations = escalations
            .map(|later| format!("after {}: {}", words::span(later.after_micros), words::uids(&later.reviewers)));
        rows.add_row([
            words::escaped(&gate.id),
            format!("{} of {}", status.approvals, gate.quorum),
            words::uids(&gate.reviewers),
            escalations.collect::<Vec<_>>().join("; "),
        ]);
    }
    format!("{}\n{}", style.bold("Gates, each needs its own reviewers"), rows.trim_fmt())
}

fn reviews(approval: &pb::Approval, style: Style) -> String {
    votes("Reviews", &approval.reviews, style)
}

fn votes(heading: &str, votes: &[pb::Review], style: Style) -> String {
    if votes.is_empty() {
        return String::new();
    }
    let mut rows = table(&["when", "who", "verdict", "gates", "comment"]);
    for review in votes {
        rows.add_row([
            words::micros(review.at_micros),
            who_for(review),
            words::verdict(review.verdict).to_owned(),
            review.gates.iter().map(|gate| words::escaped(gate)).collect::<Vec<_>>().join(", "),
            words::escaped(&review.comment),
        ]);
    }
    format!("{}\n{}", style.bold(heading), rows.trim_fmt())
}

/// Who voted, and in whose place.
fn who_for(review: &pb::Review) -> String {
    let mut text = who(review.reviewer.as_ref());
    for stood_in in &review.stands_in {
        // A text takes everything.
        let _ = write!(text, " in the place of {}", who(stood_in.person.as_ref()));
    }
    text
}

/// Who voted is not everybody's to know.
fn who(reviewer: Option<&pb::Identity>) -> String {
    reviewer.map_or_else(|| "somebody".to_owned(), |reviewer| words::identity(Some(reviewer)))
}

/// Who let it pass alone, and who has looked at that.
fn glass(approval: &pb::Approval, style: Style) -> String {
    let Some(glass) = &approval.break_glass else { return String::new() };
    let heading = style.red("The glass was broken");
    let left = if glass.open { "; two others have to look at it" } else { "" };
    let (by, at) = (who(glass.by.as_ref()), words::moment(glass.at.as_ref()));
    let broken = format!("{heading}\n  by {by} at {at}: \"{}\"{left}", words::escaped(&glass.reason));
    let looks = votes("Examined (APPROVE: it was right)", &glass.examinations, style);
    if looks.is_empty() { broken } else { format!("{broken}\n{looks}") }
}

/// The state, and how long it lasts.
#[must_use]
pub fn standing(approval: &pb::Approval, now: jiff::Timestamp, style: Style) -> String {
    let state = words::state(approval.state);
    let (state, time) = match pb::ApprovalState::try_from(approval.state) {
        Ok(pb::ApprovalState::Pending) => {
            (style.yellow(state), format!("{} left to decide", words::left(approval.deadline.as_ref(), now)))
        }
        Ok(pb::ApprovalState::Approved) => {
            (style.green(state), format!("{} left to use it", words::left(approval.grant_lapses_at.as_ref(), now)))
        }
        Ok(pb::ApprovalState::Consumed) => {
            (style.green(state), format!("used by {}", words::escaped(&approval.consumed_by_decision_id)))
        }
        Ok(_) | Err(_) => (style.red(state), format!("since {}", words::moment(approval.settled_at.as_ref()))),
    };
    let report = match pb::Report::try_from(approval.report) {
        Ok(pb::Report::Unspecified) => String::new(),
        Ok(_) | Err(_) => format!(", reported {}", words::report(approval.report)),
    };
    // What the glass let pass was approved by nobody, whatever the state is called.
    let report = if approval.break_glass.is_some() { format!("{report}, the glass was broken") } else { report };
    format!("{state}, {time}{report}")
}

fn names(approval: &pb::Approval) -> String {
    let opened = words::moment(approval.opened_at.as_ref());
    let (id, binding) = (words::escaped(&approval.id), words::escaped(&approval.binding));
    format!("  id       {id}\n  binding  {binding}\n  opened   {opened}")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::wire::well_known;

    fn entity(kind: &str, id: &str) -> pb::EntityUid {
        pb::EntityUid { r#type: kind.into(), id: id.into() }
    }

    fn person(id: &str, name: &str) -> pb::Identity {
        pb::Identity {
            uid: Some(entity("User", id)),
            kind: pb::PrincipalKind::User.into(),
            issuer: "https://id.example".into(),
            display_name: name.into(),
            proof_method: pb::ProofMethod::Token.into(),
            ..pb::Identity::default()
        }
    }

    pub fn export() -> pb::Approval {
        use pb::value::Kind;
        let value = |kind| pb::Value { kind: Some(kind) };
        let principal = pb::Identity {
            uid: Some(entity("Agent", "report-bot")),
            kind: pb::PrincipalKind::Agent.into(),
            on_behalf_of: Some(Box::new(person("alice", ""))),
            ..person("report-bot", "Report bot")
        };
        let gate = pb::Gate {
            id: "export-pii".into(),
            text: "Customer data leaves the warehouse".into(),
            reviewers: vec![entity("Group", "privacy"), entity("Group", "dpo")],
            quorum: 2,
            severity: pb::Severity::High.into(),
            escalations: vec![pb::Escalation { after_micros: 300_000_000, reviewers: vec![entity("Group", "leads")] }],
            ..pb::Gate::default()
        };
        pb::Approval {
            id: "apr_01".into(),
            state: pb::ApprovalState::Pending.into(),
            binding: "00ff".into(),
            principal: Some(principal),
            caller: Some(person("gateway", "")),
            action: Some(entity("Action", "export")),
            resource: Some(entity("Dataset", "customers")),
            context: [
                ("destination".to_owned(), value(Kind::String("s3://b\u{202e}ad".into()))),
                ("rows".to_owned(), value(Kind::Long(9_007_199_254_740_993))),
            ]
            .into(),
            justification: "trust me\u{1b}[2J".into(),
            gates: vec![pb::GateStatus { gate: Some(gate), approvals: 1 }],
            reviews: vec![pb::Review {
                reviewer: Some(person("bob", "")),
                verdict: pb::Verdict::Approve.into(),
                gates: vec!["export-pii".into()],
                comment: "fine".into(),
                at_micros: 1_700_000_030_000_000,
                ..pb::Review::default()
            }],
            opened_at: Some(well_known::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
            deadline: Some(well_known::Timestamp { seconds: 1_700_000_900, nanos: 0 }),
            status: "waiting on 1 of Group::dpo, 14 min, until 22:28 UTC".into(),
            ..pb::Approval::default()
        }
    }

    #[test]
    fn a_reviewer_reads_facts_first_and_claims_last() {
        let now = jiff::Timestamp::from_second(1_700_000_060).unwrap();
        let text = approval(&export(), now, Style::Plain);
        let tidy: Vec<_> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            tidy.join("\n"),
            r#"Agent::"report-bot" for User::"alice" wants to Action::"export" on Dataset::"customers"

HIGH Customer data leaves the warehouse

Parameters
NAME TYPE VALUE
destination string "s3://b\u{202e}ad"
rows long 9007199254740993

Who
acting Agent::"report-bot" "Report bot" (agent), proved by a token of https://id.example
for User::"alice" (person), proved by a token of https://id.example
asked by User::"gateway" (person), proved by a token of https://id.example

Claimed by the requester, not verified
"trust me\u{1b}[2J"

Gates, each needs its own reviewers
GATE VOTES REVIEWERS THEN
export-pii 1 of 2 Group::"privacy", Group::"dpo" after 5m: Group::"leads"

Reviews
WHEN WHO VERDICT GATES COMMENT
2023-11-14T22:13:50.000Z User::"bob" APPROVE export-pii fine

PENDING, 14m left to decide
status waiting on 1 of Group::dpo, 14 min, until 22:28 UTC
id apr_01
binding 00ff
opened 2023-11-14T22:13:20Z"#
        );
    }

    #[test]
    fn colours_are_the_only_control_characters_ever_written() {
        let text = approval(&export(), jiff::Timestamp::UNIX_EPOCH, Style::Coloured);
        for escape in text.split('\u{1b}').skip(1) {
            assert!(escape.starts_with('[') && escape.find('m').is_some_and(|end| end <= 3), "{escape:?}");
        }
    }
}
