//! The grammar of annotations: each line of the input is `name=value` of one policy. What is taken for a gate is whole:
//! it has reviewers, a quorum of at least one, and names its requirement.
#![no_main]

use std::sync::LazyLock;

use countersign::engine::{PolicyKind, PolicySnapshot, Settings, SourceFile, duration};
use libfuzzer_sys::fuzz_target;

static SETTINGS: LazyLock<Settings> =
    LazyLock::new(|| Settings { allow_missing_schema: true, ..Settings::new("policies") });

fuzz_target!(|text: &str| {
    let lines: Vec<_> = text.lines().filter_map(|line| line.split_once('=')).collect();
    for (_, value) in &lines {
        // Nothing that is read as a time is nothing.
        assert!(duration(value).map_or(true, |span| !span.is_zero()), "{value}");
    }
    for effect in ["permit", "forbid"] {
        let annotations: String =
            lines.iter().map(|(name, value)| format!("@{name}(\"{}\")\n", value.escape_debug())).collect();
        let policy = format!("{annotations}{effect} (principal, action, resource);");
        let file = SourceFile::in_memory("p.cedar", &policy).expect("a name of ours");
        let Ok(snapshot) = PolicySnapshot::from_sources(&SETTINGS, vec![file]) else { continue };
        let summary = snapshot.summary();
        let named = |wanted: &str| lines.iter().filter(|(name, _)| *name == wanted).count();
        let gates = summary.policies.iter().filter(|policy| policy.kind == PolicyKind::Gate).count();
        // A value may hold more policies; a gate is one only with these.
        assert!(gates == 0 || [named("approval"), named("reviewers"), named("id")] == [1, 1, 1], "{policy}");
        assert!(named("approval") == 0 || gates == 1, "a gate that became something else: {policy}");
    }
});
