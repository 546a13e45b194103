//! Fault 77, a place of record that is blocked: a disk that does not answer. There is one such place at each server, its journal, and no
//! other would do: an ALLOW whose record lies elsewhere is one that an audit of the journal does not find. So here "all blocked" is one
//! disk that hangs, and the other replicas are what is left: health sends callers there.
//!
//! The matrix has denials answered meanwhile. DESIGN rules ("every decision is on disk before it is answered"): they are UNAVAILABLE,
//! which means to whoever enforces what a denial means. With a disk that is *full*, which is known at once, denials are answered from
//! the reserve (`full_disk.rs`).

use std::time::{Duration, Instant};

use countersign::wire::pb;
use pb::Outcome;
use tokio::time::timeout;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::canary::ready;
use crate::crash::child::{Child, Site};
use crate::crash::strace;
use crate::metrics::{Samples, scrape_program};
use crate::support::client::{query, reason};

/// One sync does not return for so long.
const BLOCKED: Duration = Duration::from_secs(30);
/// Of an answer that waits for no disk.
const ANSWER: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(60);

/// A server of whose syncs one hangs, some time after the start.
async fn serve(site: &Site) -> Child {
    site.append("[telemetry]\nmetrics = \"127.0.0.1:0\"\n");
    let inject = format!("inject=fdatasync:delay_enter={}s:when=30", BLOCKED.as_secs());
    // The tracer is a child of the server, which is then ours to end.
    let wrapper =
        [&*strace(), "-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", &inject].map(str::to_owned);
    Child::start(site, &wrapper).await
}

async fn scrape(server: &Child) -> Samples {
    scrape_program(&server.said()).await
}

async fn until_disk_is(server: &Child, wanted: ServingStatus) {
    let channel = tonic::transport::Endpoint::from_shared(server.url.clone()).unwrap().connect_lazy();
    let mut health = HealthClient::new(channel);
    for service in ["journal.disk", ""] {
        let mut states = health.watch(HealthCheckRequest { service: service.into() }).await.unwrap().into_inner();
        let seen = async { while states.message().await.unwrap().expect("a server that lives").status() != wanted {} };
        timeout(PATIENCE, seen).await.unwrap_or_else(|_| panic!("`{service}` is never {wanted:?}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_77_a_disk_that_hangs_closes_everything_says_so_and_goes_on_when_it_answers() {
    let site = Site::new().await;
    let server = serve(&site).await;
    let agent = ready(&server.url, &site.token("report-bot")).await;
    let reading = || query("read", "Dataset", "weather");
    let began = Instant::now();
    let blocked = loop {
        let (agent, query) = (agent.clone(), reading());
        let mut call = tokio::spawn(async move { agent.authorize(query).await });
        // What an alert looks at, before anything is refused (`CountersignJournalStalled`).
        let hangs = async { while scrape(&server).await["countersign_journal_stall_seconds"] < 2.0 {} };
        tokio::select! {
            answer = &mut call => assert_eq!(answer.unwrap().unwrap().outcome(), Outcome::Allow),
            () = hangs => break call,
        }
        assert!(began.elapsed() < PATIENCE, "no sync hangs");
    };
    until_disk_is(&server, ServingStatus::NotServing).await;
    let closed = Instant::now();
    for asked in [reading(), query("drop", "Database", "warehouse"), crate::support::client::export()] {
        let refused = timeout(ANSWER, agent.authorize(asked)).await.expect("at once").unwrap_err();
        assert_eq!((refused.code(), &*reason(&refused)), (Code::Unavailable, "unavailable"), "{refused}");
    }
    assert!(!blocked.is_finished(), "it was answered without its record");
    let counted = scrape(&server).await;
    assert!(counted["countersign_journal_refusals_total{reason=\"stalled\"}"] >= 3.0);
    assert!(closed.elapsed() < Duration::from_secs(15), "too slow a machine for what this asks");
    // The disk answers again, and so does everybody who waited for it.
    let answer = timeout(PATIENCE, blocked).await.expect("an answer").unwrap().unwrap();
    assert_eq!(answer.outcome(), Outcome::Allow);
    until_disk_is(&server, ServingStatus::Serving).await;
    assert_eq!(agent.authorize(reading()).await.unwrap().outcome(), Outcome::Allow);
    assert_eq!(agent.authorize(query("drop", "Database", "warehouse")).await.unwrap().outcome(), Outcome::Deny);
    server.terminate().await;
    let report = countersign::journal::verify(&site.journal(), None, &mut |_| ()).expect("a journal that is whole");
    assert!(report.last > 30, "{}", report.last);
}
