//! How large a schema becomes once Cedar has resolved it: common types are written out wherever they are named, so thirty
//! lines can mean a thousand million fields; and every policy is validated for every question that an action allows.

use std::collections::HashMap;

use serde_json::Value as Json;

use super::hierarchy::Hierarchy;
use super::settings::Limits;

/// The parts of a schema, as JSON, unresolved.
pub struct Fragments<'j>(pub &'j [Json]);

impl Fragments<'_> {
    /// # Errors
    /// Says which limit the schema exceeds.
    pub fn check(&self, limits: &Limits) -> Result<(), String> {
        let questions = self.declared("actions").map(|(_, _, action)| questions(action));
        if questions.fold(0, usize::saturating_add) > limits.request_types_max {
            let limit = limits.request_types_max;
            return Err(format!("allows more than {limit} combinations of action, principal and resource type"));
        }
        self.entity_types().check(limits)?;
        self.action_groups().check(limits)?;
        let fields = Sizes::of(self).total(self);
        let limit = limits.schema_fields_max;
        if fields > limit { Err(format!("has more than {limit} fields, common types written out")) } else { Ok(()) }
    }

    /// Everything of a kind: namespace, name, declaration.
    fn declared(&self, kind: &'static str) -> impl Iterator<Item = (&str, &str, &Json)> {
        let namespaces = self.0.iter().filter_map(Json::as_object).flatten();
        namespaces.flat_map(move |(namespace, declared)| {
            let found = declared[kind].as_object().into_iter().flatten();
            found.map(move |(name, declared)| (namespace.as_str(), name.as_str(), declared))
        })
    }

    fn entity_types(&self) -> Hierarchy {
        let mut found = Hierarchy::default();
        for (namespace, name, declared) in self.declared("entityTypes") {
            let parents = texts(&declared["memberOfTypes"]);
            found.add(
                qualified(namespace, name),
                parents.flat_map(|parent| [qualified(namespace, parent), parent.into()]),
            );
        }
        found
    }

    fn action_groups(&self) -> Hierarchy {
        let mut found = Hierarchy::default();
        for (namespace, name, declared) in self.declared("actions") {
            let groups = declared["memberOf"].as_array().into_iter().flatten();
            let group = |group: &Json| {
                let own = format!("{namespace}::Action");
                // A name without a namespace may mean one with it.
                let of_type = group["type"].as_str().unwrap_or(&own);
                let id = group["id"].as_str().unwrap_or_default();
                [format!("{of_type}::{id}"), format!("{namespace}::{of_type}::{id}")]
            };
            found.add(format!("{namespace}::Action::{name}"), groups.flat_map(group));
        }
        found
    }
}

fn questions(action: &Json) -> usize {
    let applies = &action["appliesTo"];
    let count = |member: &str| applies.get(member).and_then(Json::as_array).map_or(0, Vec::len);
    count("principalTypes").saturating_mul(count("resourceTypes"))
}

fn texts(json: &Json) -> impl Iterator<Item = &str> {
    json.as_array().into_iter().flatten().filter_map(Json::as_str)
}

fn qualified(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}::{name}") }
}

/// The fields of each common type, those that it names included.
struct Sizes<'j> {
    declared: HashMap<String, (&'j str, &'j Json)>,
    known: HashMap<String, usize>,
}

impl<'j> Sizes<'j> {
    fn of(fragments: &'j Fragments<'_>) -> Self {
        let common = fragments.declared("commonTypes");
        let declared = common.map(|(namespace, name, json)| (qualified(namespace, name), (namespace, json)));
        Self { declared: declared.collect(), known: HashMap::new() }
    }

    fn total(&mut self, fragments: &Fragments<'_>) -> usize {
        let shapes = fragments
            .declared("entityTypes")
            .flat_map(|(namespace, _, json)| [(namespace, &json["shape"]), (namespace, &json["tags"])]);
        let contexts = fragments
            .declared("actions")
            .filter_map(|(namespace, _, json)| Some((namespace, json.pointer("/appliesTo/context")?)));
        let common = fragments.declared("commonTypes").map(|(namespace, _, json)| (namespace, json));
        let all = shapes.chain(contexts).chain(common);
        all.fold(0, |total: usize, (namespace, json)| total.saturating_add(self.size(namespace, json)))
    }

    fn size(&mut self, namespace: &str, json: &Json) -> usize {
        let fields = json["attributes"].as_object().into_iter().flatten();
        let inner = fields.map(|(_, field)| field).chain(json.get("element"));
        let own = inner.fold(1, |total: usize, inner| total.saturating_add(self.size(namespace, inner)));
        let names = [&json["type"], &json["name"]].into_iter().filter_map(Json::as_str);
        names.fold(own, |total, name| total.saturating_add(self.named(namespace, name)))
    }

    fn named(&mut self, namespace: &str, name: &str) -> usize {
        let here = qualified(namespace, name);
        let name = if self.declared.contains_key(&here) { here } else { name.to_owned() };
        if let Some(known) = self.known.get(&name) {
            return *known;
        }
        let Some((namespace, json)) = self.declared.get(&name).copied() else { return 0 };
        // A type that names itself is Cedar's to report.
        self.known.insert(name.clone(), 1);
        let size = self.size(namespace, json);
        self.known.insert(name, size);
        size
    }
}
