//! From claims to an id: `{sub}`, `{tid}/{oid}`, `{/kubernetes.io/namespace}/{...}`. Two different sets of claims never
//! give one id: where several claims meet, what could be taken for the text between them is escaped in their values.

use super::condition::Pointer;
use super::json::{Json, Members};
use super::refusal::Reason;

/// Characters that keep claims apart. In a value that stands beside another they are written `%XX`, and so is `%`.
const SEPARATORS: &str = "/:|#@,;";

/// The longest claim that goes into an id.
pub const CLAIM_CHARS_MAX: usize = 255;

/// A pattern for ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdTemplate {
    parts: Vec<Part>,
    claims: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Claim(Pointer),
}

impl IdTemplate {
    /// Reads a pattern; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("the id `{text}` {what}");
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or_else(|| wrong("has a `{` without a `}`"))?;
            let pointer = if name.starts_with('/') { Pointer::parse(name) } else { Pointer::member(name) };
            let pointer = pointer.ok_or_else(|| wrong("has a `{}` without a claim's name"))?;
            let is_apart = before.contains(|one| SEPARATORS.contains(one));
            if !parts.is_empty() && !is_apart {
                return Err(wrong("needs one of `/ : | # @ , ;` between two claims"));
            }
            parts.extend((!before.is_empty()).then(|| Part::Text(before.to_owned())));
            parts.push(Part::Claim(pointer));
            rest = after;
        }
        parts.extend((!rest.is_empty()).then(|| Part::Text(rest.to_owned())));
        let claims = parts.iter().filter(|part| matches!(part, Part::Claim(_))).count();
        let texts = parts.iter().filter_map(|part| if let Part::Text(text) = part { Some(text) } else { None });
        if texts.into_iter().any(|text| text.contains(['}', '%'])) {
            return Err(wrong("must not hold `%`, or `}` without `{`"));
        }
        if claims == 0 { Err(wrong("names no claim, such as `{sub}`")) } else { Ok(Self { parts, claims }) }
    }

    /// Whether the id is what one claim says, and nothing else.
    pub fn is_bare(&self) -> bool {
        matches!(self.parts.as_slice(), [Part::Claim(_)])
    }

    /// The id of a token with these claims. A claim that is missing or no text is a refusal.
    pub fn render(&self, claims: &Members) -> Result<String, Reason> {
        let mut id = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => id.push_str(text),
                Part::Claim(pointer) => {
                    let value = pointer.find(claims).ok_or(Reason::MissingIdClaim)?;
                    let value = value.as_text().filter(|text| is_id(text)).ok_or(Reason::MissingIdClaim)?;
                    // One claim alone cannot be mistaken for another, and stays as it is.
                    if self.claims == 1 { id.push_str(value) } else { escape(value, &mut id) }
                }
            }
        }
        Ok(id)
    }
}

/// Whether a text can be somebody's or some group's name: neither empty nor endless.
pub fn is_id(text: &str) -> bool {
    (1..=CLAIM_CHARS_MAX).contains(&text.chars().take(CLAIM_CHARS_MAX + 1).count())
}

/// The name of a claim that may not hold text that is too long, or `None`.
pub fn id_of(claim: &Json) -> Option<&str> {
    claim.as_text().filter(|text| is_id(text))
}

fn escape(value: &str, id: &mut String) {
    for character in value.chars() {
        match character {
            '%' => id.push_str("%25"),
            // All of them are ASCII.
            one if SEPARATORS.contains(one) => id.push_str(&format!("%{:02X}", u32::from(one))),
            other => id.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::json::parse_object;
    use super::*;

    fn id(template: &str, claims: &serde_json::Value) -> Result<String, Reason> {
        let claims = parse_object(claims.to_string().as_bytes()).unwrap();
        IdTemplate::parse(template).unwrap().render(&claims)
    }

    #[test]
    fn an_id_is_made_of_claims_and_what_stands_between_them() {
        let claims = serde_json::json!({"tid": "t", "oid": "o", "sub": "a/b%", "kubernetes.io": {"namespace": "n"}});
        assert_eq!(id("{sub}", &claims).unwrap(), "a/b%", "alone it is verbatim");
        assert_eq!(id("{tid}/{oid}", &claims).unwrap(), "t/o");
        assert_eq!(id("x:{tid}/{sub}", &claims).unwrap(), "x:t/a%2Fb%25");
        assert_eq!(id("{/kubernetes.io/namespace}", &claims).unwrap(), "n");
    }

    #[test]
    fn a_claim_that_is_missing_or_no_name_is_a_refusal() {
        for claims in [
            serde_json::json!({"tid": "t"}),
            serde_json::json!({"tid": "t", "oid": ""}),
            serde_json::json!({"tid": "t", "oid": 7}),
            serde_json::json!({"tid": "t", "oid": null}),
            serde_json::json!({"tid": "t", "oid": ["o"]}),
            serde_json::json!({"tid": "t", "oid": "o".repeat(256)}),
        ] {
            assert_eq!(id("{tid}/{oid}", &claims), Err(Reason::MissingIdClaim), "{claims}");
        }
    }

    #[test]
    fn a_pattern_that_could_mix_claims_up_is_refused() {
        for wrong in ["", "alice", "{tid}{oid}", "{tid}x{oid}", "{tid", "{}", "{tid}}", "a%{tid}", "{a}/{b}{c}"] {
            assert!(IdTemplate::parse(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn two_sets_of_claims_never_give_one_id(
            one in "[a%2F/:x]{1,4}", two in "[a%2F/:x]{1,4}", three in "[a%2F/:x]{1,4}", four in "[a%2F/:x]{1,4}",
        ) {
            for template in ["{a}/{b}", "{a}x/{b}", "2{a}/F{b}a", "{a}/:{b}"] {
                let first = id(template, &serde_json::json!({"a": one, "b": two}));
                let second = id(template, &serde_json::json!({"a": three, "b": four}));
                prop_assert_eq!(first == second, (&one, &two) == (&three, &four), "{}", template);
            }
        }
    }
}
