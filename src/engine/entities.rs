//! The entities of one query: the principal with its token's groups, what the caller supplied, and of the server's data
//! what these can lead to. Few entities, no JSON, no copy of the whole data.

use std::collections::{HashMap, HashSet};

use cedar_policy as cedar;

use super::cedar_core::Closed;
use super::convert::each_entity;
use super::facts::{is_action_type, is_service_type};
use super::known::{Gathered, Known};
use super::question::QueryError;
use super::shape;
use super::snapshot::PolicySnapshot;
use crate::domain::{Attributes, Entity, EntityUid, Identity, Query};

impl PolicySnapshot {
    /// # Errors
    /// Names the entity that the caller should not have supplied, or supplied wrongly.
    pub(super) fn query_entities<'a>(
        &'a self,
        query: &'a Query,
        principal: &'a Identity,
        caller: &'a Identity,
    ) -> Result<Known<'a>, QueryError> {
        let mut gathered = Gathered::new(self);
        self.check_supplied(query, principal, caller)?;
        for identity in principal.chain() {
            gathered.identity(identity, &query.entities)?;
        }
        if self.wants_caller_entity(&query.action) {
            gathered.identity(caller, &query.entities)?;
        }
        for (position, entity) in query.entities.iter().enumerate() {
            gathered.supplied(position, entity)?;
        }
        gathered.open.extend([&query.resource, &query.action]);
        query.context.values().chain(query.environment.values()).for_each(|value| {
            each_entity(value, &mut |uid| gathered.open.push(uid));
        });
        gathered.action(&query.action);
        let is_closed = query.entities.is_empty();
        let principals = is_closed.then(|| self.uids(principal.chain().chain(caller.chain())));
        Known::new(gathered, principals).ok_or_else(|| match is_closed {
            true => QueryError::new("principal", "is not a usable entity"),
            false => cycle(&query.entities),
        })
    }

    /// The entities of a question about the service itself.
    pub(super) fn guard_entities<'a>(
        &'a self,
        caller: &'a Identity,
        action: &EntityUid,
        resource: &'a EntityUid,
        approval: Option<Option<cedar::Entity>>,
    ) -> Option<Known<'a>> {
        let mut gathered = Gathered::new(self);
        gathered.open.push(resource);
        gathered.identity(caller, &[]).ok()?;
        if let Some(approval) = approval {
            gathered.out.push(Closed::new(&approval?));
        }
        gathered.action(action);
        Known::new(gathered, Some(self.uids(std::iter::once(caller))))
    }

    fn uids<'i>(&self, identities: impl Iterator<Item = &'i Identity>) -> Vec<cedar::EntityUid> {
        // One of a type that the schema does not know is no entity, and nothing can be in it.
        identities.filter_map(|identity| self.types().uid(&identity.uid).ok()).collect()
    }

    fn check_supplied(&self, query: &Query, principal: &Identity, caller: &Identity) -> Result<(), QueryError> {
        if query.entities.is_empty() {
            return Ok(());
        }
        // Who somebody is comes from the token and the server, never from the caller: neither a principal nor a group
        // that it is in may be put into another group.
        let people = principal.chain().chain(caller.chain());
        let standing: HashSet<_> = people.flat_map(|identity| self.facts.standing(identity)).collect();
        let mut seen = HashSet::new();
        for (position, entity) in query.entities.iter().enumerate() {
            let refused =
                |part: &str, message: &str| Err(QueryError::new(format!("entities[{position}]{part}"), message));
            if is_service_type(&entity.uid.type_name) || is_action_type(&entity.uid.type_name) {
                return refused(".uid", "entities of the service and actions cannot be supplied");
            }
            if !seen.insert(&entity.uid) {
                return refused(".uid", "the entity is supplied twice");
            }
            if standing.contains(&entity.uid) && !entity.parents.is_empty() {
                return refused(".parents", "the groups of a principal come from its token only");
            }
        }
        self.check_against_schema(&query.entities)
    }

    pub(super) fn check_against_schema(&self, supplied: &[Entity]) -> Result<(), QueryError> {
        let Some(schema) = self.enforced_schema() else { return Ok(()) };
        let fits = |entities: &[cedar::Entity]| {
            cedar::Entities::from_entities(entities.iter().cloned(), Some(&schema.cedar)).is_ok()
        };
        let converted = supplied.iter().enumerate().map(|(position, entity)| self.convert(position, entity));
        let converted = converted.collect::<Result<Vec<_>, _>>()?;
        if fits(&converted) {
            return Ok(());
        }
        // One by one, for the name of the field.
        let is_own_parent = |entity: &Entity| entity.parents.contains(&entity.uid);
        let wrong = supplied
            .iter()
            .zip(&converted)
            .position(|(entity, converted)| !is_own_parent(entity) && !fits(std::slice::from_ref(converted)));
        let explained = wrong.and_then(|position| Some(self.blame(position, supplied.get(position)?)));
        Err(explained.unwrap_or_else(|| cycle(supplied)))
    }

    /// Which part of a supplied entity departs from the schema.
    fn blame(&self, position: usize, entity: &Entity) -> QueryError {
        let at = |part: &str| format!("entities[{position}]{part}");
        let shape = self.schema.as_ref().and_then(|schema| schema.shapes.entities.get(&entity.uid.type_name));
        let attribute = shape.and_then(|shape| shape::mismatch(&shape.attributes, &entity.attributes));
        if let Some(wrong) = attribute {
            return QueryError::new(at(&format!(".attributes.{}", wrong.path)), wrong.message);
        }
        let tag_fault = || {
            let tags = shape?.tags.as_ref();
            entity.tags.iter().find(|(_, value)| tags.is_none_or(|tag| shape::value_mismatch(tag, value).is_some()))
        };
        if let Some((name, _)) = tag_fault() {
            let name = crate::domain::entity::Shown(name);
            return QueryError::new(at(&format!(".tags.{name}")), "does not fit the schema");
        }
        let part = if entity.parents.is_empty() { "" } else { ".parents" };
        QueryError::new(at(part), "does not fit the schema")
    }

    /// One supplied entity as Cedar's.
    pub(super) fn convert(&self, position: usize, entity: &Entity) -> Result<cedar::Entity, QueryError> {
        let parents = entity.parents.iter().enumerate().map(|(at, parent)| {
            let field = || format!("entities[{position}].parents[{at}]");
            self.types().uid(parent).map_err(|unknown| QueryError::new(field(), unknown.to_string()))
        });
        let parents = parents.collect::<Result<Vec<_>, _>>()?;
        self.describe(&entity.uid, entity, parents).map_err(|fault| fault.of_entity(position))
    }

    pub(super) fn describe(
        &self,
        uid: &EntityUid,
        entity: &Entity,
        parents: Vec<cedar::EntityUid>,
    ) -> Result<cedar::Entity, Fault> {
        let uid =
            self.types().uid(uid).map_err(|unknown| Fault { part: ".uid".into(), message: unknown.to_string() })?;
        if entity.attributes.is_empty() && entity.tags.is_empty() {
            return Ok(cedar::Entity::new_no_attrs(uid, parents.into_iter().collect()));
        }
        let attributes = self.fields(".attributes", &entity.attributes)?;
        let tags = self.fields(".tags", &entity.tags)?;
        let built = cedar::Entity::new_with_tags(uid, attributes, parents, tags);
        built.map_err(|_| self.blame_extension(entity))
    }

    fn fields(&self, part: &str, fields: &Attributes) -> Result<Vec<(String, cedar::RestrictedExpression)>, Fault> {
        let convert = |(name, value): (&std::sync::Arc<str>, _)| match self.types().expression(value) {
            Ok(expression) => Ok((String::from(&**name), expression)),
            Err(unknown) => Err(Fault::of_field(part, name, unknown.to_string())),
        };
        fields.iter().map(convert).collect()
    }

    /// The only values that Cedar refuses to build are extensions with a malformed argument.
    fn blame_extension(&self, entity: &Entity) -> Fault {
        let named = [(".attributes", &entity.attributes), (".tags", &entity.tags)];
        let wrong = named.iter().find_map(|(part, fields)| Some((*part, self.malformed_field(fields)?)));
        let (part, name) = wrong.unwrap_or((".attributes", ""));
        Fault::of_field(part, name, "is malformed".to_owned())
    }

    /// The first field that Cedar cannot build.
    pub(super) fn malformed_field<'f>(&self, fields: &'f Attributes) -> Option<&'f str> {
        let is_malformed = |name: &str, value| {
            let expression = self.types().expression(value).ok()?;
            cedar::Context::from_pairs([(name.to_owned(), expression)]).err()
        };
        fields.iter().find(|(name, value)| is_malformed(name, value).is_some()).map(|(name, _)| &**name)
    }
}

/// What is wrong with an entity whose position is not known here.
pub(super) struct Fault {
    part: String,
    message: String,
}

impl Fault {
    fn of_field(part: &str, name: &str, message: String) -> Self {
        Self { part: format!("{part}.{}", crate::domain::entity::Shown(name)), message }
    }

    pub fn of_entity(self, position: usize) -> QueryError {
        QueryError::new(format!("entities[{position}]{}", self.part), self.message)
    }
}

/// The first supplied entity that is its own ancestor.
fn cycle(supplied: &[Entity]) -> QueryError {
    let known: HashMap<_, _> = supplied.iter().map(|entity| (&entity.uid, entity)).collect();
    let is_own_ancestor = |entity: &Entity| {
        let mut seen = HashSet::new();
        let mut open: Vec<_> = entity.parents.iter().collect();
        while let Some(uid) = open.pop() {
            if seen.insert(uid) {
                open.extend(known.get(uid).into_iter().flat_map(|other| &other.parents));
            }
        }
        seen.contains(&entity.uid)
    };
    let field = supplied.iter().position(is_own_ancestor).map(|at| format!("entities[{at}].parents"));
    QueryError::new(field.unwrap_or_else(|| "entities".to_owned()), "the parents form a cycle")
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ask, attributes, bot, file, identity, load, load_with, query, settings, sources, uid};
    use super::*;
    use crate::domain::{RuleVerdict, Value};

    const PERMIT: &str = "permit (principal, action, resource is Dataset) when { principal in Group::\"admins\" };";

    fn dataset(id: &str, pii: Value) -> Entity {
        Entity { attributes: attributes([("pii", pii)]), ..Entity::bare(uid("Dataset", id), vec![]) }
    }

    fn folder(id: &str, parents: &[&str]) -> Entity {
        Entity::bare(uid("Folder", id), parents.iter().map(|parent| uid("Folder", parent)).collect())
    }

    fn refused(entities: Vec<Entity>) -> String {
        let query = Query { entities, ..query(&bot(), "read", ("Dataset", "d")) };
        ask(&load(PERMIT), &query, &bot()).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn supplied_entities_are_held_against_the_schema() {
        let good = || dataset("d", Value::Bool(true));
        assert_eq!(refused(vec![good(), folder("a", &["b"])]), "");
        assert_eq!(refused(vec![good(), dataset("e", Value::Long(1))]), "entities[1].attributes.pii: expected a bool");
        let bare = Entity::bare(uid("Dataset", "e"), vec![]);
        assert_eq!(refused(vec![bare]), "entities[0].attributes.pii: is required by the schema");
        let unknown = Entity::bare(uid("Table", "e"), vec![]);
        assert_eq!(refused(vec![unknown]), "entities[0].uid: unknown entity type `Table`");
        let lost = Entity { parents: vec![uid("Shelf", "s")], ..good() };
        assert_eq!(refused(vec![lost]), "entities[0].parents[0]: unknown entity type `Shelf`");
        let misplaced = Entity { parents: vec![uid("Group", "g")], ..good() };
        assert_eq!(refused(vec![misplaced]), "entities[0].parents: does not fit the schema");
        let tagged = Entity { tags: attributes([("a", Value::Long(1))]), ..good() };
        assert_eq!(refused(vec![tagged]), "entities[0].tags.a: does not fit the schema");
    }

    #[test]
    fn a_malformed_extension_in_an_entity_is_refused_with_the_field() {
        let mut odd = dataset("d", Value::Bool(true));
        let from = Value::Extension { function: crate::domain::ExtensionFunction::Ip, argument: "1.2.3".into() };
        odd.attributes.insert("from".into(), from);
        assert_eq!(refused(vec![odd]), "entities[0].attributes.from: is malformed");
    }

    #[test]
    fn a_caller_cannot_speak_of_itself_where_policies_see_it() {
        let pep = identity("Workload", "pep", &[]);
        let entities = vec![Entity::bare(pep.uid.clone(), vec![uid("Group", "admins")])];
        let query = Query { entities, ..query(&bot(), "read", ("Dataset", "d")) };
        let found = load(PERMIT).evaluate(&query, &bot(), &pep, super::super::testing::NOW).unwrap_err();
        assert_eq!(found.field, "entities[0].parents");
    }

    #[test]
    fn an_entity_supplied_twice_is_refused() {
        let found = refused(vec![dataset("d", Value::Bool(true)), dataset("d", Value::Bool(false))]);
        assert_eq!(found, "entities[1].uid: the entity is supplied twice");
    }

    #[test]
    fn a_cycle_of_parents_is_refused() {
        assert_eq!(
            refused(vec![folder("x", &[]), folder("a", &["b"]), folder("b", &["a"])]),
            "entities[1].parents: the parents form a cycle"
        );
        assert_eq!(refused(vec![folder("a", &["a"])]), "entities[0].parents: the parents form a cycle");
    }

    #[test]
    fn the_services_entities_and_actions_cannot_be_supplied() {
        for own in [uid("Countersign::Service", "countersign"), uid("Action", "read"), uid("Other::Action", "x")] {
            let found = refused(vec![Entity::bare(own, vec![])]);
            assert_eq!(found, "entities[0].uid: entities of the service and actions cannot be supplied");
        }
    }

    #[test]
    fn a_caller_puts_no_principal_and_no_group_of_one_into_a_group() {
        let admins = || vec![uid("Group", "admins")];
        let groups_only = "entities[0].parents: the groups of a principal come from its token only";
        assert_eq!(refused(vec![Entity::bare(bot().uid, admins())]), groups_only);
        assert_eq!(refused(vec![Entity::bare(uid("Group", "agents"), admins())]), groups_only);
        let snapshot = load_with(
            PERMIT,
            r#"[{"uid":{"type":"Group","id":"agents"},"attrs":{},"parents":[{"type":"Group","id":"all"}]}]"#,
        );
        let entities = vec![Entity::bare(uid("Group", "all"), admins())];
        let query = Query { entities, ..query(&bot(), "read", ("Dataset", "d")) };
        assert_eq!(ask(&snapshot, &query, &bot()).unwrap_err().to_string(), groups_only);
    }

    #[test]
    fn what_is_in_a_principal_is_in_the_groups_that_its_token_adds() {
        let data = r#"[{"uid":{"type":"Group","id":"agents"},"attrs":{},"parents":[{"type":"Group","id":"all"}]},
            {"uid":{"type":"Agent","id":"report-bot"},"attrs":{},"parents":[]},
            {"uid":{"type":"Folder","id":"home"},"attrs":{},"parents":[{"type":"Agent","id":"report-bot"}]}]"#;
        let schema = file(
            "policies/app.cedarschema",
            "entity Group in [Group]; entity User, Agent, Workload in [Group]; entity Folder in [Agent];
             action read appliesTo { principal: [Agent], resource: [Folder] };",
        );
        for (condition, verdict) in [
            ("resource in Group::\"agents\"", RuleVerdict::Forbidden),
            ("resource in Group::\"all\"", RuleVerdict::Forbidden),
            ("principal in Group::\"all\"", RuleVerdict::Forbidden),
            ("resource in Group::\"others\"", RuleVerdict::Permitted),
        ] {
            let policies = format!(
                "permit (principal, action, resource); forbid (principal, action == Action::\"read\", resource) when {{ {condition} }};"
            );
            let mut files: Vec<_> = sources(&policies).into_iter().filter(|file| !file.name.contains("app.")).collect();
            files.extend([schema.clone(), file("policies/entities.json", data)]);
            let snapshot = PolicySnapshot::from_sources(&settings(), files).unwrap_or_else(|error| panic!("{error}"));
            let answer = ask(&snapshot, &query(&bot(), "read", ("Folder", "home")), &bot()).unwrap();
            assert_eq!(answer.verdict, verdict, "{condition}");
        }
    }

    #[test]
    fn the_servers_facts_win_over_the_callers() {
        let data = r#"[{"uid":{"type":"Dataset","id":"d"},"attrs":{"pii":true,"owner":{"__entity":{"type":"User","id":"o"}}},"parents":[]},
            {"uid":{"type":"User","id":"o"},"attrs":{},"parents":[{"type":"Group","id":"owners"}]}]"#;
        let policies = "permit (principal, action, resource is Dataset) when { !resource.pii };
            @id(\"owned\") permit (principal, action, resource is Dataset) when { resource has owner && resource.owner in Group::\"owners\" };";
        let snapshot = load_with(policies, data);
        let entities = vec![dataset("d", Value::Bool(false))];
        let query = Query { entities, ..query(&bot(), "read", ("Dataset", "d")) };
        let answer = ask(&snapshot, &query, &bot()).unwrap();
        assert_eq!(answer.determining.iter().map(ToString::to_string).collect::<Vec<_>>(), ["owned"]);
    }

    #[test]
    fn groups_come_from_the_token_and_the_server_together() {
        let data = r#"[{"uid":{"type":"Group","id":"agents"},"attrs":{},"parents":[{"type":"Group","id":"middle"}]},
            {"uid":{"type":"Group","id":"middle"},"attrs":{},"parents":[{"type":"Group","id":"admins"}]},
            {"uid":{"type":"User","id":"known"},"attrs":{},"parents":[{"type":"Group","id":"middle"}]}]"#;
        let snapshot = load_with(PERMIT, data);
        let cases = [
            (identity("Agent", "a", &["agents"]), true),
            (identity("Agent", "a", &["others"]), false),
            (identity("User", "known", &["others"]), true),
            (identity("User", "known", &[]), true),
            (identity("User", "other", &["admins"]), true),
        ];
        for (who, is_admin) in cases {
            let answer = ask(&snapshot, &query(&who, "read", ("Dataset", "d")), &who).unwrap();
            assert_eq!(answer.verdict == RuleVerdict::Permitted, is_admin, "{who:?}");
            assert_eq!(snapshot.names(&who, &[uid("Group", "x"), uid("Group", "admins")]), is_admin, "{who:?}");
        }
        let known = identity("User", "known", &[]);
        assert!(snapshot.names(&known, &[uid("User", "known")]));
        assert!(!snapshot.names(&known, &[]));
    }

    #[test]
    fn a_policy_that_looks_at_an_entity_by_name_finds_it() {
        let data = |frozen: bool| {
            format!(
                r#"[{{"uid":{{"type":"Dataset","id":"switch"}},"attrs":{{"pii":{frozen}}},"parents":[{{"type":"Folder","id":"switches"}}]}}]"#
            )
        };
        let policies = [
            "permit (principal, action, resource is Dataset);",
            "forbid (principal, action, resource is Dataset) when { Dataset::\"switch\".pii };",
        ];
        let in_folder =
            "forbid (principal, action, resource is Dataset) when { Dataset::\"switch\" in Folder::\"switches\" };";
        let verdict = |policies: &str, frozen| {
            let snapshot = load_with(policies, &data(frozen));
            let answer = ask(&snapshot, &query(&bot(), "read", ("Dataset", "d")), &bot()).unwrap();
            assert_eq!(answer.errors, [], "{policies}");
            answer.verdict
        };
        assert_eq!(verdict(&policies.concat(), true), RuleVerdict::Forbidden);
        assert_eq!(verdict(&policies.concat(), false), RuleVerdict::Permitted);
        assert_eq!(verdict(&[policies[0], in_folder].concat(), false), RuleVerdict::Forbidden);
    }

    #[test]
    fn the_caller_may_describe_a_principal_that_the_server_does_not_know() {
        let mut files = super::super::testing::schemas();
        let schema = files[0].text.replace("entity Agent in [Group];", "entity Agent in [Group] = { level: Long };");
        files[0].text = schema.into();
        files.push(super::super::testing::file(
            "policies/p.cedar",
            "permit (principal is Agent, action, resource is Dataset) when { principal.level > 3 };",
        ));
        let snapshot = PolicySnapshot::from_sources(&super::super::testing::settings(), files).unwrap();
        let described =
            Entity { attributes: attributes([("level", Value::Long(5))]), ..Entity::bare(bot().uid, vec![]) };
        let query = Query { entities: vec![described], ..query(&bot(), "read", ("Dataset", "d")) };
        assert_eq!(ask(&snapshot, &query, &bot()).unwrap().verdict, RuleVerdict::Permitted);
    }
}
