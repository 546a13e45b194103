//! The Unix socket, for callers on the same machine. What passes over it does not leave the kernel, so that it is in clear; who may
//! connect is kept twice: by the file, and by whom the kernel says is at the other end. A token is asked for all the same.
//!
//! The file alone is not enough: its mode is loosened by one `chmod`, and a socket handed to another process keeps what it could do.
//! Of the groups of a peer the kernel tells the one it runs in: members by `/etc/group` alone are not let in.

use std::fs::{self, DirBuilder, File, Metadata, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

use super::connection::Listener;
use super::door::Origin;

/// Bytes of a path, as `sockaddr_un` of Linux has room for it and the zero behind it (unix(7)).
pub const PATH_BYTES_MAX: usize = 107;

const ROOT: u32 = 0;
/// Of the socket: its user and its group connect.
const SOCKET_MODE: u32 = 0o660;
/// Of the lock beside it.
const LOCK_MODE: u32 = 0o600;
/// Of a directory that is made for it.
const DIRECTORY_MODE: u32 = 0o750;
const OTHERS_WRITE: u32 = 0o022;
/// In such a directory nobody renames or removes what is somebody else's.
const STICKY: u32 = 0o1000;
/// Connections that wait to be taken.
const BACKLOG: u32 = 1_024;

/// What keeps a socket from being made.
#[derive(Debug, thiserror::Error)]
pub enum UnixError {
    #[error("`{}` is not the path of a file", .0.display())]
    NoFile(PathBuf),
    #[error(
        "others can write `{}`, and put a socket of their own in place of the server's: give it to the server's user or to root, and \
         `chmod go-w` it", .0.display()
    )]
    Open(PathBuf),
    #[error("`{}` is there and is no socket: name another file, or remove it", .0.display())]
    NoSocket(PathBuf),
    #[error("a server answers at `{}`: stop it, or name another file", .0.display())]
    Answered(PathBuf),
    #[error("`{}`: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// Who may connect.
#[derive(Debug, Clone, Copy)]
struct Welcome {
    /// The server's own, and root, who could be it.
    users: [u32; 2],
    /// That of the socket: the server's own, or its directory's where that is handed down (setgid).
    group: u32,
}

impl Welcome {
    fn lets_in(&self, user: u32, group: u32) -> bool {
        self.users.contains(&user) || self.group == group
    }
}

/// A bound socket. Its file goes with it, unless another server has replaced it.
pub struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
    file: (u64, u64),
    welcome: Welcome,
    /// Given up last.
    _lock: File,
}

impl UnixSocket {
    /// Makes the socket, and its directory where only that is missing. What a dead server left there is replaced.
    ///
    /// # Errors
    /// [`UnixError`]: above all where others could put their own in its place, or where somebody answers.
    pub async fn bind(path: &Path) -> Result<Self, UnixError> {
        let at = |source| UnixError::Io { path: path.to_owned(), source };
        // The kernel's word on who we are, by the same call as later on who they are.
        let us = UnixStream::pair().and_then(|(one, _other)| one.peer_cred()).map_err(at)?.uid();
        let name = path.file_name().ok_or_else(|| UnixError::NoFile(path.to_owned()))?;
        let path = directory(path, us)?.join(name);
        let at = |source| UnixError::Io { path: path.clone(), source };
        let lock = lock(&path)?;
        make_room(&path).await?;
        let socket = tokio::net::UnixSocket::new_stream().map_err(at)?;
        socket.bind(&path).map_err(at)?;
        // Nobody connects before it listens, and then its mode is right.
        fs::set_permissions(&path, Permissions::from_mode(SOCKET_MODE)).map_err(at)?;
        let file = fs::symlink_metadata(&path).map_err(at)?;
        let listener = socket.listen(BACKLOG).map_err(at)?;
        Ok(Self {
            listener,
            file: identity(&file),
            welcome: Welcome { users: [us, ROOT], group: file.gid() },
            path,
            _lock: lock,
        })
    }

    /// Where it is, without links.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|file| identity(&file) == self.file)
            && let Err(error) = fs::remove_file(&self.path)
        {
            // The next server replaces it.
            tracing::warn!(%error, "the Unix socket's file stays behind");
        }
    }
}

impl Listener for UnixSocket {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<(UnixStream, Option<Origin>)> {
        let (stream, _) = self.listener.accept().await?;
        // Of whom nothing is known, that one is not let in.
        let peer = stream.peer_cred().ok().filter(|peer| self.welcome.lets_in(peer.uid(), peer.gid()));
        Ok((stream, peer.map(|peer| Origin::User(peer.uid()))))
    }
}

/// Between the moment that a socket is bound and the one that it listens nobody answers there, as if its server were dead: two that
/// start at the same time would each take the other's for such a one. The kernel gives the lock up with its process; its file stays.
fn lock(socket: &Path) -> Result<File, UnixError> {
    let mut name = socket.as_os_str().to_owned();
    name.push(".lock");
    let path = PathBuf::from(name);
    let at = |source| UnixError::Io { path: path.clone(), source };
    let mut options = File::options();
    let file = options.write(true).create(true).truncate(false).mode(LOCK_MODE).open(&path).map_err(at)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(UnixError::Answered(socket.to_owned())),
        Err(TryLockError::Error(source)) => Err(at(source)),
    }
}

/// The directory of a socket, by its real name: made if it is missing, and nobody's to change but ours and root's.
fn directory(socket: &Path, us: u32) -> Result<PathBuf, UnixError> {
    let named = socket.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let at = |source| UnixError::Io { path: named.to_owned(), source };
    match DirBuilder::new().mode(DIRECTORY_MODE).create(named) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(at(error)),
        Ok(()) | Err(_) => {}
    }
    let real = fs::canonicalize(named).map_err(at)?;
    for above in real.ancestors() {
        let directory = fs::metadata(above).map_err(at)?;
        let is_open = directory.mode() & OTHERS_WRITE != 0 && (above == real || directory.mode() & STICKY == 0);
        if is_open || ![us, ROOT].contains(&directory.uid()) {
            return Err(UnixError::Open(above.to_owned()));
        }
    }
    Ok(real)
}

/// Takes away the socket of a server that is no more.
async fn make_room(path: &Path) -> Result<(), UnixError> {
    let at = |source| UnixError::Io { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(at(error)),
        Ok(file) if !file.file_type().is_socket() => return Err(UnixError::NoSocket(path.to_owned())),
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(at),
        // Also one that has no room for us lives.
        Ok(_) | Err(_) => Err(UnixError::Answered(path.to_owned())),
    }
}

/// What tells a file from another of its name.
fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use futures_util::StreamExt;
    use tokio::io::AsyncReadExt;
    use tokio::time::timeout;

    use super::*;
    use crate::grpc::connection::in_clear;
    use crate::grpc::door::{Door, Limits};
    use crate::grpc::meters::Meters;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn its_user_root_and_its_group_are_let_in() {
        let welcome = Welcome { users: [1_000, ROOT], group: 2_000 };
        for (user, group, expected) in [
            (1_000, 2_000, true),
            (1_000, 9, true),
            (ROOT, 9, true),
            (9, 2_000, true),
            (9, 9, false),
            // A number is a user's or a group's.
            (2_000, 1_000, false),
            (9, ROOT, false),
        ] {
            assert_eq!(welcome.lets_in(user, group), expected, "{user}:{group}");
        }
    }

    #[tokio::test]
    async fn who_is_not_let_in_is_hung_up_on_and_counted() {
        let dir = tempfile::tempdir().unwrap();
        let mut socket = UnixSocket::bind(&dir.path().join("grpc.sock")).await.unwrap();
        let us = UnixStream::pair().unwrap().0.peer_cred().unwrap();
        // As if it were somebody else's: whoever runs this test, root as well, is none of them.
        socket.welcome = Welcome { users: [us.uid() + 1; 2], group: us.gid() + 1 };
        let (path, meters) = (socket.path().to_owned(), Arc::new(Meters::default()));
        let mut connections = in_clear(socket, Door::new(Limits::default()), meters.clone());
        let stranger = async {
            let mut stream = UnixStream::connect(path).await.unwrap();
            stream.read(&mut [0; 1]).await
        };
        let ended = tokio::select! {
            ended = timeout(PATIENCE, stranger) => ended.unwrap(),
            _ = connections.next() => panic!("a stranger was let in"),
        };
        assert_eq!(ended.unwrap(), 0);
        assert_eq!((meters.not_let_in.get(), meters.accepted.get(), meters.turned_away.get()), (1, 0, 0));
    }
}
