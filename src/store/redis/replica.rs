//! Which replica this is: a random name, kept beside its journal. Events that it has not put in its journal yet are filed
//! under it in Redis.

use std::fs;
use std::io;
use std::path::Path;

use uuid::Uuid;

use crate::files;

pub const FILE: &str = "replica";

/// The name of the replica whose journal is in `dir`. Blocking.
pub fn name(dir: &Path) -> io::Result<String> {
    let path = dir.join(FILE);
    match fs::read_to_string(&path) {
        Ok(name) => match Uuid::try_parse(name.trim()) {
            Ok(uuid) => Ok(uuid.simple().to_string()),
            Err(_) => Err(io::Error::new(io::ErrorKind::InvalidData, format!("`{}` is not ours", path.display()))),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let name = Uuid::new_v4().simple().to_string();
            let unfinished = dir.join("replica.new");
            files::replace(&path, &unfinished, name.as_bytes())?;
            Ok(name)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_keeps_its_name_and_takes_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let first = name(dir.path()).unwrap();
        assert_eq!(name(dir.path()).unwrap(), first);
        fs::write(dir.path().join(FILE), "somebody").unwrap();
        assert!(name(dir.path()).is_err());
    }
}
