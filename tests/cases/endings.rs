//! How calls and connections end, as a client of plain HTTP/2 sees it: what is late, and what the server ends by itself.

use std::time::Duration;

use countersign::wire::pb;
use http::{HeaderMap, Request};
use prost::Message;
use prost::bytes::Bytes;
use tokio::net::TcpStream;
use tonic::{Code, Status};

use crate::metrics::scrape;
use crate::support::TestServer;
use crate::support::client::{export_by_id, reason, wait};
use crate::support::http2::{Raw, call, message};

const AUTHORIZE: &str = "/countersign.v1.DecisionPoint/Authorize";

/// A wait for people, with what the caller says of how long it has; the head of the answer, which is all that an error has.
async fn waited(server: &TestServer, approval: &pb::Approval, timeout: &str) -> HeaderMap {
    let stream = TcpStream::connect(server.address()).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let asked =
        pb::AuthorizeRequest { wait: wait(Duration::from_secs(55)), ..export_by_id(&approval.id) }.encode_to_vec();
    let head = Request::post(format!("http://{}{AUTHORIZE}", server.address()))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("authorization", format!("Bearer {}", server.token("report-bot")))
        .header("grpc-timeout", timeout);
    let mut client = client.ready().await.unwrap();
    let (answer, mut body) = client.send_request(head.body(()).unwrap(), false).unwrap();
    let length = u32::try_from(asked.len()).unwrap().to_be_bytes();
    body.send_data(Bytes::from([&[0][..], &length, &asked].concat()), true).unwrap();
    let answer = answer.await.unwrap();
    connection.abort();
    answer.headers().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_passes_is_said_with_its_reason_counted_and_leaves_everything_as_it_was() {
    let server = TestServer::start().await;
    let (_, approval) = super::asked(&server).await;
    for timeout in ["300m", "1n"] {
        let status = Status::from_header_map(&waited(&server, &approval, timeout).await).unwrap();
        assert_eq!((status.code(), &*reason(&status)), (Code::DeadlineExceeded, "deadline_exceeded"), "{timeout}");
    }
    let samples = scrape(&server).await;
    assert_eq!(samples["countersign_refusals_total{reason=\"deadline_exceeded\"}"], 2.0);
    assert_eq!(samples["countersign_waits"], 0.0, "nobody waits any more");
    let now = server.client("alice").await.get(&approval.id).await.unwrap();
    assert_eq!(now.state(), pb::ApprovalState::Pending);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_says_goodbye_and_answers_what_is_under_way() {
    let server = TestServer::start().await;
    let (_, approval) = super::asked(&server).await;
    let mut connection = Raw::connect(server.address()).await;
    let asked =
        pb::AuthorizeRequest { wait: wait(Duration::from_secs(55)), ..export_by_id(&approval.id) }.encode_to_vec();
    let bearer = format!("Bearer {}", server.token("report-bot"));
    connection.write(&[call(1, AUTHORIZE, &[("authorization", &bearer)]), message(1, &asked)].concat()).await;
    while scrape(&server).await["countersign_waits"] < 1.0 {
        tokio::task::yield_now().await;
    }
    let stopped = tokio::spawn(server.stop());
    let (error, _) = connection.farewell().await;
    assert_eq!(error, 0, "NO_ERROR");
    // The wait's answer, after the goodbye or before it; then the connection is over.
    connection.read_to_end().await;
    stopped.await.unwrap();
}
