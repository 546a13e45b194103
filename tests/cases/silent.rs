//! Connections of those who never say anything: what they may hold, and for how long.

use std::time::Duration;

use countersign::grpc::door::Limits;
use countersign::wire::pb::Outcome;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::metrics::scrape;
use crate::support::client::query;
use crate::support::http2::{PREFACE, SETTINGS, frame};
use crate::support::{Options, TestServer};

/// Of whoever waits for something that happens: far longer than it takes.
const PATIENCE: Duration = Duration::from_secs(60);

async fn serve(connections: Limits) -> TestServer {
    TestServer::with(Options { connections, ..Options::default() }).await
}

async fn connect(server: &TestServer) -> TcpStream {
    TcpStream::connect(server.address()).await.unwrap()
}

/// Whether the server hangs up.
async fn is_ended(stream: &mut TcpStream) -> bool {
    let mut bytes = Vec::new();
    // A reset is an end as well.
    timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_63_who_does_not_begin_in_time_is_hung_up_on_and_others_notice_nothing() {
    let server = serve(Limits { greeting_timeout: Duration::from_millis(200), ..Limits::default() }).await;
    let agent = server.client("report-bot").await;
    let (mut silent, mut half, mut slow, mut whole) =
        (connect(&server).await, connect(&server).await, connect(&server).await, connect(&server).await);
    half.write_all(&PREFACE[..12]).await.unwrap();
    whole.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, b"")].concat()).await.unwrap();
    let drip = async {
        for byte in PREFACE {
            if slow.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    drip.await;
    assert!(is_ended(&mut silent).await && is_ended(&mut half).await && is_ended(&mut slow).await);
    let mut answer = [0; 9];
    whole.read_exact(&mut answer).await.expect("the server's own SETTINGS");
    assert!(timeout(Duration::from_millis(400), async { whole.read_exact(&mut [0; 1 << 16]).await }).await.is_err());
    assert_eq!(agent.authorize(query("read", "Dataset", "weather")).await.unwrap().outcome(), Outcome::Allow);
    assert_eq!(scrape(&server).await["countersign_connections_closed_total{reason=\"never_began\"}"], 3.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_63_connections_are_bounded_and_whoever_is_there_is_served() {
    let server = serve(Limits { per_address_max: 4, ..Limits::default() }).await;
    let agent = server.client("report-bot").await;
    agent.authorize(query("read", "Dataset", "weather")).await.unwrap();
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(connect(&server).await);
    }
    let mut more = connect(&server).await;
    assert!(is_ended(&mut more).await, "one too many");
    assert_eq!(scrape(&server).await["countersign_connections_closed_total{reason=\"no_place\"}"], 1.0);
    assert_eq!(agent.authorize(query("read", "Dataset", "weather")).await.unwrap().outcome(), Outcome::Allow);
    drop(held);
    // Places are given back as the server notices.
    let again = async {
        loop {
            let mut stream = connect(&server).await;
            stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, b"")].concat()).await.unwrap();
            if stream.read_exact(&mut [0; 9]).await.is_ok() {
                return;
            }
        }
    };
    timeout(PATIENCE, again).await.expect("a place");
}
