//! The loader, on a directory of any text. It answers: every problem names a file, and what loads can be asked and formatted.
#![no_main]

#[path = "../house.rs"]
mod house;

use std::sync::LazyLock;

use countersign::domain::{Attributes, EntityUid, Identity, Query};
use countersign::engine::{PolicySnapshot, Settings, SourceFile, format};
use house::NOW;
use libfuzzer_sys::fuzz_target;

const SERVICE: &str = include_str!("../../../policies/countersign.cedarschema");
const APP: &str = include_str!("../../../policies/app.cedarschema");

/// Files of the input begin at a line `//// name`; what stands before the first is policies.
fn files(text: &str) -> Vec<SourceFile> {
    let mut files = Vec::new();
    for (number, part) in text.split("//// ").enumerate() {
        let (name, text) = if number == 0 { ("p.cedar", part) } else { part.split_once('\n').unwrap_or((part, "")) };
        // The directory holds a file of a name once.
        files.extend(
            SourceFile::in_memory(name, text).filter(|new| files.iter().all(|old: &SourceFile| old.name != new.name)),
        );
    }
    files
}

static SETTINGS: LazyLock<Settings> = LazyLock::new(|| {
    let mut settings = Settings { allow_missing_schema: true, ..Settings::new("policies") };
    // Beyond these it only becomes slow.
    (settings.limits.policies_max, settings.limits.request_types_max) = (200, 500);
    (settings.limits.schema_bytes_max, settings.limits.schema_fields_max) = (64 << 10, 5_000);
    settings
});

/// An input that begins so is held against the shipped schema; without one, many more are tried in the same time.
const WITH_SCHEMA: &str = "// schema\n";

fuzz_target!(|text: &str| {
    let mut all = files(text);
    if text.starts_with(WITH_SCHEMA) && all.iter().all(|file| !file.name.ends_with(".cedarschema")) {
        all.extend(SourceFile::in_memory("app.cedarschema", APP));
        all.extend(SourceFile::in_memory("countersign.cedarschema", SERVICE));
    }
    match PolicySnapshot::from_sources(&SETTINGS, all.clone()) {
        Ok(snapshot) => loaded(&snapshot, &all),
        Err(refused) => {
            assert!(!refused.problems.is_empty());
            for problem in &refused.problems {
                let message = &problem.message;
                assert!(!message.contains("the loader failed"), "{problem}");
                let file = all.iter().find(|file| file.path == problem.file);
                assert!(file.is_some() || &*problem.file == "policies", "no such file: {problem}");
            }
        }
    }
});

fn loaded(snapshot: &PolicySnapshot, files: &[SourceFile]) {
    let who = Identity::imagined("Agent", "report-bot", &["agents"]);
    let query = Query {
        principal: who.uid.clone(),
        on_behalf_of: None,
        action: EntityUid::new("Action", "read"),
        resource: EntityUid::new("Dataset", "customers"),
        context: Attributes::new(),
        environment: Attributes::new(),
        entities: Vec::new(),
    };
    // A schema of its own may not know the action.
    drop(snapshot.evaluate(&query, &who, &who, NOW));
    for file in files.iter().filter(|file| file.name.ends_with(".cedar")) {
        if let Ok(laid_out) = format(&file.text) {
            assert_eq!(format(&laid_out).expect("formatted once, formatted twice"), laid_out);
        }
    }
}
