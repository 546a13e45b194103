//! What the engine's tests share: the example policies, people, and small sets of policies in memory.

use crate::domain::{Attributes, EntityUid, Evaluation, Identity, Query, Timestamp, Value};

use super::{PolicySnapshot, QueryError, Settings, SourceFile};

pub const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_123_000);

/// The service's part of the schema.
pub const SERVICE_SCHEMA: &str = include_str!("../../policies/countersign.cedarschema");

/// A small world.
pub const APP_SCHEMA: &str = "
    entity Group in [Group]; entity User in [Group]; entity Agent in [Group]; entity Workload in [Group];
    entity Dataset in [Folder] = { pii: Bool, rows?: Long, owner?: User, from?: ipaddr };
    entity Folder in [Folder];
    action read, export appliesTo {
        principal: [User, Agent, Workload], resource: [Dataset],
        context: { rows?: Long, note?: String, from?: ipaddr, who?: User, tags?: Set<String>, nested?: { deep: Bool } }
    };
    action look in [looking] appliesTo {
        principal: [User, Agent], resource: [Dataset],
        context: {
            environment?: { address?: ipaddr, session?: String },
            server: { now: datetime, caller: String, on_behalf_of?: User }
        }
    };
    action looking;";

pub fn settings() -> Settings {
    // Most tests are about rules, or about gates that nobody opens.
    Settings { allow_unreviewable_gates: true, ..Settings::new("policies") }
}

/// The example policies as they are shipped.
pub fn example() -> PolicySnapshot {
    PolicySnapshot::load(&Settings::new(concat!(env!("CARGO_MANIFEST_DIR"), "/policies"))).unwrap()
}

pub fn file(name: &str, text: &str) -> SourceFile {
    SourceFile::in_memory(name, text).unwrap()
}

pub fn schemas() -> Vec<SourceFile> {
    vec![file("policies/app.cedarschema", APP_SCHEMA), file("policies/countersign.cedarschema", SERVICE_SCHEMA)]
}

/// Policies in `policies/p.cedar` with the small world's schema.
pub fn sources(policies: &str) -> Vec<SourceFile> {
    let mut files = schemas();
    files.push(file("policies/p.cedar", policies));
    files
}

pub fn try_load(policies: &str) -> Result<PolicySnapshot, super::LoadError> {
    PolicySnapshot::from_sources(&settings(), sources(policies))
}

pub fn load(policies: &str) -> PolicySnapshot {
    try_load(policies).unwrap_or_else(|error| panic!("{error}"))
}

/// The set with server data.
pub fn load_with(policies: &str, entities: &str) -> PolicySnapshot {
    let mut files = sources(policies);
    files.push(file("policies/entities.json", entities));
    PolicySnapshot::from_sources(&settings(), files).unwrap_or_else(|error| panic!("{error}"))
}

/// What a set is refused with.
pub fn refusal(policies: &str) -> String {
    try_load(policies).err().map(|error| error.to_string()).unwrap_or_default()
}

pub fn uid(type_name: &str, id: &str) -> EntityUid {
    EntityUid::new(type_name, id)
}

pub fn identity(type_name: &str, id: &str, groups: &[&str]) -> Identity {
    Identity::imagined(type_name, id, groups)
}

pub fn bot() -> Identity {
    identity("Agent", "report-bot", &["agents"])
}

/// A query by `principal` on a data set.
pub fn query(principal: &Identity, action: &str, resource: (&str, &str)) -> Query {
    Query {
        principal: principal.uid.clone(),
        on_behalf_of: principal.on_behalf_of.as_ref().map(|person| person.uid.clone()),
        action: uid("Action", action),
        resource: uid(resource.0, resource.1),
        context: Attributes::new(),
        environment: Attributes::new(),
        entities: Vec::new(),
    }
}

pub fn attributes<const N: usize>(fields: [(&str, Value); N]) -> Attributes {
    fields.into_iter().map(|(name, value)| (name.into(), value)).collect()
}

pub fn ask(snapshot: &PolicySnapshot, query: &Query, principal: &Identity) -> Result<Evaluation, QueryError> {
    snapshot.evaluate(query, principal, principal, NOW)
}

/// The ids of the determining policies and of the gates that fired.
pub fn ids(evaluation: &Evaluation) -> (Vec<String>, Vec<String>) {
    let determining = evaluation.determining.iter().map(ToString::to_string).collect();
    let gates = evaluation.requirement.iter().flat_map(|requirement| requirement.gates());
    (determining, gates.map(|gate| gate.id.to_string()).collect())
}
