//! How many events of each shard this replica knew of when it last ran, kept beside its journal. The journal tells of those
//! that it made; what it only read or heard of must not vanish over its restart either.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use super::guard::Epoch;
use super::keys::SHARDS;
use crate::domain::Origin;
use crate::files;

const FILE: &str = "seen";
/// Between two looks at whether there is more to keep: one sync of the disk at the most.
const INTERVAL: Duration = Duration::from_secs(1);

/// What was kept in `dir`; nothing where nothing ever was. Blocking.
pub fn read(dir: &Path) -> io::Result<Vec<Origin>> {
    let path = dir.join(FILE);
    match fs::read_to_string(&path) {
        Ok(text) => text.lines().map(parse).collect::<Option<_>>().ok_or_else(|| {
            let what =
                format!("`{}` is damaged; without it this replica forgets what it only heard of", path.display());
            io::Error::new(io::ErrorKind::InvalidData, what)
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// `epoch shard number`
fn parse(line: &str) -> Option<Origin> {
    let mut words = line.split(' ');
    let epoch: Epoch = *uuid::Uuid::try_parse(words.next()?).ok()?.as_bytes();
    let shard = words.next()?.parse().ok().filter(|shard| *shard < SHARDS)?;
    let number = words.next()?.parse().ok()?;
    words.next().is_none().then_some(Origin { epoch, shard, number })
}

fn write(dir: &Path, seen: &[Origin]) -> io::Result<()> {
    let line =
        |seen: &Origin| format!("{} {} {}\n", uuid::Uuid::from_bytes(seen.epoch).simple(), seen.shard, seen.number);
    files::replace(&dir.join(FILE), &dir.join("seen.new"), seen.iter().map(line).collect::<String>().as_bytes())
}

/// Keeps what is known, for as long as the store lives.
pub(super) async fn keep(shared: Arc<Shared>, dir: PathBuf) {
    let mut kept = Vec::new();
    loop {
        tokio::time::sleep(INTERVAL).await;
        let seen = shared.links.guard.known();
        if seen == kept {
            continue;
        }
        let (dir, now) = (dir.clone(), seen.clone());
        match tokio::task::spawn_blocking(move || write(&dir, &now)).await {
            Ok(Ok(())) => kept = seen,
            // A full disk, mostly: the journal tells of it, and the next look tries again.
            Ok(Err(error)) => tracing::debug!(%error, "what was seen of redis could not be kept"),
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_read_again_and_what_is_damaged_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), []);
        let seen = [Origin { epoch: [7; 16], shard: 0, number: 9 }, Origin { epoch: [8; 16], shard: 15, number: 1 }];
        write(dir.path(), &seen).unwrap();
        assert_eq!(read(dir.path()).unwrap(), seen);
        for damaged in ["x", "07070707070707070707070707070707 16 9", "07070707070707070707070707070707 1"] {
            fs::write(dir.path().join(FILE), damaged).unwrap();
            assert!(read(dir.path()).is_err(), "{damaged}");
        }
    }
}
