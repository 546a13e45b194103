//! Links of templates: JSON lists of `{"template", "id", "principal", "resource"}`, read strictly. A link is a policy like
//! others, with the template's text and annotations and an id of its own.

use std::ops::Range;
use std::sync::Arc;

use cedar_policy as cedar;
use serde::{Deserialize, Deserializer};

use super::{Loader, Place, of_directory};
use crate::domain::EntityUid;
use crate::engine::convert::Types;
use crate::engine::json_text::{self, in_json};
use crate::engine::linked::template_set;
use crate::engine::problem::{Problem, line_at, nearest};
use crate::engine::snapshot::PolicyEntry;
use crate::engine::source::SourceFile;

/// Longest id, in bytes; as an `@id`.
const ID_BYTES_MAX: usize = 4_096;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Link {
    template: Arc<str>,
    id: Arc<str>,
    /// For `?principal`; absent where the template has no such slot.
    #[serde(default, deserialize_with = "present")]
    principal: Option<Uid>,
    #[serde(default, deserialize_with = "present")]
    resource: Option<Uid>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Uid {
    #[serde(rename = "type")]
    type_name: String,
    id: String,
}

/// What is absent may be left out, but not written as `null`.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Uid>, D::Error> {
    Uid::deserialize(deserializer).map(Some)
}

/// One link and where it stands.
struct Written<'f> {
    link: Link,
    place: Place<'f>,
}

impl Written<'_> {
    fn problem(&self, message: impl Into<String>) -> Problem {
        self.place.annotated(None, message).in_policy(&self.link.id)
    }
}

impl<'f> Loader<'f> {
    /// Reads the links of all files and makes policies of them.
    pub fn links(&mut self, files: &[&'f SourceFile], types: Option<&Types>) {
        // Policies that cannot be read may be the very templates that links name.
        let is_sound = self.problems.is_empty();
        let written: Vec<_> = files.iter().flat_map(|file| self.written(file)).collect();
        if written.len().saturating_add(self.places.len()) > self.settings.limits.policies_max {
            return self.too_many();
        }
        if !is_sound {
            return;
        }
        match template_set(self.templates.values().map(|template| &template.cedar)) {
            Ok(mut set) => written.iter().for_each(|written| self.link(written, types, &mut set)),
            Err(error) => self.problems.push(of_directory(self.settings, &error.to_string())),
        }
    }

    fn written(&mut self, file: &'f SourceFile) -> Vec<Written<'f>> {
        let elements = json_text::elements(&file.text);
        let elements = elements.map_err(|fault| self.problems.push(in_json(file, &fault))).unwrap_or_default();
        let mut lines = Lines { text: &file.text, offset: 0, line: 1 };
        let mut found = Vec::with_capacity(elements.len());
        for span in elements {
            let line = lines.of(span.start);
            match json_text::parse(&file.text, &span) {
                Ok(link) => found.push(Written { link, place: Place { file, span, line, is_text: false } }),
                Err(fault) => self.problems.push(in_json(file, &fault)),
            }
        }
        found
    }

    fn link(&mut self, written: &Written<'f>, types: Option<&Types>, set: &mut cedar::PolicySet) {
        let link = &written.link;
        let linked = self.linked(written, types, set);
        let policy = match linked {
            Ok(policy) => policy,
            Err(problem) => return self.problems.push(*problem),
        };
        let Some(template) = self.templates.get(&link.template) else { return };
        let (kind, role, text) = (template.kind, template.role.of_link(&link.id), template.text.clone());
        let place = written.place.clone();
        let (file, line, span) = (place.file.path.clone(), place.line, place.span.clone());
        if self.takes_name(&link.id, place, span) {
            let template = Some(link.template.clone());
            self.list(PolicyEntry { id: link.id.clone(), kind, file, line, template }, role, text);
            self.parsed.push(policy);
        }
    }

    fn linked(
        &self,
        written: &Written<'_>,
        types: Option<&Types>,
        set: &mut cedar::PolicySet,
    ) -> Result<cedar::Policy, Box<Problem>> {
        let link = &written.link;
        let refused = |message: String| Box::new(written.problem(message));
        if link.id.trim().is_empty() || link.id.len() > ID_BYTES_MAX {
            return Err(refused(format!("expected an `id` of 1 to {ID_BYTES_MAX} bytes")));
        }
        if let Some(first) = self.places.get(&link.id) {
            return Err(refused(format!("the id is taken by the policy at {}:{}", first.file.path, first.line)));
        }
        let Some(template) = self.templates.get(&link.template) else {
            let help = nearest(&link.template, self.templates.keys().map(|id| &**id));
            return Err(Box::new(written.problem(format!("there is no template `{}`", link.template)).with_help(help)));
        };
        let slots = [(cedar::SlotId::principal(), &link.principal), (cedar::SlotId::resource(), &link.resource)];
        let mut values = std::collections::HashMap::new();
        for (slot, given) in slots {
            let (is_wanted, name) = (template.cedar.slots().any(|wanted| *wanted == slot), slot.to_string());
            let member = name.trim_start_matches('?');
            match given {
                None if is_wanted => {
                    return Err(refused(format!("expected `{member}`: template `{}` has `{name}`", link.template)));
                }
                Some(_) if !is_wanted => {
                    return Err(refused(format!(
                        "unexpected `{member}`: template `{}` has no `{name}`",
                        link.template
                    )));
                }
                None => {}
                Some(uid) => {
                    let uid = EntityUid::new(&uid.type_name, &uid.id);
                    // Without types there is a problem already, and no set comes of this.
                    let Some(types) = types else { continue };
                    let known = types.uid(&uid).map_err(|unknown| {
                        let help = nearest(&uid.type_name, types.names());
                        Box::new(written.problem(format!("`{member}`: {unknown}")).with_help(help))
                    })?;
                    values.insert(slot, known);
                }
            }
        }
        let id = cedar::PolicyId::new(&link.id);
        let linked = set.link(cedar::PolicyId::new(&link.template), id.clone(), values);
        linked.map_err(|error| refused(error.to_string()))?;
        set.policy(&id).cloned().ok_or_else(|| refused("cannot be linked".to_owned()))
    }
}

/// Lines of places that come in order, without counting from the top for each.
struct Lines<'t> {
    text: &'t str,
    offset: usize,
    line: u32,
}

impl Lines<'_> {
    fn of(&mut self, offset: usize) -> u32 {
        let between: Range<usize> = self.offset..offset;
        self.line += line_at(self.text.get(between).unwrap_or_default(), usize::MAX) - 1;
        self.offset = offset;
        self.line
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{ask, bot, file, ids, query, settings, sources};
    use crate::engine::{PolicyKind, PolicySnapshot};

    const READS: &str = "@id(\"reads\") @advice(\"gently\")
permit (principal == ?principal, action == Action::\"read\", resource in ?resource);";
    const ASKS: &str = "
@id(\"asks\") @approval(\"why\") @reviewers(\"Group::\\\"a\\\"\")
forbid (principal, action == Action::\"read\", resource == ?resource);";

    const BOT: &str = r#"{"type": "Agent", "id": "report-bot"}"#;

    fn link(template: &str, id: &str, slots: &str) -> String {
        format!(r#"{{"template": "{template}", "id": "{id}"{slots}}}"#)
    }

    fn reads(id: &str, dataset: &str) -> String {
        let slots = format!(r#", "principal": {BOT}, "resource": {{"type": "Dataset", "id": "{dataset}"}}"#);
        link("reads", id, &slots)
    }

    /// Links of these; the gate only where one of them is its.
    fn load(links: &str) -> Result<PolicySnapshot, String> {
        let asks = if links.contains("asks") { ASKS } else { "" };
        load_of(&[READS, asks].concat(), links)
    }

    fn load_of(templates: &str, links: &str) -> Result<PolicySnapshot, String> {
        let mut files = sources(templates);
        files.push(file("policies/team.links.json", links));
        PolicySnapshot::from_sources(&settings(), files).map_err(|error| error.to_string())
    }

    fn refusal(links: &str) -> String {
        load(links).err().unwrap_or_default()
    }

    #[test]
    fn a_link_is_a_policy_with_its_templates_annotations_and_an_id_of_its_own() {
        let asks = link("asks", "ask-for-weather", r#", "resource": {"type": "Dataset", "id": "weather"}"#);
        let links = format!("[{},\n{},\n{asks}]", reads("bot-weather", "weather"), reads("bot-traffic", "traffic"));
        let snapshot = load(&links).unwrap();
        let listed: Vec<_> = snapshot.summary().policies;
        let listed: Vec<_> =
            listed.iter().map(|entry| (&*entry.id, entry.kind, entry.line, entry.template.as_deref())).collect();
        let expected = [
            ("bot-weather", PolicyKind::Permit, 1, Some("reads")),
            ("bot-traffic", PolicyKind::Permit, 2, Some("reads")),
            ("ask-for-weather", PolicyKind::Gate, 3, Some("asks")),
        ];
        assert_eq!(listed, expected);
        let answer = |dataset: &str| ask(&snapshot, &query(&bot(), "read", ("Dataset", dataset)), &bot()).unwrap();
        assert_eq!(ids(&answer("weather")), (vec!["bot-weather".to_owned()], vec!["ask-for-weather".to_owned()]));
        assert_eq!(ids(&answer("traffic")), (vec!["bot-traffic".to_owned()], vec![]));
        assert_eq!(ids(&answer("customers")), (vec![], vec![]));
        let obligations = format!("{:?}", answer("traffic").obligations);
        assert!(obligations.contains("bot-traffic") && obligations.contains("gently"), "{obligations}");
    }

    #[test]
    fn the_digest_covers_links() {
        let digest = |links: &str| load(links).unwrap().digest();
        let first = digest(&format!("[{}]", reads("a", "weather")));
        assert_ne!(first, digest(&format!("[{}]", reads("a", "traffic"))));
        assert_ne!(first, digest(&format!("[{}, {}]", reads("a", "weather"), reads("b", "weather"))));
    }

    #[test]
    fn a_link_must_be_exactly_right() {
        let good = reads("a", "weather");
        let dataset = r#", "resource": {"type": "Dataset", "id": "d"}"#;
        let cases = [
            (good.replace("\"id\": \"a\"", "\"id\": \"a\", \"note\": 1"), "unknown field `note`"),
            (good.replace("\"id\": \"a\"", "\"id\": \"a\", \"id\": \"b\""), "duplicate field `id`"),
            (good.replace("\"type\": \"Agent\"", "\"type\": \"Agent\", \"type\": \"User\""), "duplicate field `type`"),
            (good.replace("\"id\": \"a\", ", ""), "missing field `id`"),
            (good.replace("\"id\": \"a\"", "\"id\": \" \""), "expected an `id` of 1 to 4096 bytes"),
            (good.replace("\"reads\"", "\"read\""), "there is no template `read`; did you mean `reads`?"),
            (good.replace(BOT, "null"), "invalid type: null"),
            (good.replace("Agent", "Agnet"), "`principal`: unknown entity type `Agnet`; did you mean `Agent`?"),
            (link("reads", "a", dataset), "expected `principal`: template `reads` has `?principal`"),
            (good.replace("\"reads\"", "\"asks\""), "unexpected `principal`: template `asks` has no `?principal`"),
            (good.replace("\"id\": \"a\"", "\"id\": \"reads\""), "the id is taken by the policy at policies/p.cedar:1"),
            (format!("{good},\n{good}"), "the id is taken by the policy at policies/team.links.json:1"),
        ];
        for (links, message) in cases {
            let found = refusal(&format!("[{links}]"));
            let place =
                if links.contains('\n') { "policies/team.links.json:2: " } else { "policies/team.links.json:1: " };
            assert!(found.contains(place) && found.contains(message), "{links}\n{found}");
        }
        assert_eq!(refusal("{}"), "policies/team.links.json:1: invalid type: map, expected a sequence");
        assert!(refusal(&format!("[{good},]")).starts_with("policies/team.links.json:1: trailing comma"));
    }

    #[test]
    fn a_link_is_held_against_the_schema() {
        let mut files = sources("@id(\"t\") permit (principal == ?principal, action == Action::\"read\", resource);");
        files
            .push(file("policies/links.json", r#"[{"template":"t","id":"l","principal":{"type":"Folder","id":"f"}}]"#));
        let snapshot = PolicySnapshot::from_sources(&settings(), files).unwrap();
        let warnings: Vec<_> = snapshot.summary().warnings.iter().map(ToString::to_string).collect();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(
            warnings[0].starts_with("policies/links.json:1: policy `l`: unable to find an applicable action"),
            "{warnings:?}"
        );
    }

    #[test]
    fn a_template_that_is_wrong_is_told_once_and_one_without_links_is_named() {
        let wrong = "@id(\"t\") permit (principal == ?principal, action, resource is Dataset) when { resource.pi };";
        let mut files = sources(wrong);
        let link = |id: usize| format!(r#"{{"template":"t","id":"{id}","principal":{BOT}}}"#);
        let links: Vec<_> = (0..2_000).map(link).collect();
        files.push(file("policies/links.json", &format!("[{}]", links.join(","))));
        let found = PolicySnapshot::from_sources(&settings(), files).unwrap_err();
        assert_eq!(found.problems.len(), 1, "{found}");
        assert!(found.to_string().starts_with("policies/p.cedar:1: policy `t`: attribute `pi`"), "{found}");

        let alone = load("[]").err();
        assert_eq!(alone.as_deref(), Some("policies: has no policies; everything would be denied"));
        // Without its links a gate would stand open.
        let open = load_of(&[READS, ASKS].concat(), &format!("[{}]", reads("a", "weather"))).err();
        let expected = "policies/p.cedar:3: policy `asks`: the template has no links; it does nothing";
        assert_eq!(open.as_deref(), Some(expected));
        let idle = "permit (principal, action, resource is Dataset); @id(\"idle\") permit (principal == ?principal, action, resource);";
        let warnings = PolicySnapshot::from_sources(&settings(), sources(idle)).unwrap().summary().warnings;
        let warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        assert_eq!(warnings, ["policies/p.cedar:1: policy `idle`: the template has no links; it does nothing"]);
    }
}
