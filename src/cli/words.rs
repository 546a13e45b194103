//! The API's words for people. All text that came from outside goes through [`Shown`].

use std::fmt::Write as _;

use crate::domain::entity::Shown;
use crate::wire::{pb, well_known};

/// Text from outside, so that it can fool neither terminal nor reader.
#[must_use]
pub fn escaped(text: &str) -> String {
    Shown(text).to_string().replace("\\\"", "\"")
}

/// `User::"alice"`.
#[must_use]
pub fn uid(uid: Option<&pb::EntityUid>) -> String {
    uid.map_or_else(|| "-".to_owned(), |uid| format!("{}::\"{}\"", Shown(&uid.r#type), Shown(&uid.id)))
}

/// A list of entities.
#[must_use]
pub fn uids(uids: &[pb::EntityUid]) -> String {
    let uids: Vec<_> = uids.iter().map(|one| uid(Some(one))).collect();
    if uids.is_empty() { "-".to_owned() } else { uids.join(", ") }
}

/// The type and the text of a value.
#[must_use]
pub fn value(value: &pb::Value) -> (&'static str, String) {
    use pb::value::Kind;
    match &value.kind {
        None => ("?", "nothing".to_owned()),
        Some(Kind::Bool(truth)) => ("bool", truth.to_string()),
        Some(Kind::Long(number)) => ("long", number.to_string()),
        Some(Kind::String(text)) => ("string", format!("\"{}\"", Shown(text))),
        Some(Kind::Entity(entity)) => ("entity", uid(Some(entity))),
        Some(Kind::Set(set)) => {
            let members: Vec<_> = set.values.iter().map(|member| self::value(member).1).collect();
            ("set", format!("[{}]", members.join(", ")))
        }
        Some(Kind::Record(record)) => {
            let fields =
                record.fields.iter().map(|(name, value)| format!("\"{}\": {}", Shown(name), self::value(value).1));
            ("record", format!("{{{}}}", fields.collect::<Vec<_>>().join(", ")))
        }
        Some(Kind::Extension(extension)) => {
            ("extension", format!("{}(\"{}\")", Shown(&extension.function), Shown(&extension.argument)))
        }
    }
}

/// `User::"alice"`, with whom the actor acts for.
#[must_use]
pub fn identity(identity: Option<&pb::Identity>) -> String {
    let Some(identity) = identity else { return "-".to_owned() };
    let mut text = uid(identity.uid.as_ref());
    if let Some(person) = &identity.on_behalf_of {
        let _ = write!(text, " for {}", uid(person.uid.as_ref()));
    }
    text
}

/// How it was proved who somebody is.
#[must_use]
pub fn proof(identity: &pb::Identity) -> String {
    match pb::ProofMethod::try_from(identity.proof_method) {
        Ok(pb::ProofMethod::Token) => format!("by a token of {}", escaped(&identity.issuer)),
        Ok(pb::ProofMethod::Certificate) => format!("by a certificate for {}", escaped(&identity.subject)),
        Ok(pb::ProofMethod::Asserted) => "named by the caller, not proved".to_owned(),
        Ok(pb::ProofMethod::Chat) => match &identity.credential {
            Some(link) => format!("by a click in chat of {}, {}", escaped(&link.client), escaped(&link.token_id)),
            None => "by a click in chat".to_owned(),
        },
        Ok(pb::ProofMethod::Service) => "the service itself".to_owned(),
        Ok(pb::ProofMethod::Unspecified) | Err(_) => "not proved".to_owned(),
    }
}

#[must_use]
pub fn kind(identity: &pb::Identity) -> &'static str {
    match pb::PrincipalKind::try_from(identity.kind) {
        Ok(pb::PrincipalKind::User) => "person",
        Ok(pb::PrincipalKind::Agent) => "agent",
        Ok(pb::PrincipalKind::Workload) => "workload",
        Ok(pb::PrincipalKind::Unspecified) | Err(_) => "unknown",
    }
}

/// The last word of an enumeration's name: `APPROVAL_STATE_PENDING` is `PENDING`.
macro_rules! enumeration {
    ($name:ident, $Type:ident, $prefix:literal) => {
        #[must_use]
        pub fn $name(number: i32) -> &'static str {
            let name = pb::$Type::try_from(number).map_or("UNKNOWN", |value| value.as_str_name());
            name.strip_prefix($prefix).unwrap_or(name)
        }
    };
}

enumeration!(state, ApprovalState, "APPROVAL_STATE_");
enumeration!(outcome, Outcome, "OUTCOME_");
enumeration!(severity, Severity, "SEVERITY_");
enumeration!(verdict, Verdict, "VERDICT_");
enumeration!(report, Report, "REPORT_");

/// A moment to the second.
#[must_use]
pub fn moment(moment: Option<&well_known::Timestamp>) -> String {
    let moment = moment.and_then(instant);
    moment.map_or_else(|| "-".to_owned(), |moment| format!("{:.0}", moment))
}

#[must_use]
pub fn instant(moment: &well_known::Timestamp) -> Option<jiff::Timestamp> {
    jiff::Timestamp::new(moment.seconds, moment.nanos).ok()
}

/// Microseconds since 1970 as a moment.
#[must_use]
pub fn micros(micros: i64) -> String {
    jiff::Timestamp::from_microsecond(micros).map_or_else(|_| "-".to_owned(), |moment| format!("{moment:.3}"))
}

/// How long until `deadline`: `14m`, `55s`, or `over`.
#[must_use]
pub fn left(deadline: Option<&well_known::Timestamp>, now: jiff::Timestamp) -> String {
    let Some(deadline) = deadline.and_then(instant) else { return "-".to_owned() };
    let seconds = deadline.duration_since(now).as_secs();
    match seconds {
        ..=0 => "over".to_owned(),
        1..=119 => format!("{seconds}s"),
        120..=7_199 => format!("{}m", seconds / 60),
        _ => format!("{}h {}m", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// A span given in microseconds.
#[must_use]
pub fn span(micros: u64) -> String {
    crate::config::Span(std::time::Duration::from_micros(micros)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_from_outside_cannot_fool_a_terminal() {
        let hostile = "\u{1b}[2J\u{202e}x";
        let entity = pb::EntityUid { r#type: "User".into(), id: hostile.into() };
        let text = pb::Value { kind: Some(pb::value::Kind::String(hostile.into())) };
        for shown in [uid(Some(&entity)), value(&text).1, escaped(hostile)] {
            assert!(!shown.contains('\u{1b}') && !shown.contains('\u{202e}'), "{shown}");
            assert!(shown.contains("\\u{1b}"), "{shown}");
        }
    }

    #[test]
    fn time_left_is_short_and_a_deadline_that_is_now_is_over() {
        let now = jiff::Timestamp::from_second(1_000).unwrap();
        let check = |seconds, expected: &str| {
            let deadline = well_known::Timestamp { seconds, nanos: 0 };
            assert_eq!(left(Some(&deadline), now), expected);
        };
        check(1_000, "over");
        check(1_055, "55s");
        check(1_900, "15m");
        check(1_000 + 9_000, "2h 30m");
    }
}
