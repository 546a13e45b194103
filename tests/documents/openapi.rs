//! `docs/openapi.json`, made of the compiled protos and their comments: `make docs` writes it, and a test sees that it is current. What
//! the server hands out at `/openapi.json` is that file.
//!
//! Absent on purpose: what streams. OpenAPI has no words for Connect's envelopes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::source_code_info::Location;
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use serde_json::{Map, Value, json};

/// By these numbers `descriptor.proto` knows where a comment belongs.
const MESSAGES: i32 = 4;
const ENUMS: i32 = 5;
const SERVICES: i32 = 6;
const FIELDS: i32 = 2;
const METHODS: i32 = 2;
const NESTED: i32 = 3;
const NESTED_ENUMS: i32 = 4;
const VALUES: i32 = 2;

const ABOUT: &str = "The Countersign API over HTTP/JSON: the Connect protocol, which is a POST of one message to the path of its method. \
    The server speaks it where `grpc.web = true` (docs/api-over-http.md). Integers of 64 bits are strings, as in the JSON mapping of proto3; a \
    field that is not there has its default. Fields that are not known are refused. Methods that stream are not in this document.";

/// The whole document.
pub fn document() -> Value {
    let set = FileDescriptorSet::decode(countersign::wire::DESCRIPTORS).expect("our own descriptors");
    let mut found = Found::default();
    for file in &set.file {
        if file.package() == "countersign.v1" {
            let comments = comments(file.source_code_info.as_ref().map_or(&[], |info| &info.location));
            found.file(file, &comments);
        }
    }
    let (sent, told) = (found.reachable(&found.inputs), found.reachable(&found.outputs));
    let mut schemas = Map::new();
    for name in sent.union(&told) {
        let mut schema = found.schemas[name].clone();
        // What comes back may have more in it tomorrow.
        if !told.contains(name) && schema["type"] == "object" {
            schema["additionalProperties"] = json!(false);
        }
        schemas.insert(short(name).to_owned(), schema);
    }
    // Not a message of the API, which has an `Error` of its own: in batches.
    let taken = schemas.insert("Problem".into(), error());
    assert!(taken.is_none(), "two schemas of one name");
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Countersign",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "http://127.0.0.1:7443" }],
        "security": [{ "bearer": [] }, { "certificate": [] }],
        "tags": found.tags,
        "paths": found.paths,
        "components": {
            "schemas": schemas,
            "responses": {
                "error": {
                    "description": "There is no answer. Whoever enforces treats it as DENY.",
                    "headers": {
                        "retry-after": { "description": "Seconds, where asking again may help.", "schema": { "type": "integer" } },
                        "www-authenticate": { "description": "With 401: what is missing.", "schema": { "type": "string" } },
                    },
                    "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
                },
            },
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" },
                "certificate": { "type": "mutualTLS", "description": "Where `grpc.tls` has a `client_ca`." },
            },
        },
    })
}

/// As it lies in `docs/`.
pub fn text() -> String {
    serde_json::to_string_pretty(&document()).expect("a document") + "\n"
}

/// By path, in one text each.
type Comments = BTreeMap<Vec<i32>, String>;

fn comments(locations: &[Location]) -> Comments {
    let said = locations.iter().filter(|location| !location.leading_comments().trim().is_empty());
    said.map(|location| (location.path.clone(), tidy(location.leading_comments()))).collect()
}

/// Without the blank behind each `//`.
fn tidy(comment: &str) -> String {
    let lines: Vec<_> = comment.lines().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end()).collect();
    lines.join("\n").trim().to_owned()
}

#[derive(Default)]
struct Found {
    /// By full name, such as `.countersign.v1.Approval`.
    schemas: BTreeMap<String, Value>,
    /// Which messages and enumerations one names.
    named: BTreeMap<String, Vec<String>>,
    paths: Map<String, Value>,
    tags: Vec<Value>,
    inputs: Vec<String>,
    outputs: Vec<String>,
}

impl Found {
    fn file(&mut self, file: &prost_types::FileDescriptorProto, comments: &Comments) {
        for (number, message) in (0..).zip(&file.message_type) {
            self.message(".countersign.v1", message, &[MESSAGES, number], comments);
        }
        for (number, names) in (0..).zip(&file.enum_type) {
            self.names(".countersign.v1", names, &[ENUMS, number], comments);
        }
        for (number, service) in (0..).zip(&file.service) {
            let path = [SERVICES, number];
            self.tags.push(json!({ "name": service.name(), "description": comments[&path[..]] }));
            for (number, method) in (0..).zip(&service.method) {
                if method.client_streaming() || method.server_streaming() {
                    continue;
                }
                let about = &comments[&[&path[..], &[METHODS, number]].concat()];
                let call = call(service.name(), method.name(), about, method.input_type(), method.output_type());
                self.paths.insert(format!("/countersign.v1.{}/{}", service.name(), method.name()), call);
                self.inputs.push(method.input_type().to_owned());
                self.outputs.push(method.output_type().to_owned());
            }
        }
    }

    fn message(&mut self, within: &str, message: &DescriptorProto, path: &[i32], comments: &Comments) {
        let name = format!("{within}.{}", message.name());
        for (number, nested) in (0..).zip(&message.nested_type) {
            self.message(&name, nested, &[path, &[NESTED, number]].concat(), comments);
        }
        for (number, names) in (0..).zip(&message.enum_type) {
            self.names(&name, names, &[path, &[NESTED_ENUMS, number]].concat(), comments);
        }
        let entries: BTreeMap<_, _> = message
            .nested_type
            .iter()
            .filter(|nested| nested.options.as_ref().is_some_and(|options| options.map_entry()))
            .map(|entry| (format!("{name}.{}", entry.name()), &entry.field[1]))
            .collect();
        let mut properties = Map::new();
        for (number, field) in (0..).zip(&message.field) {
            let mut schema = match entries.get(field.type_name()) {
                Some(value) => json!({ "type": "object", "additionalProperties": self.single(&name, value) }),
                None if field.label() == Label::Repeated => {
                    json!({ "type": "array", "items": self.single(&name, field) })
                }
                None => self.single(&name, field),
            };
            let mut about = comments.get(&[path, &[FIELDS, number]].concat()).cloned().unwrap_or_default();
            if let Some(choice) = field.oneof_index.filter(|_| !field.proto3_optional()) {
                let choice = message.oneof_decl[usize::try_from(choice).unwrap()].name();
                about = format!("{about} At most one of the `{choice}` is there.");
            }
            if !about.is_empty() {
                schema["description"] = json!(about);
            }
            properties.insert(field.json_name().to_owned(), schema);
        }
        let about = comments.get(path).cloned().unwrap_or_default();
        self.schemas.insert(name, json!({ "type": "object", "description": about, "properties": properties }));
    }

    fn names(&mut self, within: &str, names: &EnumDescriptorProto, path: &[i32], comments: &Comments) {
        let mut about = comments.get(path).cloned().unwrap_or_default();
        for (number, value) in (0..).zip(&names.value) {
            let meaning = comments.get(&[path, &[VALUES, number]].concat()).cloned().unwrap_or_default();
            about += &format!("\n- `{}`: {}", value.name(), meaning.replace('\n', " "));
        }
        let all: Vec<_> = names.value.iter().map(|value| value.name()).collect();
        let name = format!("{within}.{}", names.name());
        self.schemas.insert(name, json!({ "type": "string", "description": about, "enum": all }));
    }

    /// One value of a field, which `within` names.
    fn single(&mut self, within: &str, field: &FieldDescriptorProto) -> Value {
        match field.r#type() {
            Type::Bool => json!({ "type": "boolean" }),
            Type::String => json!({ "type": "string" }),
            Type::Bytes => json!({ "type": "string", "contentEncoding": "base64" }),
            Type::Int64 | Type::Sint64 | Type::Sfixed64 => {
                json!({ "type": "string", "format": "int64", "pattern": "^-?[0-9]+$" })
            }
            Type::Uint64 | Type::Fixed64 => json!({ "type": "string", "format": "uint64", "pattern": "^[0-9]+$" }),
            Type::Int32 | Type::Sint32 | Type::Sfixed32 => json!({ "type": "integer", "format": "int32" }),
            Type::Uint32 | Type::Fixed32 => json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX }),
            Type::Double | Type::Float => json!({ "type": "number" }),
            Type::Message | Type::Enum | Type::Group => match field.type_name() {
                ".google.protobuf.Timestamp" => json!({ "type": "string", "format": "date-time" }),
                ".google.protobuf.Duration" => json!({ "type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$" }),
                name => {
                    self.named.entry(within.to_owned()).or_default().push(name.to_owned());
                    json!({ "$ref": format!("#/components/schemas/{}", short(name)) })
                }
            },
        }
    }

    fn reachable(&self, from: &[String]) -> BTreeSet<String> {
        let (mut found, mut left) = (BTreeSet::new(), from.to_vec());
        while let Some(name) = left.pop() {
            if found.insert(name.clone()) {
                left.extend(self.named.get(&name).into_iter().flatten().cloned());
            }
        }
        found
    }
}

/// `Value.Set` for `.countersign.v1.Value.Set`.
fn short(name: &str) -> &str {
    name.trim_start_matches(".countersign.v1.")
}

fn call(service: &str, method: &str, about: &str, input: &str, output: &str) -> Value {
    let message = |name: &str| json!({ "application/json": { "schema": { "$ref": format!("#/components/schemas/{}", short(name)) } } });
    let summary = about.split_inclusive(['.', '?', '!']).next().unwrap_or(about).replace('\n', " ");
    let call = json!({
        "operationId": format!("{service}.{method}"),
        "tags": [service],
        "summary": summary,
        "description": about,
        "requestBody": { "required": true, "content": message(input) },
        "responses": {
            "200": { "description": "The answer. A denial is one.", "content": message(output) },
            "default": { "$ref": "#/components/responses/error" },
        },
    });
    json!({ "post": call })
}

/// As the Connect protocol has it.
fn error() -> Value {
    let codes = [
        "canceled",
        "unknown",
        "invalid_argument",
        "deadline_exceeded",
        "not_found",
        "already_exists",
        "permission_denied",
        "resource_exhausted",
        "failed_precondition",
        "aborted",
        "out_of_range",
        "unimplemented",
        "internal",
        "unavailable",
        "data_loss",
        "unauthenticated",
    ];
    json!({
        "type": "object",
        "description": "Why there is no answer. `google.rpc.ErrorInfo` among the details has the stable `reason`.",
        "required": ["code", "message"],
        "properties": {
            "code": { "type": "string", "enum": codes },
            "message": { "type": "string", "description": "For people." },
            "details": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "type": { "type": "string", "description": "Such as `google.rpc.ErrorInfo`." },
                        "value": { "type": "string", "description": "The message, encoded.", "contentEncoding": "base64" },
                        "debug": { "description": "The same, readable." },
                    },
                },
            },
        },
    })
}

#[allow(dead_code, reason = "the test takes `text` alone")]
fn main() {
    print!("{}", text());
}
