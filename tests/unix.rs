//! The Unix socket: whose file it is, what lies at its place, and a life over it.

use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use countersign::grpc::door::Limits;
use countersign::grpc::unix::{UnixError, UnixSocket};
use countersign::wire::pb;
use pb::{ApprovalState, Outcome};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::time::timeout;
use tonic::Code;
use tonic::transport::Endpoint;

use crate::metrics::scrape;
use crate::support::client::{export, query, reason};
use crate::support::{Client, Options, TestServer};

const PATIENCE: Duration = Duration::from_secs(60);

async fn serve(connections: Limits) -> TestServer {
    TestServer::with(Options { unix: true, connections, ..Options::default() }).await
}

async fn over(socket: &Path, token: Option<&str>) -> Client {
    let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap();
    Client::over(endpoint.connect().await.expect("a connection"), token)
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

async fn refused(path: &Path) -> UnixError {
    UnixSocket::bind(path).await.err().unwrap_or_else(|| panic!("`{}` was taken", path.display()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_life_over_the_socket_needs_the_same_tokens_and_the_file_goes_with_the_server() {
    let server = serve(Limits::default()).await;
    let socket = server.socket();
    assert_eq!(mode(&socket), 0o660);
    let stranger = over(&socket, None).await.authorize(query("read", "Dataset", "weather")).await.unwrap_err();
    assert_eq!((stranger.code(), &*reason(&stranger)), (Code::Unauthenticated, "missing_token"));

    let agent = over(&socket, Some(&server.token("report-bot"))).await;
    let asked = agent.authorize(export()).await.unwrap();
    assert_eq!(asked.outcome(), Outcome::Pending);
    let approval = asked.approval.unwrap();
    for person in ["alice", "bob"] {
        let reviewer = over(&socket, Some(&server.token(person))).await;
        reviewer.approve(&reviewer.get(&approval.id).await.unwrap()).await.unwrap();
    }
    let redeemed = agent.authorize(pb::AuthorizeRequest { approval_id: approval.id, ..export() }).await.unwrap();
    assert_eq!(redeemed.outcome(), Outcome::Allow);
    assert_eq!(redeemed.approval.unwrap().state(), ApprovalState::Consumed);

    // Kept alive by its directory, which outlives the server here.
    let (_dir, _) = server.stop().await;
    assert!(!socket.exists(), "the socket is still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn places_are_counted_by_user_and_the_port_has_its_own() {
    let server = serve(Limits { per_address_max: 2, ..Limits::default() }).await;
    let socket = server.socket();
    let agent = over(&socket, Some(&server.token("report-bot"))).await;
    agent.authorize(query("read", "Dataset", "weather")).await.unwrap();
    let _second = UnixStream::connect(&socket).await.unwrap();
    let mut third = UnixStream::connect(&socket).await.unwrap();
    assert_eq!(timeout(PATIENCE, third.read(&mut [0; 1])).await.unwrap().unwrap(), 0, "one too many");
    assert_eq!(scrape(&server).await["countersign_connections_closed_total{reason=\"no_place\"}"], 1.0);
    server.client("report-bot").await.authorize(query("read", "Dataset", "weather")).await.unwrap();
    agent.authorize(query("read", "Dataset", "weather")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_begin_in_time_is_hung_up_on_here_as_well() {
    let server = serve(Limits { greeting_timeout: Duration::from_millis(200), ..Limits::default() }).await;
    let mut silent = UnixStream::connect(server.socket()).await.unwrap();
    // The server says its SETTINGS, and then nothing more.
    timeout(PATIENCE, silent.read_to_end(&mut Vec::new())).await.expect("an end").unwrap();
    assert_eq!(scrape(&server).await["countersign_connections_closed_total{reason=\"never_began\"}"], 1.0);
}

#[tokio::test]
async fn a_socket_that_answers_is_refused_and_one_of_a_dead_server_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("grpc.sock");
    // As `kill -9` leaves it: a file that nobody listens at.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let dead = fs::symlink_metadata(&path).unwrap();
    let living = UnixSocket::bind(&path).await.unwrap();
    let file = fs::symlink_metadata(&path).unwrap();
    assert!(file.file_type().is_socket() && (file.mtime_nsec(), file.ino()) != (dead.mtime_nsec(), dead.ino()));
    assert!(matches!(refused(&path).await, UnixError::Answered(_)));
    UnixStream::connect(&path).await.expect("the one that lives is still there");
    drop(living);
    assert!(!path.exists());
    // Another program's, which knows no lock.
    let foreign = std::os::unix::net::UnixListener::bind(&path).unwrap();
    assert!(matches!(refused(&path).await, UnixError::Answered(_)));
    drop(foreign);
    UnixSocket::bind(&path).await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_about_to_listen_is_not_taken_for_a_dead_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("grpc.sock");
    // As it stands between the two: bound, and nobody answers.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let about_to = fs::File::create(dir.path().join("grpc.sock.lock")).unwrap();
    about_to.lock().unwrap();
    assert!(matches!(refused(&path).await, UnixError::Answered(_)));
    assert!(path.exists());
    drop(about_to);
    UnixSocket::bind(&path).await.unwrap();
}

#[tokio::test]
async fn what_is_no_socket_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (path, link) = (dir.path().join("precious"), dir.path().join("link"));
    fs::write(&path, "data").unwrap();
    symlink(&path, &link).unwrap();
    for path in [&path, &link, &dir.path().join("..")] {
        assert!(matches!(refused(path).await, UnixError::NoSocket(_) | UnixError::NoFile(_)), "{}", path.display());
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "data");
}

#[tokio::test]
async fn a_server_takes_away_its_own_socket_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("grpc.sock");
    let first = UnixSocket::bind(&path).await.unwrap();
    fs::remove_file(&path).unwrap();
    let _second = std::os::unix::net::UnixListener::bind(&path).unwrap();
    drop(first);
    UnixStream::connect(&path).await.expect("the second one's");
}

#[tokio::test]
async fn a_directory_that_others_can_write_is_refused_wherever_it_is_on_the_way() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("run");
    let path = dir.join("grpc.sock");
    // Made where only it is missing.
    drop(UnixSocket::bind(&path).await.unwrap());
    assert_eq!(mode(&dir) & 0o027, 0);
    for (above, own, expected) in [
        (0o755, 0o755, true),
        (0o755, 0o2750, true),
        (0o755, 0o770, false),
        (0o755, 0o757, false),
        // Sticky: what is in it cannot be replaced, but for what is not there yet.
        (0o755, 0o1777, false),
        (0o1777, 0o755, true),
        (0o777, 0o755, false),
        (0o775, 0o755, false),
    ] {
        fs::set_permissions(root.path(), Permissions::from_mode(above)).unwrap();
        fs::set_permissions(&dir, Permissions::from_mode(own)).unwrap();
        let bound = UnixSocket::bind(&path).await;
        assert_eq!(bound.is_ok(), expected, "{above:o} {own:o}");
        match bound {
            Ok(socket) => drop(socket),
            Err(error) => {
                assert!(matches!(&error, UnixError::Open(_)) && error.to_string().contains("chmod go-w"), "{error}");
            }
        }
        assert!(!path.exists());
    }
}

#[tokio::test]
async fn a_link_on_the_way_is_followed_once_and_what_is_missing_above_is_told() {
    let root = tempfile::tempdir().unwrap();
    let (real, open) = (root.path().join("real"), root.path().join("open"));
    for dir in [&real, &open] {
        fs::create_dir(dir).unwrap();
    }
    symlink(&real, root.path().join("link")).unwrap();
    let bound = UnixSocket::bind(&root.path().join("link/grpc.sock")).await.unwrap();
    assert!(bound.path().ends_with("real/grpc.sock"));
    fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
    symlink(&open, root.path().join("way")).unwrap();
    assert!(matches!(refused(&root.path().join("way/grpc.sock")).await, UnixError::Open(_)));
    let missing = refused(&root.path().join("no/such/grpc.sock")).await;
    assert!(matches!(missing, UnixError::Io { source, .. } if source.kind() == ErrorKind::NotFound));
    let long = refused(&real.join("x".repeat(108))).await;
    assert!(matches!(long, UnixError::Io { source, .. } if source.kind() == ErrorKind::InvalidInput));
}
