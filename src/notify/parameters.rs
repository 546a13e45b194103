//! What an action would be done with, as lines of text, whole or not at all: whoever decides by a button has seen everything
//! that is bound, and nothing that was cut; and whether a message in chat can show that.

use super::text;
use crate::domain::{Approval, Attributes, Shown, Value};

/// Characters of all lines together, as Slack takes them in one section.
pub const CHARS_MAX: usize = 3_000;
/// Of gates' texts, each.
pub const GATE_CHARS_MAX: usize = 600;
pub const GATES_SHOWN_MAX: usize = 4;
/// Of the requester's own words.
pub const CLAIM_CHARS_MAX: usize = 2_000;
/// Of who wants to do what to what.
const NAMES_CHARS_MAX: usize = CHARS_MAX / 2;
/// Lines that somebody reads.
const LINES_MAX: usize = 40;

/// The parameters of the approval's query and the entities that came along, one leaf a line; `None` if that is more than
/// somebody reads in a message.
#[must_use]
pub fn whole(approval: &Approval) -> Option<String> {
    let query = &approval.opening.query;
    let mut lines = Vec::new();
    fields(&query.context, "", &mut lines);
    for entity in &query.entities {
        let parents: Vec<String> = entity.parents.iter().map(ToString::to_string).collect();
        if !parents.is_empty() {
            lines.push(format!("{} in {}", entity.uid, parents.join(", ")));
        }
        fields(&entity.attributes, &format!("{}.", entity.uid), &mut lines);
        fields(&entity.tags, &format!("{} tag ", entity.uid), &mut lines);
    }
    let text = lines.join("\n");
    // Escaped for Slack, which is longer than for anybody else.
    let fits = lines.len() <= LINES_MAX && text::lines(&lines, CHARS_MAX).is_some();
    fits.then_some(text)
}

/// Whether a message in any chat shows all that is decided by it; by Slack's limits, which are the narrowest. What is masked or cut
/// is decided in the inbox.
#[must_use]
pub fn shows_whole(approval: &Approval) -> bool {
    let opening = &approval.opening;
    let gates = opening.requirement.gates();
    gates.len() <= GATES_SHOWN_MAX
        && gates.iter().all(|gate| text::fits_slack(&gate.text, GATE_CHARS_MAX))
        && text::fits_slack(&names(approval), NAMES_CHARS_MAX)
        && opening.justification.as_ref().is_none_or(|words| text::fits_slack(words, CLAIM_CHARS_MAX))
        && whole(approval).is_some()
}

/// Whether names and parameters are of letters that look like nothing else. Of other scripts any letter may (case 49).
#[must_use]
pub fn is_plain(approval: &Approval) -> bool {
    let for_whom = approval.opening.query.on_behalf_of.as_ref().is_none_or(|person| person.to_string().is_ascii());
    names(approval).is_ascii() && for_whom && whole(approval).is_some_and(|text| text.is_ascii())
}

fn names(approval: &Approval) -> String {
    let query = &approval.opening.query;
    [query.principal.to_string(), query.action.to_string(), query.resource.to_string()].concat()
}

fn fields(attributes: &Attributes, before: &str, lines: &mut Vec<String>) {
    for (name, value) in attributes {
        leaf(&format!("{before}{}", named(name)), value, lines);
    }
}

/// A name that could be taken for something else stands in quotation marks.
fn named(name: &str) -> String {
    let is_plain = name.chars().all(|letter| letter.is_ascii_alphanumeric() || "_-".contains(letter));
    if is_plain && !name.is_empty() { name.to_owned() } else { format!("\"{}\"", Shown(name)) }
}

fn leaf(name: &str, value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::Record(inner) if !inner.is_empty() => fields(inner, &format!("{name}."), lines),
        Value::Bool(_)
        | Value::Long(_)
        | Value::String(_)
        | Value::Entity(_)
        | Value::Set(_)
        | Value::Record(_)
        | Value::Extension { .. } => lines.push(format!("{name}: {}", shown(value))),
    }
}

/// In Cedar's notation, which says the type as well.
fn shown(value: &Value) -> String {
    match value {
        Value::Bool(value) => value.to_string(),
        Value::Long(value) => value.to_string(),
        Value::String(text) => format!("\"{}\"", Shown(text)),
        Value::Entity(uid) => uid.to_string(),
        Value::Set(members) => format!("[{}]", members.iter().map(shown).collect::<Vec<_>>().join(", ")),
        Value::Record(fields) => {
            let field =
                |(name, value): (&std::sync::Arc<str>, &Value)| format!("\"{}\": {}", Shown(name), shown(value));
            format!("{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(", "))
        }
        Value::Extension { function, argument } => {
            format!("{}(\"{}\")", function.name(), Shown(argument))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::testing::message;
    use super::*;
    use crate::domain::{Entity, EntityUid, Opening};

    fn with(context: Attributes, entities: Vec<Entity>) -> Approval {
        let approval = message("customers", "why").approval;
        let mut opening = Opening::clone(&approval.opening);
        let query = Arc::make_mut(&mut opening.query);
        (query.context, query.entities) = (context, entities);
        Approval { opening: Arc::new(opening), ..Approval::clone(&approval) }
    }

    #[test]
    fn case_49_every_leaf_is_a_line_and_no_value_can_make_one() {
        let inner = Value::Record([("to".into(), Value::string("a\nrows: 1\u{202e}"))].into());
        let set = Value::Set(vec![Value::Long(1), Value::Bool(true)]);
        let uid = EntityUid::new("Dataset", "x");
        let attributes = [("pii".into(), Value::Bool(true))].into();
        let entity = Entity { attributes, ..Entity::bare(uid, vec![EntityUid::new("Folder", "f")]) };
        let approval = with([("in\nner".into(), inner), ("set".into(), set)].into(), vec![entity]);
        let text = whole(&approval).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "\"in\\u{a}ner\".to: \"a\\u{a}rows: 1\\u{202e}\"",
                "set: [1, true]",
                "Dataset::\"x\" in Folder::\"f\"",
                "Dataset::\"x\".pii: true"
            ]
        );
    }

    #[test]
    fn what_does_not_fit_is_not_shown_in_part() {
        let of = |text: String| whole(&with([("a".into(), Value::string(&text))].into(), Vec::new()));
        assert!(of("x".repeat(2_900)).is_some());
        assert_eq!(of("x".repeat(CHARS_MAX)), None);
        assert_eq!(of("<".repeat(1_000)), None, "four characters each in Slack");
        let many = (0..=LINES_MAX).map(|number| (format!("f{number}").into(), Value::Long(1))).collect();
        assert_eq!(whole(&with(many, Vec::new())), None);
        assert_eq!(whole(&with(Attributes::new(), Vec::new())), Some(String::new()));
    }

    #[test]
    fn a_message_that_would_be_cut_is_not_whole() {
        let whole = |resource: &str, text: &str| shows_whole(&message(resource, text).approval);
        assert!(whole("customers", "why"));
        assert!(!whole("customers", &"x".repeat(GATE_CHARS_MAX + 1)));
        assert!(!whole(&"x".repeat(NAMES_CHARS_MAX), "why"));
    }
}
