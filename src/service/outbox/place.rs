//! A target's place in the journal, and what it needs to go on: one small file, replaced as a whole.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::OutboxError;
use super::board::{UNDELIVERED_MAX, Undelivered};
use crate::files;
use crate::notify::Posted;

/// Messages that can be changed; past it the oldest approval's is forgotten, and posted anew if it changes again.
const POSTED_MAX: usize = 2_000;
const VERSION: u32 = 1;

#[derive(Debug, Clone)]
pub struct Place {
    path: PathBuf,
    /// The next record to look at.
    pub next: u64,
    /// Where each approval's message is. Ids order by time.
    posted: BTreeMap<String, Posted>,
    pub undelivered: Vec<Undelivered>,
}

/// As it lies on disk.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    version: u32,
    next: u64,
    posted: BTreeMap<String, Posted>,
    undelivered: Vec<Undelivered>,
}

impl Place {
    /// The place of a target; where there is none yet, `next` becomes it.
    pub fn open(dir: &Path, target: &str, next: u64) -> Result<Self, OutboxError> {
        let path = dir.join(format!("{target}.json"));
        let malformed = |reason: String| OutboxError::Malformed { path: path.clone(), reason };
        let place = match fs::read(&path) {
            Ok(bytes) => {
                let kept: Kept = serde_json::from_slice(&bytes).map_err(|error| malformed(error.to_string()))?;
                if kept.version != VERSION {
                    return Err(malformed(format!("version {}, not {VERSION}", kept.version)));
                }
                // A journal that is shorter than what was told is another one: all of it is news, as far as it is not too old.
                let next = if kept.next > next { 1 } else { kept.next };
                return Ok(Self { path, next, posted: kept.posted, undelivered: kept.undelivered });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Self { path, next, posted: BTreeMap::new(), undelivered: Vec::new() }
            }
            Err(source) => return Err(OutboxError::Io { path, source }),
        };
        place.save().map_err(|source| OutboxError::Io { path: place.path.clone(), source })?;
        Ok(place)
    }

    pub fn posted(&self, approval: &str) -> Option<&Posted> {
        self.posted.get(approval)
    }

    pub fn post(&mut self, approval: String, posted: Posted) {
        self.posted.insert(approval, posted);
        while self.posted.len() > POSTED_MAX {
            self.posted.pop_first();
        }
    }

    pub fn give_up(&mut self, letter: Undelivered) {
        self.undelivered.push(letter);
        let over = self.undelivered.len().saturating_sub(UNDELIVERED_MAX);
        self.undelivered.drain(..over);
    }

    /// A crash leaves the old place or the new one. Blocking.
    pub fn save(&self) -> io::Result<()> {
        let (posted, undelivered) = (self.posted.clone(), self.undelivered.clone());
        let kept = Kept { version: VERSION, next: self.next, posted, undelivered };
        let beside = self.path.with_extension("json.new");
        files::replace(&self.path, &beside, &serde_json::to_vec(&kept)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_and_a_broken_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut place = Place::open(dir.path(), "t", 7).unwrap();
        let posted = |ts: &str| Posted { channel: "C".into(), ts: ts.into() };
        place.post("apr_1".into(), posted("1"));
        place.next = 9;
        place.save().unwrap();
        let again = Place::open(dir.path(), "t", 20).unwrap();
        assert_eq!((again.next, again.posted("apr_1")), (9, Some(&posted("1"))));
        assert_eq!(Place::open(dir.path(), "t", 5).unwrap().next, 1, "another journal");
        fs::write(dir.path().join("t.json"), "{\"next\":1}").unwrap();
        assert!(matches!(Place::open(dir.path(), "t", 20), Err(OutboxError::Malformed { .. })));
    }

    #[test]
    fn what_is_kept_has_a_limit() {
        let dir = tempfile::tempdir().unwrap();
        let mut place = Place::open(dir.path(), "t", 1).unwrap();
        for number in 0..=POSTED_MAX {
            place.post(format!("apr_{number:06}"), Posted { channel: "C".into(), ts: "1".into() });
            let (approval_id, why) = (number.to_string(), String::new());
            place.give_up(Undelivered { approval_id, event: "opened".into(), id: String::new(), why });
        }
        assert_eq!((place.posted.len(), place.posted("apr_000000")), (POSTED_MAX, None));
        assert_eq!((place.undelivered.len(), &*place.undelivered[99].approval_id), (UNDELIVERED_MAX, "2000"));
    }
}
