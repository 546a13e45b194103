//! Entities put over the API, beside those of the files: another snapshot, without reading a policy again.
//!
//! They are the server's own facts like the files' and win over what a caller says. A file and the API never speak of the
//! same entity: whoever came second is refused, so that nobody has to know which of them wins.

use std::collections::HashSet;
use std::sync::Arc;

use super::facts::{Fact, is_action_type, is_service_type};
use super::problem::{LoadError, Problem};
use super::question::QueryError;
use super::snapshot::{PolicySnapshot, next_serial};
use crate::domain::{Absence, Entity, EntityData, EntityUid, change_entities, is_kept_for_the_service};

impl PolicySnapshot {
    /// The entities that were put, by name.
    #[must_use]
    pub fn put_entities(&self) -> &Arc<EntityData> {
        &self.put
    }

    /// Who is away, was, or will be, and who stands in.
    #[must_use]
    pub fn absences(&self) -> &[Absence] {
        &self.absences
    }

    /// The same policies, with these entities put and those gone.
    ///
    /// # Errors
    /// Names the entity, as `entities[<position>]`, that may not be put or does not fit the schema.
    pub fn with_entities(&self, put: &[Arc<Entity>], gone: &[EntityUid]) -> Result<Self, QueryError> {
        // Not facts of policies: the service's own, kept beside them.
        let is_own = |uid: &EntityUid| is_kept_for_the_service(&uid.type_name);
        let (all_put, all_gone) = (put, gone);
        let put: Vec<_> = put.iter().filter(|entity| !is_own(&entity.uid)).cloned().collect();
        let gone: Vec<_> = gone.iter().filter(|uid| !is_own(uid)).cloned().collect();
        let (put, gone) = (&*put, &*gone);
        let mut seen = HashSet::new();
        for (position, entity) in put.iter().enumerate() {
            if !seen.insert(&entity.uid) {
                return Err(refused(position, "the entity is put twice"));
            }
            self.may_be_put(position, &entity.uid)?;
        }
        let plain: Vec<Entity> = put.iter().map(|entity| Entity::clone(entity)).collect();
        self.check_against_schema(&plain)?;
        let facts = plain
            .iter()
            .enumerate()
            .map(|(position, entity)| Ok((entity.uid.clone(), Fact::of(&self.convert(position, entity)?))));
        let facts = facts.collect::<Result<Vec<_>, QueryError>>()?;
        self.facts
            .check_size_with(&facts, gone, &self.settings.limits)
            .map_err(|message| QueryError::new("entities", message))?;
        let facts = self.facts.changed(facts, gone).map_err(|uid| {
            let position = put.iter().position(|entity| entity.uid == uid);
            let field = position.map_or_else(|| "entities".to_owned(), |at| format!("entities[{at}].parents"));
            QueryError::new(field, "the parents form a cycle")
        })?;
        let mut data = EntityData::clone(&self.put);
        change_entities(&mut data, all_put, all_gone);
        let absences = data.values().filter(|entity| is_own(&entity.uid)).filter_map(|entity| Absence::parse(entity));
        let absences = absences.collect();
        Ok(Self { facts: Arc::new(facts), put: Arc::new(data), absences, serial: next_serial(), ..self.clone() })
    }

    fn may_be_put(&self, position: usize, uid: &EntityUid) -> Result<(), QueryError> {
        if is_service_type(&uid.type_name) || is_action_type(&uid.type_name) {
            return Err(refused(position, "entities of the service and actions cannot be put"));
        }
        if self.is_of_a_file(uid) {
            return Err(refused(position, "a file of the policies defines this entity; change it there"));
        }
        Ok(())
    }

    /// Whether a file of the policies defines this entity.
    #[must_use]
    pub fn is_of_a_file(&self, uid: &EntityUid) -> bool {
        !self.put.contains_key(uid) && self.facts.get(uid).is_some()
    }

    /// The same policies with exactly these entities put, and no others.
    ///
    /// # Errors
    /// What was put does not fit these policies: the set is as good as broken.
    pub fn with_data(&self, data: &Arc<EntityData>) -> Result<Self, LoadError> {
        let is_same = |entity: &&Arc<Entity>| self.put.get(&entity.uid).is_some_and(|old| Arc::ptr_eq(old, entity));
        let put: Vec<_> = data.values().filter(|entity| !is_same(entity)).cloned().collect();
        let gone: Vec<_> = self.put.keys().filter(|uid| !data.contains_key(*uid)).cloned().collect();
        if put.is_empty() && gone.is_empty() {
            return Ok(self.clone());
        }
        self.with_entities(&put, &gone).map_err(|error| self.misfit(&put, &error))
    }

    fn misfit(&self, put: &[Arc<Entity>], error: &QueryError) -> LoadError {
        let position = error.field.strip_prefix("entities[").and_then(|rest| rest.split_once(']'));
        let entity = position.and_then(|(position, _)| put.get(position.parse::<usize>().ok()?));
        let of = entity.map_or_else(String::new, |entity| format!(" `{}`", entity.uid));
        let part = position.map_or("", |(_, part)| part);
        let message = format!("does not fit the entity{of} that was put over the API: {part}: {}", error.message);
        let help = "delete the entity or put it anew under the policies that it fits, then change these";
        let dir = self.settings.dir.to_string_lossy().into();
        LoadError { problems: vec![Problem::in_file(&dir, message).with_help(Some(help.to_owned()))] }
    }
}

fn refused(position: usize, message: &str) -> QueryError {
    QueryError::new(format!("entities[{position}].uid"), message)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ask, attributes, bot, file, identity, load, load_with, query, settings, sources, uid};
    use super::*;
    use crate::domain::{RuleVerdict, Value};

    const PERMIT: &str = "permit (principal, action, resource is Dataset) when { principal in Group::\"admins\" };";

    fn group(id: &str, parents: &[&str]) -> Arc<Entity> {
        Arc::new(Entity::bare(uid("Group", id), parents.iter().map(|parent| uid("Group", parent)).collect()))
    }

    fn refusal(snapshot: &PolicySnapshot, put: &[Arc<Entity>]) -> String {
        snapshot.with_entities(put, &[]).err().map(|error| error.to_string()).unwrap_or_default()
    }

    fn may(snapshot: &PolicySnapshot, groups: &[&str]) -> bool {
        let who = identity("Agent", "a", groups);
        ask(snapshot, &query(&who, "read", ("Dataset", "d")), &who).unwrap().verdict == RuleVerdict::Permitted
    }

    #[test]
    fn an_entity_that_is_put_counts_from_then_on_and_one_that_is_deleted_no_more() {
        let before = load(PERMIT);
        let put = before.with_entities(&[group("agents", &["middle"]), group("middle", &["admins"])], &[]).unwrap();
        assert!(!may(&before, &["agents"]) && may(&put, &["agents"]));
        let cut = put.with_entities(&[group("middle", &["others"])], &[]).unwrap();
        assert!(may(&put, &["agents"]) && !may(&cut, &["agents"]));
        let gone = put.with_entities(&[], &[uid("Group", "agents")]).unwrap();
        assert!(!may(&gone, &["agents"]) && may(&gone, &["middle"]));
        assert_eq!((put.digest(), put.put_entities().len(), gone.put_entities().len()), (before.digest(), 2, 1));
    }

    #[test]
    fn the_same_policies_with_other_entities_are_told_apart_at_one_revision_too() {
        let before = load(PERMIT).at(7);
        let put = before.with_entities(&[group("agents", &["admins"])], &[]).unwrap().at(7);
        assert_eq!((before.digest(), before.revision()), (put.digest(), put.revision()));
        assert_ne!(before.serial(), put.serial(), "what is remembered of one does not hold for the other");
        assert_eq!(before.serial(), before.with_data(before.put_entities()).unwrap().at(8).serial());
    }

    #[test]
    fn what_stands_below_an_entity_follows_it_whether_a_file_or_the_api_told_of_it() {
        let data = r#"[{"uid":{"type":"Folder","id":"a"},"attrs":{},"parents":[{"type":"Folder","id":"b"}]},
            {"uid":{"type":"Dataset","id":"d"},"attrs":{"pii":false},"parents":[{"type":"Folder","id":"a"}]}]"#;
        let forbid = "permit (principal, action, resource is Dataset);
            forbid (principal, action, resource is Dataset) when { resource in Folder::\"secret\" };";
        let before = load_with(forbid, data);
        let folder = |id: &str, parent: &str| Arc::new(Entity::bare(uid("Folder", id), vec![uid("Folder", parent)]));
        let verdict = |snapshot: &PolicySnapshot| {
            ask(snapshot, &query(&bot(), "read", ("Dataset", "d")), &bot()).unwrap().verdict
        };
        let put = before.with_entities(&[folder("b", "c"), folder("c", "secret")], &[]).unwrap();
        assert_eq!((verdict(&before), verdict(&put)), (RuleVerdict::Permitted, RuleVerdict::Forbidden));
        let gone = put.with_entities(&[], &[uid("Folder", "c")]).unwrap();
        assert_eq!(verdict(&gone), RuleVerdict::Permitted);
        let again = gone.with_data(put.put_entities()).unwrap();
        assert_eq!(verdict(&again), RuleVerdict::Forbidden);
    }

    #[test]
    fn a_hierarchy_without_end_cannot_be_put_in_small_steps() {
        let step = |n: usize| group(&n.to_string(), &[&(n + 1).to_string()]);
        let mut snapshot = load(PERMIT);
        let refused = (0..1_000).find_map(|n| match snapshot.with_entities(&[step(n)], &[]) {
            Ok(next) => {
                snapshot = next;
                None
            }
            Err(error) => Some((n, error.to_string())),
        });
        let (n, message) = refused.unwrap();
        assert!(n < 100 && message.starts_with("entities: the hierarchy is deeper than"), "{n}: {message}");
    }

    #[test]
    fn what_may_not_be_put_is_refused_with_its_place() {
        let snapshot = load_with(PERMIT, r#"[{"uid":{"type":"Group","id":"of-file"},"attrs":{},"parents":[]}]"#);
        let refused = |put: &[Arc<Entity>]| refusal(&snapshot, put);
        let bare = |type_name, id| Arc::new(Entity::bare(uid(type_name, id), vec![]));
        assert_eq!(refused(&[group("a", &[])]), "");
        let of_file = "entities[1].uid: a file of the policies defines this entity; change it there";
        assert_eq!(refused(&[group("a", &[]), group("of-file", &[])]), of_file);
        for own in [("Countersign::Service", "countersign"), ("Action", "read")] {
            let own = refused(&[bare(own.0, own.1)]);
            assert_eq!(own, "entities[0].uid: entities of the service and actions cannot be put");
        }
        assert_eq!(refused(&[group("a", &[]), group("a", &[])]), "entities[1].uid: the entity is put twice");
        assert_eq!(refused(&[bare("Table", "t")]), "entities[0].uid: unknown entity type `Table`");
        assert_eq!(refused(&[bare("Dataset", "d")]), "entities[0].attributes.pii: is required by the schema");
        let cycle = [group("a", &["b"]), group("b", &["a"])];
        assert_eq!(refused(&cycle), "entities[0].parents: the parents form a cycle");
        let half = snapshot.with_entities(&cycle[..1], &[]).unwrap();
        assert_eq!(refusal(&half, &cycle[1..]), "entities[0].parents: the parents form a cycle");
    }

    #[test]
    fn policies_that_what_was_put_does_not_fit_are_refused() {
        let told = Entity {
            attributes: attributes([("pii", Value::Bool(true))]),
            ..Entity::bare(uid("Dataset", "d"), vec![])
        };
        let put = load(PERMIT).with_entities(&[Arc::new(told)], &[]).unwrap();
        let data = put.put_entities();
        assert!(load(PERMIT).with_data(data).is_ok());
        let by_file = load_with(PERMIT, r#"[{"uid":{"type":"Dataset","id":"d"},"attrs":{"pii":false},"parents":[]}]"#);
        let found = by_file.with_data(data).unwrap_err().to_string();
        assert!(found.contains("`Dataset::\"d\"`") && found.contains("a file of the policies defines"), "{found}");
        let mut files = sources(PERMIT);
        files[0].text = files[0].text.replace("pii: Bool", "pii: String").into();
        let other = PolicySnapshot::from_sources(&settings(), files).unwrap();
        let found = other.with_data(data).unwrap_err().to_string();
        assert!(found.contains("`Dataset::\"d\"`") && found.contains("expected a string"), "{found}");
    }

    #[test]
    fn several_files_are_one_hierarchy_and_never_speak_of_the_same_entity() {
        let with = |first: &str, second: &str| {
            let mut files = sources(PERMIT);
            files.push(file("policies/entities.json", first));
            files.push(file("policies/hr.entities.json", second));
            PolicySnapshot::from_sources(&settings(), files)
        };
        let of = |id: &str, parent: &str| {
            format!(
                r#"[{{"uid":{{"type":"Group","id":"{id}"}},"attrs":{{}},"parents":[{{"type":"Group","id":"{parent}"}}]}}]"#
            )
        };
        assert!(may(&with(&of("agents", "middle"), &of("middle", "admins")).unwrap(), &["agents"]));
        let twice = with(&of("agents", "a"), &of("agents", "b")).unwrap_err().to_string();
        let expected = "policies/hr.entities.json:1: `Group::\"agents\"` is defined in policies/entities.json already";
        assert_eq!(twice, expected);
        let cycle = with(&of("a", "b"), &of("b", "a")).unwrap_err().to_string();
        assert!(cycle.starts_with("policies/hr.entities.json:1: the parents of "), "{cycle}");
    }
}
