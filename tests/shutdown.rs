//! A server that is told to stop: what its clients hear, how long it takes, and that a second word ends it at once.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use countersign::wire::pb;
use tokio::task::JoinSet;
use tonic::{Code, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_types::StatusExt;

use crate::canary::ready;
use crate::crash::child::{Child, Site};
use crate::metrics::scrape_program;
use crate::support::TestServer;
use crate::support::client::{Client, export, export_by_id, reason, wait};

const CONNECTIONS: usize = 20;
const WAITS_OF_EACH: usize = 250;
const ALL: usize = CONNECTIONS * WAITS_OF_EACH;
/// Of health, while five thousand others are told as well.
const AT_ONCE: Duration = Duration::from_secs(5);
/// What an orchestrator gives, less what a preStop hook and the journal's end take.
const END_WITHIN: Duration = Duration::from_secs(25);

/// Calls that wait for the same approval, on connections of their own.
async fn waiting(server: &Child, token: &str, approval: &str) -> JoinSet<Result<pb::AuthorizeResponse, Status>> {
    let mut calls = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let agent = Client::connect(&server.url, token).await;
        for _ in 0..WAITS_OF_EACH {
            let agent = agent.clone();
            let asked = pb::AuthorizeRequest { wait: wait(Duration::from_secs(55)), ..export_by_id(approval) };
            calls.spawn(async move { agent.authorize(asked).await });
        }
    }
    while scrape_program(&server.said()).await["countersign_waits"] < ALL as f64 {
        assert!(calls.try_join_next().is_none(), "a wait ended");
    }
    calls
}

/// How long it takes from the signal until health says so; then it has no more to say.
async fn not_serving_after(mut health: tonic::Streaming<HealthCheckResponse>, began: Instant) -> Duration {
    let mut after = None;
    while let Some(word) = health.message().await.unwrap() {
        match word.status() {
            ServingStatus::NotServing => after = after.or(Some(began.elapsed())),
            other => assert_eq!((other, after), (ServingStatus::Serving, None), "well again"),
        }
    }
    after.expect("NOT_SERVING")
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_66_five_thousand_waits_end_with_a_way_to_go_on() {
    let site = Site::new().await;
    site.append("[telemetry]\nmetrics = \"127.0.0.1:0\"\n");
    let server = Child::start(&site, &[]).await;
    let token = site.token("report-bot");
    let agent = ready(&server.url, &token).await;
    let approval = agent.authorize(export()).await.unwrap().approval.unwrap();
    let channel = tonic::transport::Endpoint::from_shared(server.url.clone()).unwrap().connect().await.unwrap();
    let mut health = HealthClient::new(channel).watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    while health.message().await.unwrap().unwrap().status() != ServingStatus::Serving {}
    let mut calls = waiting(&server, &token, &approval.id).await;

    let began = Instant::now();
    let ended = tokio::spawn(async move {
        server.terminate().await;
        began.elapsed()
    });
    let not_serving = tokio::spawn(not_serving_after(health, began));
    let (mut pauses, mut told) = (BTreeSet::new(), 0);
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
        told += 1;
    }
    assert_eq!(told, ALL);
    // Not all at once.
    assert!(pauses.len() > 100, "{}", pauses.len());
    let (ended, not_serving) = (ended.await.unwrap(), not_serving.await.unwrap());
    assert!(ended < END_WITHIN, "{ended:?}");
    assert!(not_serving < AT_ONCE && not_serving < ended, "{not_serving:?} of {ended:?}");
    countersign::journal::verify(&site.journal(), None, &mut |_| ()).expect("a journal that is whole");

    // The hint is good: the next server goes on with the same approval.
    let server = Child::start(&site, &[]).await;
    let again = ready(&server.url, &token).await.authorize(export_by_id(&approval.id)).await.unwrap();
    assert_eq!((again.outcome(), again.approval.unwrap().id), (pb::Outcome::Pending, approval.id));
    server.terminate().await;
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
