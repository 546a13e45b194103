//! What seals the journal. Without a key a server does not start, unless the operator says that it shall not be sealed: a
//! journal in clear is a decision, never an oversight.

use std::path::{Path, PathBuf};

use super::keys::KeySettings;
use super::values::SealingMode;
use crate::vault::kept::{self, KeptError, KeptKey};
use crate::vault::source::SourceError;
use crate::vault::{KeyError, Vault};

/// `journal.sealing` and `[[journal.sealing_keys]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealing {
    pub mode: SealingMode,
    pub keys: Vec<KeySettings>,
}

/// Whether somebody only tries things out: then a key is made where none is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    Development,
    Production,
}

#[derive(Debug, thiserror::Error)]
pub enum SealingError {
    #[error(
        "no key seals the journal, so that personal data and secrets of queries would lie on disk in clear: add \
         [[journal.sealing_keys]], let the server keep one beside the journal (`journal.sealing = \"kept\"`), or decide that \
         it is not sealed (`journal.sealing = \"off\"`)"
    )]
    NoKey,
    #[error("journal.sealing_keys: key `{id}`: {error}")]
    Key { id: String, error: KeyError },
    #[error("journal.sealing_keys: {0}")]
    Unreadable(#[from] SourceError),
    #[error(transparent)]
    Kept(#[from] KeptError),
}

impl Default for Sealing {
    fn default() -> Self {
        Self { mode: SealingMode::Keys, keys: Vec::new() }
    }
}

impl Sealing {
    /// What seals the journal in `dir` and opens it, and the journals of other servers, whose kept keys lie beside them.
    /// Blocking.
    ///
    /// # Errors
    /// That there is no key, or which one is wrong.
    pub fn vault(&self, dir: &Path, others: &[PathBuf], used: Use) -> Result<Vault, SealingError> {
        let mut keys = self.configured()?;
        let keeps = match (self.mode, used) {
            (SealingMode::Kept, _) => true,
            (SealingMode::Keys, Use::Development) => keys.is_empty(),
            (SealingMode::Keys, Use::Production) if keys.is_empty() => return Err(SealingError::NoKey),
            (SealingMode::Keys, Use::Production) | (SealingMode::Off, _) => false,
        };
        if keeps {
            keys.insert(0, kept::find_or_make(dir)?);
        }
        found(std::iter::once(dir).chain(others.iter().map(PathBuf::as_path)), &mut keys)?;
        let vault = match self.mode {
            SealingMode::Keys | SealingMode::Kept => Vault::new(pairs(&keys)),
            SealingMode::Off => Vault::opening_only(pairs(&keys)),
        };
        let vault = vault.map_err(|error| wrong(&keys, error))?;
        Ok(if keeps { vault.alone() } else { vault })
    }

    /// What opens the journals in these directories, to whoever only reads.
    ///
    /// # Errors
    /// Which key is wrong.
    pub fn reading<'d>(&self, dirs: impl Iterator<Item = &'d Path>) -> Result<Vault, SealingError> {
        let mut keys = self.configured()?;
        found(dirs, &mut keys)?;
        Vault::opening_only(pairs(&keys)).map_err(|error| wrong(&keys, error))
    }

    fn configured(&self) -> Result<Vec<KeptKey>, SealingError> {
        self.keys.iter().map(|key| Ok(KeptKey { id: key.id.clone(), bytes: key.from.read()? })).collect()
    }
}

fn found<'d>(dirs: impl Iterator<Item = &'d Path>, keys: &mut Vec<KeptKey>) -> Result<(), KeptError> {
    for dir in dirs {
        let kept = kept::find(dir)?.filter(|kept| keys.iter().all(|known| known.id != kept.id));
        keys.extend(kept);
    }
    Ok(())
}

fn pairs(keys: &[KeptKey]) -> impl Iterator<Item = (&str, &[u8])> {
    keys.iter().map(|key| (&*key.id, &*key.bytes))
}

fn wrong(keys: &[KeptKey], error: KeyError) -> SealingError {
    // They are tried one by one, so that the message names one.
    let alone = |key: &&KeptKey| Vault::new([(&*key.id, &*key.bytes)]).is_err();
    // Two of one id are each good alone: then the error itself names it.
    let id = keys.iter().find(alone).map(|key| key.id.clone()).unwrap_or_default();
    SealingError::Key { id, error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::KeyPlace;

    fn key(dir: &Path, id: &str, digits: &str) -> KeySettings {
        let path = dir.join(id);
        std::fs::write(&path, digits.repeat(32)).unwrap();
        KeySettings { id: id.into(), from: KeyPlace::File(path.display().to_string()) }
    }

    #[test]
    fn without_a_key_nothing_starts_unless_that_was_decided() {
        let dir = tempfile::tempdir().unwrap();
        let vault = |mode, used| Sealing { mode, keys: Vec::new() }.vault(dir.path(), &[], used);
        let refused = vault(SealingMode::Keys, Use::Production).err().unwrap().to_string();
        assert!(refused.contains("[[journal.sealing_keys]]") && refused.contains("\"off\""), "{refused}");
        assert!(!vault(SealingMode::Off, Use::Production).unwrap().seals());
        assert!(!dir.path().join(kept::NAME).exists(), "a key was made that nobody asked for");
        assert!(vault(SealingMode::Keys, Use::Development).unwrap().seals());
        assert!(vault(SealingMode::Kept, Use::Production).unwrap().seals());
    }

    #[test]
    fn the_first_key_seals_and_a_wrong_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let sealing = |keys| Sealing { mode: SealingMode::Keys, keys };
        let two = sealing(vec![key(dir.path(), "b", "0b"), key(dir.path(), "a", "0a")]);
        let shown = format!("{:?}", two.vault(dir.path(), &[], Use::Production).unwrap());
        assert_eq!(shown, r#"Vault { keys: ["b", "a"], seals: true }"#);
        let twice = sealing(vec![key(dir.path(), "a", "0a"), key(dir.path(), "a", "0a")]);
        let refused = twice.vault(dir.path(), &[], Use::Production).err().unwrap().to_string();
        assert!(refused.contains("two keys have the id `a`"), "{refused}");
        let odd = sealing(vec![key(dir.path(), "no id", "0a")]);
        let refused = odd.vault(dir.path(), &[], Use::Production).err().unwrap().to_string();
        assert!(refused.contains("key `no id`: expected an id of 1 to 32"), "{refused}");
    }
}
