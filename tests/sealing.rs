//! The journal is sealed: what people asked, and who they said they are, is not to be read from the disk; with the key all goes
//! on working, and without it nothing is taken for something else.

use std::path::Path;
use std::process::Command;

use countersign::config::keys::{KeyPlace, KeySettings};
use countersign::config::{Sealing, SealingMode};
use countersign::server::{Listeners, Server};
use countersign::store::ManualClock;
use countersign::wire::pb;
use countersign::{journal, vault};
use tokio::net::TcpListener;

use crate::support::client::{Client, export, string, vote};
use crate::support::{Options, TestServer, setup, today};

/// One of each for every place, so that a leak says where it came from.
const CONTEXT: &str = "sesame-context";
const JUSTIFICATION: &str = "sesame-justification";
const COMMENT: &str = "sesame-comment";
const KEY: &str = "sesame-idempotency";
const DISPLAY_NAME: &str = "Sesame Display";
const SECRETS: [&str; 5] = [CONTEXT, JUSTIFICATION, COMMENT, KEY, DISPLAY_NAME];

fn keys(dir: &Path, keys: &[(&str, &str)]) -> Sealing {
    let place = |id: &str, digits: &str| {
        let path = dir.join(format!("{id}.key"));
        std::fs::write(&path, digits.repeat(32)).unwrap();
        KeySettings { id: id.into(), from: KeyPlace::File(path.display().to_string()) }
    };
    Sealing { mode: SealingMode::Keys, keys: keys.iter().map(|(id, digits)| place(id, digits)).collect() }
}

/// A query with something in every field, and a person's vote with a comment.
async fn exercise(server: &TestServer) -> pb::Approval {
    let mut claims = serde_json::Map::new();
    claims.insert("name".into(), DISPLAY_NAME.into());
    let bot = server.client("report-bot").await;
    let mut query = pb::AuthorizeRequest { justification: JUSTIFICATION.into(), ..export() };
    query.context.insert("destination".into(), string(CONTEXT));
    query.idempotency_key = KEY.into();
    let approval = bot.authorize(query).await.unwrap().approval.unwrap();
    let alice = countersign::web::dev_issuer::find("alice").unwrap();
    let alice = server.client_with(alice, &claims).await;
    alice.stub.clone().decide(vote(&approval, pb::Verdict::Approve, COMMENT)).await.unwrap();
    approval
}

/// Whether the files of a directory hold a text; but for the key.
fn holds(dir: &Path, text: &str) -> bool {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files = files.filter(|path| path.is_file() && !path.ends_with(vault::kept::NAME));
    files.any(|path| std::fs::read(path).unwrap().windows(text.len()).any(|window| window == text.as_bytes()))
}

fn journal_of(server: &TestServer) -> std::path::PathBuf {
    server.dir.path().join("journal")
}

async fn history(server: &TestServer, approval: &str) -> Vec<pb::Record> {
    server.client("erin").await.records_of(approval).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_is_not_to_be_read_from_the_disk() {
    let server = TestServer::start().await;
    let approval = exercise(&server).await;
    let dir = journal_of(&server);
    for secret in SECRETS {
        assert!(!holds(&dir, secret), "the journal holds {secret}");
    }
    // The hash of the query would give away what is easily tried out.
    let binding: Vec<u8> =
        (0..32).map(|at| u8::from_str_radix(&approval.binding[2 * at..][..2], 16).unwrap()).collect();
    let bytes = std::fs::read(dir.join("00000000000000000001.seg")).unwrap();
    assert!(!bytes.windows(32).any(|window| window == binding), "the journal holds the binding");
    assert!(holds(&dir, "report-bot") && holds(&dir, &approval.id), "it is found by who and by which approval");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_key_all_is_as_it_was_after_a_restart() {
    let server = TestServer::start().await;
    let approval = exercise(&server).await;
    let before = history(&server, &approval.id).await;
    let server = server.restart().await;
    let after = history(&server, &approval.id).await;
    assert_eq!(after[..before.len()], before[..]);
    let seen = server.client("alice").await.get(&approval.id).await.unwrap();
    assert_eq!((seen.context["destination"].clone(), &*seen.justification), (string(CONTEXT), JUSTIFICATION));
    assert_eq!((seen.binding, seen.state), (approval.binding, pb::ApprovalState::Pending.into()));
    assert_eq!(seen.reviews[0].comment, COMMENT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_in_clear_is_sealed_from_the_first_key_on_and_read_across_every_change() {
    let dir = tempfile::tempdir().unwrap();
    let off = Sealing { mode: SealingMode::Off, keys: Vec::new() };
    let server = TestServer::with(Options { sealing: off, ..Options::default() }).await;
    let first = exercise(&server).await;
    assert!(holds(&journal_of(&server), CONTEXT), "nothing sealed it");
    let whole = history(&server, &first.id).await;
    // The first key; another in front of it; none any more, but those that open.
    let (one, two) = (keys(dir.path(), &[("one", "01")]), keys(dir.path(), &[("two", "02"), ("one", "01")]));
    let opening = Sealing { mode: SealingMode::Off, ..two.clone() };
    let mut server = server;
    for sealing in [one, two, opening] {
        server = server.restart_with(Options { sealing, ..Options::default() }).await;
        assert_eq!(history(&server, &first.id).await, whole);
        read(&server).await;
    }
    assert!(server.client("erin").await.records_of("").await.len() > whole.len());
}

async fn read(server: &TestServer) {
    let bot: Client = server.client("report-bot").await;
    bot.authorize(export()).await.unwrap();
}

/// What a start on the journal of a server that is gone says.
fn refused(dir: tempfile::TempDir, sealing: Sealing) -> (String, tempfile::TempDir) {
    let (clock, options) = (ManualClock::starting_at(today()), Options { sealing, ..Options::default() });
    let bind = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (grpc, issuer) = (bind(), bind());
    grpc.set_nonblocking(true).unwrap();
    issuer.set_nonblocking(true).unwrap();
    let listeners = Listeners {
        grpc: TcpListener::from_std(grpc).unwrap(),
        grpc_unix: None,
        web: None,
        metrics: None,
        dev_issuer: Some(TcpListener::from_std(issuer).unwrap()),
    };
    let said = Server::prepare(setup(&dir, &clock, options), listeners).err().expect("a refusal").to_string();
    (said, dir)
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_key_or_with_another_nothing_starts_and_the_key_is_named() {
    let at = tempfile::tempdir().unwrap();
    let sealing = keys(at.path(), &[("one", "01")]);
    let server = TestServer::with(Options { sealing: sealing.clone(), ..Options::default() }).await;
    let approval = exercise(&server).await;
    let (dir, _) = server.stop().await;
    let before = std::fs::read(dir.path().join("journal/00000000000000000001.seg")).unwrap();
    let (said, dir) = refused(dir, Sealing { mode: SealingMode::Off, keys: Vec::new() });
    assert!(said.contains("it is sealed with the key `one`, which is not among `journal.sealing_keys`"), "{said}");
    let (said, dir) = refused(dir, keys(at.path(), &[("one", "0f")]));
    assert!(said.contains("the key `one` is not the one that sealed it"), "{said}");
    let (said, dir) = refused(dir, keys(at.path(), &[("two", "02")]));
    assert!(said.contains("sealed with the key `one`"), "{said}");
    assert_eq!(std::fs::read(dir.path().join("journal/00000000000000000001.seg")).unwrap(), before, "it was changed");
    // Proving it takes no key.
    journal::verify(&dir.path().join("journal"), None, &mut |_| {}).unwrap();
    let sealing = keys(at.path(), &[("one", "01")]);
    let server =
        TestServer::on(dir, ManualClock::starting_at(today()), Options { sealing, ..Options::default() }).await;
    assert!(!history(&server, &approval.id).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_proves_a_sealed_journal_without_its_key_and_replays_it_with_it() {
    let server = TestServer::start().await;
    exercise(&server).await;
    let (dir, _) = server.stop().await;
    let journal = dir.path().join("journal");
    let run = |words: &[&str]| {
        let mut command = Command::new(crate::crash::child::program());
        let done = command.env_clear().current_dir(dir.path()).args(words).arg(&journal).output().unwrap();
        (done.status.success(), String::from_utf8([done.stdout, done.stderr].concat()).unwrap())
    };
    let policies = concat!(env!("CARGO_MANIFEST_DIR"), "/policies");
    let diff = ["policy", "diff", policies, policies, "--journal"];
    let (good, said) = run(&diff);
    assert!(good, "{said}");
    std::fs::rename(journal.join(vault::kept::NAME), dir.path().join("elsewhere")).unwrap();
    let (good, said) = run(&["audit", "verify"]);
    assert!(good && said.contains("whole"), "{said}");
    let (good, said) = run(&diff);
    assert!(!good && said.contains("it is sealed with the key `kept-"), "{said}");
    for secret in SECRETS {
        assert!(!said.contains(secret), "{said}");
    }
}
