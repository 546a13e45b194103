//! `docs/binding.md` says how to compute a binding; its vectors are held against the code.

use countersign::domain::{Attributes, Binding, Entity, EntityUid, ExtensionFunction, Query, Value, binding};
use sha2::{Digest, Sha256};

const DOCUMENT: &str = include_str!("../docs/binding.md");

fn query(action: &str, resource: &str) -> Query {
    Query {
        principal: EntityUid::new("Agent", "report-bot"),
        on_behalf_of: None,
        action: EntityUid::new("Action", action),
        resource: EntityUid::new("Dataset", resource),
        context: Attributes::new(),
        environment: Attributes::new(),
        entities: Vec::new(),
    }
}

/// The queries of the document, in its order.
fn queries() -> [Query; 3] {
    let ip = Value::Extension { function: ExtensionFunction::Ip, argument: "10.0.0.1".into() };
    let columns = Value::Set(vec![Value::string("b"), Value::string("a"), Value::string("b")]);
    let mut dataset = Entity::bare(EntityUid::new("Dataset", "a\0b"), vec![EntityUid::new("Database", "warehouse"); 2]);
    dataset.attributes.insert("pii".into(), Value::Bool(true));
    [
        Query {
            on_behalf_of: Some(EntityUid::new("User", "alice")),
            context: [("rows".into(), Value::Long(9_007_199_254_740_993))].into(),
            ..query("export", "customers")
        },
        query("read", "weather"),
        Query {
            context: [("from".into(), ip), ("columns".into(), columns)].into(),
            entities: vec![dataset],
            environment: [("session".into(), Value::string("not bound"))].into(),
            ..query("read", "a\0b")
        },
    ]
}

#[test]
fn the_document_and_the_code_agree() {
    let vectors: Vec<&str> =
        DOCUMENT.lines().skip_while(|line| *line != "```text").skip(1).take_while(|line| *line != "```").collect();
    assert_eq!(vectors.len(), 6);
    for (query, vector) in queries().iter().zip(vectors.chunks(2)) {
        let hash: String = Sha256::digest(vector[0]).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!((&*binding::canonical(query), &*hash), (vector[0], vector[1]));
        assert_eq!(Binding::of(query).to_string(), vector[1]);
    }
}
