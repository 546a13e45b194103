//! What masking is configured with: profiles, keys, and what the operator adds to the detectors. Keys are read once, at the
//! start; a key is never a value of the configuration, only where it lies.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::keys::{KeyPlace, KeySettings};
use super::values::Setting;
use crate::domain::{DataKind, MaskRules};
use crate::masking::{CustomRules, KeyError, Keyring, Mode};
use crate::service::mask::Settings;
use crate::vault::source::SourceError;

/// `[[masking.profiles]]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProfileSettings {
    pub name: String,
    /// As in `@mask`.
    pub rules: String,
    /// What cannot be searched is withheld, instead of the whole call failing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lenient: bool,
}

/// `[[masking.detectors]]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DetectorSettings {
    /// One of the operator's own (`X_...`) or one that is built in.
    pub kind: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub patterns: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub words: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
}

/// Rules as in `@mask`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewRules(pub MaskRules);

impl Default for ViewRules {
    fn default() -> Self {
        Self(MaskRules::views())
    }
}

impl Setting for ViewRules {
    fn read(raw: &Value) -> Result<Self, String> {
        MaskRules::parse(raw.as_str().unwrap_or_default()).map(Self)
    }

    fn show(&self) -> Value {
        self.0.to_string().into()
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string"})
    }
}

macro_rules! tables {
    ($($Type:ty: $expected:literal),*) => {
        $(impl Setting for Vec<$Type> {
            fn read(raw: &Value) -> Result<Self, String> {
                serde_json::from_value(raw.clone()).map_err(|error| format!("{}: {error}", $expected))
            }

            fn show(&self) -> Value {
                serde_json::to_value(self).unwrap_or(Value::Null)
            }

            fn schema(generator: &mut SchemaGenerator) -> Schema {
                generator.subschema_for::<Self>()
            }
        })*
    };
}

tables! {
    ProfileSettings: "tables such as `[[masking.profiles]]` with `name` and `rules`",
    DetectorSettings: "tables such as `[[masking.detectors]]` with `kind` and `patterns`, `words` or `fields`",
    KeySettings: "tables such as `[[journal.sealing_keys]]` with `id` and `from`"
}

/// Why masking cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum MaskingSettingsError {
    #[error("profile `{name}`: {problem}")]
    Profile { name: String, problem: String },
    #[error("`{0}` is no kind of data that is known; one of your own begins with `X_`")]
    Kind(String),
    #[error("key {place}: {error}")]
    Key { place: String, error: KeyError },
    #[error(transparent)]
    Unreadable(#[from] SourceError),
}

/// Reads the keys, and makes what the service takes.
///
/// # Errors
/// The first that is wrong; never with a part of a key.
pub fn settings(written: &super::Masking) -> Result<Settings, MaskingSettingsError> {
    let (keyring, views, timeout) = (keyring(written)?, written.views.0.clone(), written.timeout.get());
    let mut settings = Settings { keyring, views, timeout, ..Settings::default() };
    for profile in &written.profiles {
        let rules = MaskRules::parse(&profile.rules);
        let rules = rules.map_err(|problem| MaskingSettingsError::Profile { name: profile.name.clone(), problem })?;
        let mode = if profile.lenient { Mode::Lenient } else { Mode::Strict };
        settings.profiles.insert(profile.name.clone(), (rules, mode));
    }
    settings.custom = custom(&written.detectors)?;
    Ok(settings)
}

fn custom(detectors: &[DetectorSettings]) -> Result<CustomRules, MaskingSettingsError> {
    let mut rules = CustomRules::default();
    for detector in detectors {
        let kind = DataKind::parse(&detector.kind).ok_or_else(|| MaskingSettingsError::Kind(detector.kind.clone()))?;
        rules.patterns.extend(detector.patterns.iter().map(|pattern| (kind, pattern.clone())));
        rules.words.push((kind, detector.words.clone()));
        rules.fields.push((kind, detector.fields.clone()));
    }
    Ok(rules)
}

fn keyring(written: &super::Masking) -> Result<Keyring, MaskingSettingsError> {
    let mut keyring = Keyring::default();
    let failed = |source: &KeyPlace| {
        let place = source.name();
        move |error| MaskingSettingsError::Key { place, error }
    };
    if let Some(source) = &written.pseudonym_key {
        keyring = keyring.with_pseudonym_key(&source.read()?).map_err(failed(source))?;
    }
    if let Some(source) = &written.format_key {
        keyring = keyring.with_format_key(&source.read()?).map_err(failed(source))?;
    }
    for key in &written.sealing_keys {
        keyring = keyring.with_sealing_key(&key.id, &key.from.read()?).map_err(failed(&key.from))?;
    }
    Ok(keyring)
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::config::Masking;
    use crate::service::mask::Masking as Ready;

    fn written(rules: &str) -> Masking {
        let profile = ProfileSettings { name: "chat".into(), rules: rules.into(), lenient: false };
        Masking { profiles: vec![profile], ..Masking::default() }
    }

    #[test]
    fn a_profile_that_is_wrong_or_needs_a_key_that_is_not_there_is_refused() {
        let refused = settings(&written("US_SNN")).err().unwrap().to_string();
        assert!(refused.starts_with("profile `chat`: `US_SNN` is no kind"), "{refused}");
        let refused = Ready::new(settings(&written("ALL:seal")).unwrap()).err().unwrap().to_string();
        assert_eq!(refused, "profile `chat`: `seal` needs a key that is not configured");
        let refused = Ready::new(settings(&written("X_BADGE")).unwrap()).err().unwrap().to_string();
        assert_eq!(refused, "profile `chat`: `X_BADGE` is found by nothing that is configured");
    }

    #[test]
    fn keys_are_read_from_files_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let with = |text: &str| {
            let path = dir.path().join("key");
            std::fs::write(&path, text).unwrap();
            let key = KeySettings { id: "k1".into(), from: KeyPlace::File(path.display().to_string()) };
            settings(&Masking { sealing_keys: vec![key], ..written("ALL:seal") })
        };
        for good in [&"0f".repeat(32), &format!("{}\n", STANDARD.encode([7; 32]))] {
            Ready::new(with(good).unwrap()).unwrap();
        }
        for bad in ["", "secret-secret", &"0f".repeat(31), &STANDARD.encode([7; 16])] {
            let refused = with(bad).err().unwrap().to_string();
            assert!(bad.is_empty() || !refused.contains(bad), "{refused}");
        }
    }
}
