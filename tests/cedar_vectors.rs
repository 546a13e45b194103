//! Cedar's own integration tests over the API: under `policy.on_error = "cedar"` the same decision, the same reasons and the
//! same errors as Cedar's authors expect, for principals whom a trusted caller names. The vectors are read from
//! `VECTORS_DIR` (default `../shared/vectors`) and may be absent; then the test says so.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;

use cedar_policy as cedar;
use countersign::engine::OnError;
use countersign::wire::pb;
use pb::value::{Extension, Kind, Record, Set};
use serde_json::Value as Json;

use crate::support::actors::{gateway, person};
use crate::support::{Admin, Client, Options, PolicyDir, TestServer};

/// What guards the service beside each set of vectors: these two, and nobody else.
const GUARDS: &str = r#"
permit (
  principal == Workload::"gateway",
  action in [Countersign::Action::"authorize", Countersign::Action::"authorize_as"],
  resource
);
permit (principal == User::"root", action == Countersign::Action::"administer", resource);"#;

/// One server; its policies, schema and entities are exchanged for those of each set.
struct Conformance {
    policies: PolicyDir,
    admin: Admin,
    caller: Client,
    _server: TestServer,
}

impl Conformance {
    async fn start() -> Self {
        let policies = PolicyDir::empty();
        policies.write("service.cedar", GUARDS);
        let loading = |settings: &mut countersign::engine::Settings| {
            settings.on_error = OnError::Cedar;
            settings.allow_missing_schema = true;
            settings.allow_empty = true;
        };
        let options = Options { policies: policies.path().into(), loading, ..Options::default() };
        let server = TestServer::with(options).await;
        let (admin, caller) = (server.admin().await, server.client_of(&gateway()).await);
        Self { policies, admin, caller, _server: server }
    }

    /// Runs one set; returns how many requests were compared, or what differed.
    async fn run(&self, set: &Json) -> Result<usize, String> {
        self.load(set).await?;
        let schema = set["schema"].as_str().and_then(|text| cedar::Schema::from_cedarschema_str(text).ok());
        let schema = schema.map(|(schema, _)| schema);
        let requests = set["requests"].as_array().unwrap();
        for request in requests {
            let query = pb::AuthorizeRequest {
                principal: Some(uid(&request["principal"])),
                action: Some(uid(&request["action"])),
                resource: Some(uid(&request["resource"])),
                context: context(request, schema.as_ref()),
                ..pb::AuthorizeRequest::default()
            };
            let answer = self.caller.authorize(query).await.map_err(|status| status.to_string())?;
            compare(request, &answer)?;
        }
        Ok(requests.len())
    }

    async fn load(&self, set: &Json) -> Result<(), String> {
        self.policies.write("p.cedar", set["policies"].as_str().unwrap());
        // A schema without a text is no schema.
        self.policies.write("s.cedarschema", set["schema"].as_str().unwrap_or_default());
        if set["schema"].is_null() {
            self.policies.remove("s.cedarschema");
        }
        self.policies.write("entities.json", &set["entities"].to_string());
        let answer = self.admin.reload().await.map_err(|status| status.to_string())?;
        match answer.result() {
            pb::ReloadResult::Loaded | pb::ReloadResult::Unchanged => Ok(()),
            pb::ReloadResult::Refused | pb::ReloadResult::Unspecified => Err(answer.problems.join("; ")),
        }
    }
}

fn compare(request: &Json, answer: &pb::AuthorizeResponse) -> Result<(), String> {
    let decision = match answer.outcome() {
        pb::Outcome::Allow => "allow",
        pb::Outcome::Deny => "deny",
        pb::Outcome::Pending | pb::Outcome::Unspecified => "neither",
    };
    let reasons: BTreeSet<_> = answer.determining_policies.iter().cloned().collect();
    let errors: BTreeSet<_> = answer.errors.iter().map(|error| error.policy.clone()).collect();
    let is_same = request["decision"].as_str() == Some(decision)
        && request.get("reason").is_none_or(|expected| texts(expected) == reasons)
        && request.get("errors").is_none_or(|expected| texts(expected) == errors);
    if is_same { Ok(()) } else { Err(format!("{}: {decision} {reasons:?} {errors:?}", request["description"])) }
}

fn texts(json: &Json) -> BTreeSet<String> {
    json.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn uid(json: &Json) -> pb::EntityUid {
    crate::support::client::uid(json["type"].as_str().unwrap(), json["id"].as_str().unwrap())
}

/// A context as Cedar reads it, in the words of the API.
fn context(request: &Json, schema: Option<&cedar::Schema>) -> BTreeMap<String, pb::Value> {
    let action = cedar::EntityUid::from_json(request["action"].clone()).unwrap();
    let schema = schema.map(|schema| (schema, &action));
    let read = |schema| cedar::Context::from_json_value(request["context"].clone(), schema).ok();
    let context = read(schema).or_else(|| read(None)).unwrap();
    let names = request["context"].as_object().unwrap().keys();
    names.map(|name| (name.clone(), value(&context.get(name).unwrap()))).collect()
}

fn value(result: &cedar::EvalResult) -> pb::Value {
    let kind = match result {
        cedar::EvalResult::Bool(value) => Kind::Bool(*value),
        cedar::EvalResult::Long(value) => Kind::Long(*value),
        cedar::EvalResult::String(value) => Kind::String(value.clone()),
        cedar::EvalResult::EntityUid(uid) => {
            Kind::Entity(crate::support::client::uid(&uid.type_name().to_string(), uid.id().unescaped()))
        }
        cedar::EvalResult::Set(set) => Kind::Set(Set { values: set.iter().map(value).collect() }),
        cedar::EvalResult::Record(record) => Kind::Record(Record {
            fields: record.iter().map(|(name, field)| (name.to_string(), value(field))).collect(),
        }),
        cedar::EvalResult::ExtensionValue(text) => {
            let (function, rest) = text.split_once("(\"").unwrap_or_else(|| panic!("{text}"));
            let argument = rest.strip_suffix("\")").unwrap_or_else(|| panic!("{text}"));
            Kind::Extension(Extension { function: function.to_owned(), argument: argument.to_owned() })
        }
    };
    pb::Value { kind: Some(kind) }
}

#[tokio::test(flavor = "multi_thread")]
async fn cedars_own_vectors_pass_through_the_api() {
    let dir = std::env::var_os("VECTORS_DIR")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/vectors")), PathBuf::from);
    let mut conformance = None;
    for name in ["handwritten.jsonl", "corpus_sample.jsonl"] {
        let path = dir.join("cedar").join(name);
        let Ok(text) = std::fs::read_to_string(&path) else {
            // Not captured: a run that compared nothing says so.
            let _ = writeln!(std::io::stderr(), "vectors absent, nothing compared: {}", path.display());
            continue;
        };
        if conformance.is_none() {
            conformance = Some(Conformance::start().await);
        }
        let server = conformance.as_ref().unwrap();
        let (mut sets, mut compared, mut failures) = (0, 0, Vec::new());
        for line in text.lines() {
            let set: Json = serde_json::from_str(line).unwrap();
            sets += 1;
            match server.run(&set).await {
                Ok(requests) => compared += requests,
                Err(error) => failures.push(format!("{}: {error}", set["id"])),
            }
        }
        println!("{name}: {sets} sets, {compared} requests the same through the API");
        assert!(failures.is_empty(), "{} of {sets} differ:\n{failures:#?}", failures.len());
    }
}

/// Whoever the vectors' own policies permit everything is not thereby let in: these guard the service, and only these.
#[tokio::test(flavor = "multi_thread")]
async fn under_cedars_reading_policies_do_not_open_the_service() {
    let policies = PolicyDir::empty();
    policies.write("service.cedar", GUARDS);
    policies.write("p.cedar", "permit (principal, action, resource);");
    let loading = |settings: &mut countersign::engine::Settings| {
        settings.on_error = OnError::Cedar;
        settings.allow_missing_schema = true;
    };
    let server = TestServer::with(Options { policies: policies.path().into(), loading, ..Options::default() }).await;
    let stranger = server.client_of(&person("stranger", &["admins"])).await;
    let refused = stranger.authorize(crate::support::client::query("read", "Dataset", "weather")).await.unwrap_err();
    assert_eq!(crate::support::client::reason(&refused), "not_permitted");
}
