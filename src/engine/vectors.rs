//! Cedar's own integration tests through a snapshot: the same decision, the same reasons, the same errors as Cedar's
//! authors expect. The vectors are read from `VECTORS_DIR` (default `../shared/vectors`) and may be absent.

use std::collections::BTreeSet;
use std::path::PathBuf;

use cedar_policy as cedar;
use serde_json::Value as Json;

use super::settings::{OnError, Reading, Settings};
use super::testing::{NOW, identity};
use super::{PolicySnapshot, SourceFile};
use crate::domain::{Attributes, EntityUid, Evaluation, ExtensionFunction, Query, RuleVerdict, Value};

fn settings() -> Settings {
    Settings {
        on_error: OnError::Cedar,
        reading: Reading::Cedar,
        allow_missing_schema: true,
        allow_empty: true,
        ..Settings::new("vectors")
    }
}

fn uid(json: &Json) -> EntityUid {
    EntityUid::new(json["type"].as_str().unwrap(), json["id"].as_str().unwrap())
}

/// Cedar's reading of a context, as ours.
fn value(result: &cedar::EvalResult) -> Value {
    match result {
        cedar::EvalResult::Bool(value) => Value::Bool(*value),
        cedar::EvalResult::Long(value) => Value::Long(*value),
        cedar::EvalResult::String(value) => Value::string(value),
        cedar::EvalResult::EntityUid(uid) => Value::Entity(super::convert::domain_uid(uid)),
        cedar::EvalResult::Set(set) => Value::Set(set.iter().map(value).collect()),
        cedar::EvalResult::Record(record) => {
            Value::Record(record.iter().map(|(name, field)| (name.as_str().into(), value(field))).collect())
        }
        cedar::EvalResult::ExtensionValue(text) => {
            let (function, rest) = text.split_once("(\"").unwrap_or_else(|| panic!("{text}"));
            let argument = rest.strip_suffix("\")").unwrap_or_else(|| panic!("{text}"));
            let function = ExtensionFunction::named(function).unwrap_or_else(|| panic!("{text}"));
            Value::Extension { function, argument: argument.into() }
        }
    }
}

fn context(request: &Json, schema: Option<&cedar::Schema>) -> Attributes {
    let action = super::convert::Types::open().uid(&uid(&request["action"])).unwrap();
    let schema = schema.map(|schema| (schema, &action));
    let read = |schema| cedar::Context::from_json_value(request["context"].clone(), schema).ok();
    let context = read(schema).or_else(|| read(None)).unwrap();
    let names: BTreeSet<_> = request["context"].as_object().unwrap().keys().collect();
    names.iter().map(|name| (name.as_str().into(), value(&context.get(name).unwrap()))).collect()
}

/// The answer in the words of the vectors.
fn told(answer: &Evaluation) -> (&'static str, BTreeSet<String>, BTreeSet<String>) {
    let decision = if answer.verdict == RuleVerdict::Permitted { "allow" } else { "deny" };
    let reasons = answer.determining.iter().map(|id| id.0.to_string()).collect();
    (decision, reasons, answer.errors.iter().map(|error| error.policy.0.to_string()).collect())
}

fn texts(json: &Json) -> BTreeSet<String> {
    json.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// Runs one line; returns how many requests were compared, and what differed.
fn run(line: &Json) -> Result<usize, String> {
    let mut files = vec![SourceFile::in_memory("p.cedar", line["policies"].as_str().unwrap()).unwrap()];
    let schema_text = line["schema"].as_str();
    files.extend(schema_text.and_then(|text| SourceFile::in_memory("s.cedarschema", text)));
    files.extend(SourceFile::in_memory("entities.json", &line["entities"].to_string()));
    let snapshot = PolicySnapshot::from_sources(&settings(), files).map_err(|error| error.to_string())?;
    let schema = schema_text.and_then(|text| cedar::Schema::from_cedarschema_str(text).ok()).map(|(schema, _)| schema);
    let requests = line["requests"].as_array().unwrap();
    for request in requests {
        let principal = uid(&request["principal"]);
        let identity = identity(&principal.type_name, &principal.id, &[]);
        let query = Query {
            principal,
            on_behalf_of: None,
            action: uid(&request["action"]),
            resource: uid(&request["resource"]),
            context: context(request, schema.as_ref()),
            environment: Attributes::new(),
            entities: Vec::new(),
        };
        let answer = snapshot.evaluate(&query, &identity, &identity, NOW).map_err(|error| error.to_string())?;
        let (decision, reasons, errors) = told(&answer);
        let same_reasons = request.get("reason").is_none_or(|expected| texts(expected) == reasons);
        let same_errors = request.get("errors").is_none_or(|expected| texts(expected) == errors);
        if request["decision"].as_str() != Some(decision) || !same_reasons || !same_errors {
            return Err(format!("{}: {decision} {reasons:?} {errors:?}", request["description"]));
        }
    }
    Ok(requests.len())
}

#[test]
fn cedars_own_vectors_pass() {
    let dir = std::env::var_os("VECTORS_DIR")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/vectors")), PathBuf::from);
    for name in ["handwritten.jsonl", "corpus_sample.jsonl"] {
        let path = dir.join("cedar").join(name);
        let Ok(text) = std::fs::read_to_string(&path) else {
            println!("vectors absent, nothing compared: {}", path.display());
            continue;
        };
        let lines: Vec<Json> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let results: Vec<_> =
            lines.iter().map(|line| run(line).map_err(|error| format!("{}: {error}", line["id"]))).collect();
        let failures: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
        let compared: usize = results.iter().flatten().sum();
        println!("{name}: {} sets, {compared} requests the same", lines.len());
        assert!(failures.is_empty(), "{} of {} differ:\n{failures:#?}", failures.len(), lines.len());
    }
}
