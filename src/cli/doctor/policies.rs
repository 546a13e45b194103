//! Whether the policies load: without a good set nothing starts.

use super::finding::Finding;
use crate::config::Config;
use crate::engine::PolicySnapshot;

const PART: &str = "policies";

pub fn examine(config: &Config) -> Vec<Finding> {
    let dir = config.policy.dir.display().to_string();
    vec![match PolicySnapshot::load_telling(&config.policy_settings(), &|_, _| {}) {
        Err(_) => Finding::fail(
            PART,
            format!("the policies in `{dir}` do not load"),
            "`countersign policy check` shows where and why",
        ),
        Ok(snapshot) => match snapshot.summary().warnings.len() {
            0 => Finding::ok(PART, format!("the policies in `{dir}` load")),
            warnings => Finding::warn(
                PART,
                format!("the policies in `{dir}` load, with {warnings} warnings"),
                "`countersign policy check` shows them",
            ),
        },
    }]
}
