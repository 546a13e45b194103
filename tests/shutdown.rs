//! A server that is told to stop: what its clients hear, how long it takes, and that a second word ends it at once.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use countersign::wire::pb;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_types::StatusExt;

use crate::support::TestServer;
use crate::support::client::{Client, export, export_by_id, reason, wait};

const CONNECTIONS: usize = 20;
const WAITS_OF_EACH: usize = 250;
/// What an orchestrator gives, less what a preStop hook and the journal's end take.
const END_WITHIN: Duration = Duration::from_secs(25);

/// Calls that wait for the same approval, on connections of their own.
async fn waiting(server: &TestServer, approval: &str) -> tokio::task::JoinSet<Result<pb::AuthorizeResponse, Status>> {
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        let agent = server.client("report-bot").await;
        for _ in 0..WAITS_OF_EACH {
            let agent = agent.clone();
            let asked = pb::AuthorizeRequest { wait: wait(Duration::from_secs(55)), ..export_by_id(approval) };
            calls.spawn(async move { agent.authorize(asked).await });
        }
    }
    let all = (CONNECTIONS * WAITS_OF_EACH) as f64;
    while crate::metrics::scrape(server).await["countersign_waits"] < all {
        tokio::task::yield_now().await;
    }
    calls
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_66_five_thousand_waits_end_with_a_way_to_go_on() {
    let server = TestServer::start().await;
    let agent = server.client("report-bot").await;
    let approval = agent.authorize(export()).await.unwrap().approval.unwrap();
    let channel = tonic::transport::Endpoint::from_shared(server.url()).unwrap().connect().await.unwrap();
    let mut health = HealthClient::new(channel).watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(health.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let mut calls = waiting(&server, &approval.id).await;

    let began = Instant::now();
    let (dir, clock) = server.stop().await;
    assert!(began.elapsed() < END_WITHIN, "{:?}", began.elapsed());
    let mut last = ServingStatus::Serving;
    while let Some(word) = health.message().await.unwrap() {
        last = word.status();
    }
    assert_eq!(last, ServingStatus::NotServing, "the last word");
    let mut pauses = std::collections::BTreeSet::new();
    while let Some(call) = calls.join_next().await {
        let ended = call.unwrap().unwrap_err();
        assert_eq!((ended.code(), &*reason(&ended)), (Code::Unavailable, "shutting_down"), "{ended:?}");
        let details = ended.get_error_details();
        assert_eq!(details.error_info().unwrap().metadata["approval_id"], approval.id);
        let pause = details.retry_info().unwrap().retry_delay.unwrap();
        assert!((Duration::from_millis(200)..=Duration::from_secs(5)).contains(&pause), "{pause:?}");
        let pushback = ended.metadata().get("grpc-retry-pushback-ms").unwrap();
        assert_eq!(pushback.to_str().unwrap(), pause.as_millis().to_string());
        pauses.insert(pause);
    }
    // Not all at once.
    assert!(pauses.len() > 100, "{}", pauses.len());

    // The hint is good: the next server goes on with the same approval.
    let server = TestServer::on(dir, clock, crate::support::Options::default()).await;
    let again = server.client("report-bot").await.authorize(export_by_id(&approval.id)).await.unwrap();
    assert_eq!((again.outcome(), again.approval.unwrap().id), (pb::Outcome::Pending, approval.id));
}

/// The program itself, with a call in it that does not end.
struct Held {
    process: std::process::Child,
    said: std::io::Lines<BufReader<std::process::ChildStderr>>,
    _dir: tempfile::TempDir,
}

impl Held {
    fn start() -> (Self, String) {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command.args(["serve", "--dev", "--listen", "127.0.0.1:0", "--web-listen", "127.0.0.1:0"]);
        command.arg("--journal-dir").arg(dir.path().join("journal"));
        command.env_clear().env("COUNTERSIGN__DEV__ISSUER_LISTEN", "127.0.0.1:0");
        command.current_dir(env!("CARGO_MANIFEST_DIR")).stderr(Stdio::piped()).stdin(Stdio::null());
        let mut process = command.spawn().unwrap();
        let mut said = BufReader::new(process.stderr.take().unwrap()).lines();
        let url = said.by_ref().map(Result::unwrap).find_map(|line| Some(line.split_once("listens on ")?.1.to_owned()));
        (Self { process, said, _dir: dir }, url.expect("an address"))
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").arg(signal).arg(self.process.id().to_string()).status().unwrap();
        assert!(sent.success());
    }

    fn until_said(&mut self, words: &str) {
        assert!(self.said.by_ref().map(Result::unwrap).any(|line| line.contains(words)), "never said: {words}");
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Gone already where the test went well.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    let (mut held, url) = Held::start();
    // A stream that nobody ends: the server would wait for it for a while.
    let channel = tonic::transport::Endpoint::from_shared(url).unwrap().connect().await.unwrap();
    let asked = futures_util::stream::pending();
    let stream = ServerReflectionClient::new(channel).server_reflection_info(asked).await.unwrap();
    held.signal("-TERM");
    held.until_said("stopping: no new calls");
    assert!(held.process.try_wait().unwrap().is_none(), "it waits for the stream");
    let began = Instant::now();
    held.signal("-TERM");
    let ended = held.process.wait().unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(ended.code(), Some(143));
    drop(stream);
}

/// Overload says when to come back, too.
#[tokio::test(flavor = "multi_thread")]
async fn over_a_limit_the_caller_is_told_when_to_ask_again() {
    let limits = countersign::service::Limits { waits_max: 0, ..countersign::service::Limits::default() };
    let server = TestServer::with(crate::support::Options { limits, ..crate::support::Options::default() }).await;
    let agent: Client = server.client("report-bot").await;
    let asked = pb::AuthorizeRequest { wait: wait(Duration::from_secs(55)), ..export() };
    let refused = agent.authorize(asked).await.unwrap_err();
    assert_eq!((refused.code(), &*reason(&refused)), (Code::ResourceExhausted, "limit_exceeded"));
    let pause = refused.get_error_details().retry_info().unwrap().retry_delay.unwrap();
    assert!(pause >= Duration::from_millis(500), "{pause:?}");
    let wrong = agent.authorize(pb::AuthorizeRequest::default()).await.unwrap_err();
    assert!(wrong.get_error_details().retry_info().is_none(), "asking the same again does not help");
}
