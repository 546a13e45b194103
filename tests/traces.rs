//! Traces of a server whose collector takes nothing: whose calls are sampled, and that nobody waits for it. What a collector receives
//! is in `tests/clients/otlp`.

use std::time::{Duration, Instant};

use countersign::wire::pb;
use pb::Outcome;
use prost::Message;
use tokio::net::TcpListener;
use tonic::Code;
use tonic::transport::Endpoint;

use crate::canary::ready;
use crate::crash::child::{Child, Site};
use crate::metrics::{Samples, scrape_program};
use crate::support::Client;
use crate::support::client::{export, export_by_id, query, wait};
use crate::support::http2::{Raw, call, cancelled, message};

/// Sampled, says who sends it.
const TRACE_PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";
const STRANGERS: usize = 50;
/// The call, its evaluation, its commit.
const SPANS_OF_A_CALL: f64 = 3.0;
/// Their spans are more than wait for a collector.
const CALLS: usize = 3_000;

/// A server that samples nothing of its own accord, and its collector: a port that takes connections and says nothing.
async fn serve(site: &Site) -> (Child, TcpListener) {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let traces = format!("http://{}", silent.local_addr().unwrap());
    let variables = [
        ("COUNTERSIGN__TELEMETRY__TRACES", &*traces),
        ("COUNTERSIGN__TELEMETRY__SAMPLE_RATIO", "0"),
        ("COUNTERSIGN__TELEMETRY__METRICS", "127.0.0.1:0"),
    ];
    (Child::start_with(site, &variables).await, silent)
}

async fn sampled(server: &Child, token: &str) -> Client {
    let channel = Endpoint::from_shared(server.url.clone()).unwrap().connect().await.unwrap();
    Client::with_headers(channel, Some(format!("Bearer {token}")), Some(TRACE_PARENT))
}

async fn scrape(server: &Child) -> Samples {
    scrape_program(&server.said()).await
}

/// Spans of sampled calls, whatever became of them.
fn spans(samples: &Samples) -> f64 {
    let of = |result: &str| samples[&format!("countersign_spans_total{{result=\"{result}\"}}")];
    ["exported", "failed", "dropped"].map(of).iter().sum::<f64>() + samples["countersign_spans_waiting"]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_is_sampled_for_a_caller_who_is_known_and_for_no_stranger() {
    let site = Site::new().await;
    let (server, _collector) = serve(&site).await;
    ready(&server.url, &site.token("report-bot")).await;
    let stranger = sampled(&server, "nobody's").await;
    for _ in 0..STRANGERS {
        let refused = stranger.authorize(query("read", "Dataset", "weather")).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
    }
    let known = sampled(&server, &site.token("report-bot")).await;
    known.authorize(query("read", "Dataset", "weather")).await.unwrap();
    let counted = loop {
        let counted = spans(&scrape(&server).await);
        if counted >= SPANS_OF_A_CALL {
            break counted;
        }
    };
    assert_eq!(counted, SPANS_OF_A_CALL, "those of the one call alone");
    server.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_client_went_away_is_a_cancelled_span_and_a_line_with_its_ids_and_nothing_of_what_was_asked() {
    let site = Site::new().await;
    site.append("[log]\nlevel = \"warn,countersign::grpc=info\"\n");
    let (server, _collector) = serve(&site).await;
    let token = site.token("report-bot");
    let approval = ready(&server.url, &token).await.authorize(export()).await.unwrap().approval.unwrap();
    let mut connection = Raw::connect(server.url.trim_start_matches("http://").parse().unwrap()).await;
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", &*bearer), ("traceparent", TRACE_PARENT), ("x-request-id", "gone-1")];
    let asked = pb::AuthorizeRequest { wait: wait(Duration::from_secs(55)), ..export_by_id(&approval.id) };
    let call = call(1, "/countersign.v1.DecisionPoint/Authorize", &headers);
    connection.write(&[call, message(1, &asked.encode_to_vec())].concat()).await;
    while scrape(&server).await["countersign_waits"] < 1.0 {}
    let before = spans(&scrape(&server).await);
    connection.write(&cancelled(1)).await;
    let line = loop {
        if let Some(line) = server.said().lines().find(|line| line.contains("went away")) {
            break line.to_owned();
        }
        tokio::task::yield_now().await;
    };
    let told: serde_json::Value = serde_json::from_str(&line).unwrap();
    let span = &told["span"];
    assert_eq!((&told["level"], &span["request.id"]), (&"INFO".into(), &"gone-1".into()), "{line}");
    assert_eq!((&span["trace.id"], &span["rpc.method"]), (&TRACE_ID.into(), &"Authorize".into()), "{line}");
    assert_eq!(span["rpc.grpc.status_code"], i32::from(Code::Cancelled), "{line}");
    assert_eq!(span["otel.status_code"], serde_json::Value::Null, "no error of the server's");
    for secret in ["s3://partner", "quarterly report", "report-bot", "customers", &token] {
        assert!(!line.contains(secret), "{line}");
    }
    // Its span has gone to the collector as any other.
    while spans(&scrape(&server).await) <= before {}
    server.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_76_with_a_collector_that_takes_nothing_every_call_is_answered_and_what_is_lost_is_counted() {
    let site = Site::new().await;
    let (server, _collector) = serve(&site).await;
    ready(&server.url, &site.token("report-bot")).await;
    let agent = sampled(&server, &site.token("report-bot")).await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..CALLS {
        let agent = agent.clone();
        calls.spawn(async move { agent.authorize(query("read", "Dataset", "weather")).await.unwrap().outcome() });
    }
    while let Some(outcome) = calls.join_next().await {
        assert_eq!(outcome.unwrap(), Outcome::Allow);
    }
    let all = SPANS_OF_A_CALL * CALLS as f64;
    let counted = loop {
        let counted = scrape(&server).await;
        if spans(&counted) >= all {
            break counted;
        }
    };
    assert_eq!(spans(&counted), all);
    assert!(counted["countersign_spans_waiting"] <= 4_096.0);
    assert_eq!(counted["countersign_spans_total{result=\"exported\"}"], 0.0);
    let lost = ["failed", "dropped"].map(|result| counted[&format!("countersign_spans_total{{result=\"{result}\"}}")]);
    assert!(lost.iter().sum::<f64>() >= all - 4_096.0, "{lost:?}");
    // Nor does the end wait for it for long.
    let began = Instant::now();
    server.terminate().await;
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}
