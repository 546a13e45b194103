//! The small languages inside annotations: durations, lists of entities, escalations. Pure text to values, and strict:
//! what is not exactly right is refused with what was expected.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use cedar_policy as cedar;

use crate::domain::{EntityUid, Escalation, Quorum, is_target_name};

/// The largest quorum: more distinct humans than that is a mistake.
pub const QUORUM_MAX: u32 = 100;

/// The longest timeout, grant or escalation.
pub const DURATION_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

const DURATION: &str = "expected a duration from 1s to 30d, such as `90s`, `15m`, `8h`, `2d` or `1h30m`";
const ENTITIES: &str = "expected entities separated by commas, such as `Group::\"privacy\", User::\"alice\"`";
const TARGETS: &str = "expected names of targets separated by commas, such as `privacy-slack, siem`";
const ESCALATE: &str = "expected steps such as `after 5m: Group::\"leads\"`, separated by `;`";
/// A person who was reminded so often has decided not to decide.
const REMINDERS_MAX: usize = 10;

/// A whole number from 1 to [`QUORUM_MAX`], written with digits only.
pub fn quorum(text: &str) -> Result<Quorum, String> {
    let digits_only = text.bytes().all(|byte| byte.is_ascii_digit());
    let humans = text.parse().ok().filter(|humans| digits_only && *humans <= QUORUM_MAX);
    humans.and_then(Quorum::new).ok_or_else(|| format!("expected a whole number from 1 to {QUORUM_MAX}"))
}

/// Days, hours, minutes, seconds, in this order, each at most once, without signs or spaces.
pub fn duration(text: &str) -> Result<Duration, String> {
    seconds(text).map(Duration::from_secs).filter(in_bounds).ok_or_else(|| DURATION.to_owned())
}

fn in_bounds(span: &Duration) -> bool {
    !span.is_zero() && *span <= DURATION_MAX
}

fn seconds(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total: u64 = 0;
    for (unit, unit_seconds) in [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)] {
        let Some((digits, after)) = rest.split_once(unit) else { continue };
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let count: u64 = is_number.then(|| digits.parse().ok()).flatten()?;
        total = total.checked_add(count.checked_mul(unit_seconds)?)?;
        rest = after;
    }
    rest.is_empty().then_some(total)
}

/// Names of targets, each once: see [`crate::domain::is_target_name`].
pub fn targets(text: &str) -> Result<Vec<Arc<str>>, String> {
    let mut found: Vec<Arc<str>> = Vec::new();
    for name in text.split(',').map(str::trim) {
        if !is_target_name(name) {
            return Err(TARGETS.to_owned());
        }
        if found.iter().any(|known| **known == *name) {
            return Err(format!("names `{name}` twice"));
        }
        found.push(name.into());
    }
    Ok(found)
}

/// At least one entity, each once.
pub fn entities(text: &str) -> Result<Vec<EntityUid>, String> {
    let mut found = Vec::new();
    for piece in split_outside_strings(text, ',') {
        let uid = entity(piece.trim()).ok_or_else(|| ENTITIES.to_owned())?;
        if found.contains(&uid) {
            return Err(format!("names `{uid}` twice"));
        }
        found.push(uid);
    }
    Ok(found)
}

/// One entity in Cedar's notation.
fn entity(text: &str) -> Option<EntityUid> {
    let uid = cedar::EntityUid::from_str(text).ok()?;
    Some(EntityUid::new(&uid.type_name().to_string(), uid.id().unescaped()))
}

/// `after <duration>: <entities>`, several separated by `;`, each later than the one before.
pub fn escalations(text: &str) -> Result<Vec<Escalation>, String> {
    let steps = split_outside_strings(text, ';').into_iter().map(escalation);
    let steps = steps.collect::<Result<Vec<_>, _>>()?;
    let in_order = steps.windows(2).all(|pair| matches!(pair, [earlier, later] if earlier.after < later.after));
    if in_order { Ok(steps) } else { Err("expected each step to be later than the one before".to_owned()) }
}

/// Durations separated by commas, each longer than the one before; at most [`REMINDERS_MAX`].
pub fn reminders(text: &str) -> Result<Vec<Duration>, String> {
    let spans = text.split(',').map(|span| duration(span.trim()));
    let spans = spans.collect::<Result<Vec<_>, _>>()?;
    if spans.len() > REMINDERS_MAX {
        return Err(format!("expected at most {REMINDERS_MAX} durations"));
    }
    let in_order = spans.windows(2).all(|pair| matches!(pair, [earlier, later] if earlier < later));
    if in_order { Ok(spans) } else { Err("expected each duration to be longer than the one before".to_owned()) }
}

fn escalation(step: &str) -> Result<Escalation, String> {
    let after = step.trim().strip_prefix("after ").and_then(|rest| rest.split_once(':'));
    // A second colon belongs to an entity: the one after the duration is missing.
    let after = after.filter(|(_, reviewers)| !reviewers.starts_with(':'));
    let (span, reviewers) = after.ok_or_else(|| ESCALATE.to_owned())?;
    Ok(Escalation { after: duration(span.trim())?, reviewers: entities(reviewers)? })
}

/// Splits at a separator that is not inside a quoted string; `\` escapes inside strings.
fn split_outside_strings(text: &str, separator: char) -> Vec<&str> {
    let mut in_string = false;
    let mut escaped = false;
    text.split(|character: char| {
        let splits = character == separator && !in_string;
        if !escaped && character == '"' {
            in_string = !in_string;
        }
        escaped = in_string && !escaped && character == '\\';
        splits
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_sums_of_units_in_order() {
        for (text, expected) in
            [("90s", 90), ("15m", 900), ("8h", 28_800), ("2d", 172_800), ("1h30m", 5_400), ("30d", 2_592_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_secs(expected)), "{text}");
        }
    }

    #[test]
    fn what_is_not_exactly_a_duration_is_refused() {
        for text in [
            "",
            "0s",
            "0d0h",
            "15",
            "m",
            "-5m",
            "+5m",
            " 5m",
            "5m ",
            "5 m",
            "1m1h",
            "5m5m",
            "1.5h",
            "5M",
            "31d",
            "30d1s",
            "5ms",
            "99999999999999999999d",
            "٥m",
            "1w",
        ] {
            assert_eq!(duration(text), Err(DURATION.to_owned()), "{text}");
        }
    }

    #[test]
    fn commas_and_quotes_inside_an_id_belong_to_it() {
        let found = entities(r#" Group::"a,b" ,A::User::"q\"u,o;te\\", Group::"\u{202e}\0" "#).unwrap();
        let expected = [("Group", "a,b"), ("A::User", "q\"u,o;te\\"), ("Group", "\u{202e}\u{0}")];
        assert_eq!(found, expected.map(|(type_name, id)| EntityUid::new(type_name, id)));
    }

    #[test]
    fn what_is_not_a_list_of_entities_is_refused() {
        for text in [
            "",
            " ",
            ",",
            "privacy",
            "Group::privacy",
            "Group::\"a\",",
            "Group::\"a\" Group::\"b\"",
            "Group::\"a",
            "\"a\"",
            "Group::\"a\";Group::\"b\"",
        ] {
            assert_eq!(entities(text), Err(ENTITIES.to_owned()), "{text}");
        }
        assert_eq!(entities("G::\"a\", G::\"a\""), Err("names `G::\"a\"` twice".to_owned()));
    }

    #[test]
    fn a_quorum_is_digits_from_1_to_100() {
        assert_eq!(quorum("100").map(Quorum::get), Ok(100));
        for text in ["0", "-1", "+2", "101", "two", "2.0", " 2", "", "4294967298"] {
            assert_eq!(quorum(text), Err("expected a whole number from 1 to 100".to_owned()), "{text}");
        }
    }

    #[test]
    fn escalations_are_steps_in_order() {
        let steps = escalations("after 5m: Group::\"a;b: c\", Group::\"d\"; after 1h: User::\"e\"").unwrap();
        assert_eq!(steps[0].reviewers, [EntityUid::new("Group", "a;b: c"), EntityUid::new("Group", "d")]);
        assert_eq!(steps[1].after, Duration::from_secs(3_600));
        for text in
            ["", "5m: Group::\"a\"", "after 5m Group::\"a\"", "After 5m: Group::\"a\"", "after 5m: Group::\"a\";"]
        {
            assert_eq!(escalations(text), Err(ESCALATE.to_owned()), "{text}");
        }
        assert_eq!(escalations("after 0s: Group::\"a\""), Err(DURATION.to_owned()));
        assert_eq!(escalations("after 5m: nobody"), Err(ENTITIES.to_owned()));
        let unordered = escalations("after 5m: Group::\"a\"; after 5m: Group::\"b\"");
        assert_eq!(unordered, Err("expected each step to be later than the one before".to_owned()));
    }

    #[test]
    fn reminders_are_durations_in_order_and_few() {
        assert_eq!(reminders("2m, 10m,1h").unwrap(), [120, 600, 3_600].map(Duration::from_secs));
        for text in ["", "2m,", "2m 3m", "0s", "soon"] {
            assert_eq!(reminders(text), Err(DURATION.to_owned()), "{text}");
        }
        for text in ["2m, 2m", "3m, 2m"] {
            assert_eq!(reminders(text), Err("expected each duration to be longer than the one before".to_owned()));
        }
        let many = (1..=11).map(|minutes| format!("{minutes}m")).collect::<Vec<_>>().join(",");
        assert_eq!(reminders(&many), Err("expected at most 10 durations".to_owned()));
    }
}
