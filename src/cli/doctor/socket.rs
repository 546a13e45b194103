//! The Unix socket: that it can be made where it is to be, and that nobody else could put one of his own there.

use super::finding::Finding;
use crate::config::Config;
use crate::grpc::unix::{Directory, Place, UnixError, look};

const PART: &str = "socket";

pub async fn examine(config: &Config) -> Option<Finding> {
    let path = config.grpc.unix.as_ref()?;
    let shown = path.display();
    let directory = if config.grpc.unix_shared { Directory::Shared } else { Directory::Closed };
    Some(match look(path, directory).await {
        Ok(Place::Free) if directory == Directory::Shared => Finding::ok(PART, format!("`{shown}` can be made")),
        Ok(Place::Free) => Finding::ok(PART, format!("`{shown}` can be made, and nobody else can put another there")),
        Ok(Place::Left) => {
            Finding::ok(PART, format!("`{shown}` is of a server that is gone; the next start replaces it"))
        }
        Ok(Place::Answers) => Finding::ok(PART, format!("a server answers at `{shown}`")),
        Err(error @ (UnixError::Open(_) | UnixError::NoSocket(_) | UnixError::NoFile(_))) => Finding::fail(
            PART,
            format!("grpc.unix: {error}"),
            "put it right, or name another file (docs/operations.md)",
        ),
        Err(error @ (UnixError::Answered(_) | UnixError::Io { .. })) => Finding::fail(
            PART,
            format!("grpc.unix: {error}"),
            "run this as the user that runs the server, and look whether the directory above is there",
        ),
    })
}
