//! Keys that the server needs at its start: that each can be had, and what is in clear without one.

use super::finding::Finding;
use crate::config::sealing::SealingError;
use crate::config::{Config, SealingMode, masking};

const PART: &str = "keys";

pub fn examine(config: &Config) -> Vec<Finding> {
    let masking = match masking::settings(&config.masking) {
        Ok(_) => Finding::ok(PART, "what masking needs is there"),
        Err(error) => Finding::fail(
            PART,
            format!("masking: {error}"),
            "put the key where `[masking]` says that it lies (docs/masking.md)",
        ),
    };
    vec![sealing(config), masking]
}

fn sealing(config: &Config) -> Finding {
    let sealing = config.sealing();
    let advice = "make one with `openssl rand -base64 32`, and name it in [[journal.sealing_keys]] (docs/journal.md)";
    if sealing.mode == SealingMode::Keys && sealing.keys.is_empty() {
        return Finding::fail(PART, SealingError::NoKey.to_string(), advice);
    }
    // Reads all keys, and makes none.
    if let Err(error) = sealing.reading(std::iter::once(&*config.journal.dir)) {
        return Finding::fail(PART, format!("the journal cannot be sealed: {error}"), advice);
    }
    match sealing.mode {
        SealingMode::Keys => Finding::ok(
            PART,
            format!("the journal is sealed by key `{}`", sealing.keys.first().map_or("", |key| &key.id)),
        ),
        SealingMode::Kept => Finding::warn(
            PART,
            "the journal is sealed by a key that lies beside it: a copy of the directory can be read",
            advice,
        ),
        SealingMode::Off => Finding::warn(
            PART,
            "the journal is not sealed: personal data and secrets of queries lie on disk in clear",
            advice,
        ),
    }
}
