//! The limits of HTTP/2 and of messages, as a client sees them: what the server says on every connection, and what comes of it where
//! somebody goes past it all the same.

use countersign::wire::pb;
use pb::Outcome;
use prost::Message;
use tonic::metadata::AsciiMetadataValue;
use tonic::{Code, Request};

use crate::metrics::scrape;
use crate::support::TestServer;
use crate::support::client::{query, reason};
use crate::support::http2::{REFUSED_STREAM, RST_STREAM, Raw, WINDOW_UPDATE, call, cancelled};

const AUTHORIZE: &str = "/countersign.v1.DecisionPoint/Authorize";
const STREAMS: u32 = 256;
const STREAM_WINDOW_BYTES: u32 = 64 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// What a connection has before anybody says more (RFC 9113 section 6.9.2).
const WINDOW_BYTES_AT_FIRST: u32 = 65_535;
const HEADER_BYTES: usize = 16 << 10;
const MESSAGE_BYTES: usize = 4 << 20;

/// The ids of clients' streams.
fn ids(from: u32) -> impl Iterator<Item = u32> {
    (from..).map(|number| 2 * number + 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_connection_is_told_the_limits() {
    let server = TestServer::start().await;
    let mut connection = Raw::connect(server.address()).await;
    let window = connection.next_of(WINDOW_UPDATE).await.number(0) + WINDOW_BYTES_AT_FIRST;
    assert_eq!(window, CONNECTION_WINDOW_BYTES);
    let said = |id: u16| connection.settings.iter().find(|(set, _)| *set == id).map(|(_, value)| *value);
    // RFC 9113 section 6.5.2; frames are as large as they are where nobody says otherwise.
    for (id, name, expected) in [
        (3, "SETTINGS_MAX_CONCURRENT_STREAMS", STREAMS),
        (4, "SETTINGS_INITIAL_WINDOW_SIZE", STREAM_WINDOW_BYTES),
        (5, "SETTINGS_MAX_FRAME_SIZE", 16 << 10),
        (6, "SETTINGS_MAX_HEADER_LIST_SIZE", HEADER_BYTES as u32),
    ] {
        assert_eq!(said(id), Some(expected), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_too_many_is_refused_alone_and_its_place_comes_back() {
    let server = TestServer::start().await;
    let mut connection = Raw::connect(server.address()).await;
    let mut ids = ids(0);
    let held: Vec<u32> = ids.by_ref().take(STREAMS as usize).collect();
    for id in &held {
        connection.write(&call(*id, AUTHORIZE, &[])).await;
    }
    // All of them are held: nothing is answered before their messages are there.
    connection.answers().await;
    connection.write(&call(ids.next().unwrap(), AUTHORIZE, &[])).await;
    let refused = connection.next_of(RST_STREAM).await;
    assert_eq!(refused.number(0), REFUSED_STREAM, "which says that nothing was done: clients may try again");
    connection.write(&cancelled(held[0])).await;
    connection.write(&call(ids.next().unwrap(), AUTHORIZE, &[])).await;
    assert!(!connection.answers().await.contains(&RST_STREAM));
    server.client("report-bot").await.authorize(query("read", "Dataset", "weather")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_and_messages_that_are_too_large_cost_their_call_only() {
    let server = TestServer::start().await;
    let agent = server.client("report-bot").await;
    let reading = || query("read", "Dataset", "weather");
    let with_header = |bytes: usize| {
        let mut request = Request::new(reading());
        request.metadata_mut().insert("x-filler", AsciiMetadataValue::try_from("x".repeat(bytes)).unwrap());
        request
    };
    let of_bytes = |bytes: usize| {
        let mut request = reading();
        request.justification = "x".repeat(bytes - reading().encoded_len() - 5);
        assert_eq!(request.encoded_len(), bytes);
        request
    };
    let with = |request| {
        let mut stub = agent.stub.clone();
        async move { stub.authorize(request).await }
    };
    let accepted = async || scrape(&server).await["countersign_connections_accepted_total"];
    let answer = with(with_header(HEADER_BYTES - 2_048)).await.unwrap().into_inner();
    assert_eq!(answer.outcome(), Outcome::Allow);
    let before = accepted().await;
    let refused = with(with_header(HEADER_BYTES)).await.unwrap_err();
    assert!(refused.message().contains("431"), "{refused}");

    // As much as may come is read, and judged by what it says.
    let read = with(Request::new(of_bytes(MESSAGE_BYTES))).await.unwrap_err();
    assert_eq!((read.code(), &*reason(&read)), (Code::InvalidArgument, "invalid_argument"));
    let refused = with(Request::new(of_bytes(MESSAGE_BYTES + 1))).await.unwrap_err();
    assert_eq!((refused.code(), &*reason(&refused)), (Code::InvalidArgument, "message_too_large"));

    assert_eq!(agent.authorize(reading()).await.unwrap().outcome(), Outcome::Allow);
    assert_eq!(accepted().await, before, "all of it over one connection");
}
