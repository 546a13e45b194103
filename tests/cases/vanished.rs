//! Clients that are gone without a word, or that stop in the middle of one: what was kept for them is freed, and who is there
//! notices nothing.

use std::time::Duration;

use countersign::grpc::door::Limits;
use countersign::grpc::transport::{Life, Pace};
use countersign::wire::pb;
use pb::Outcome;
use prost::Message;
use tokio::time::timeout;

use super::{asked, said};
use crate::metrics::{Samples, scrape};
use crate::support::client::{export_by_id, wait};
use crate::support::http2::{ACK, PING, Raw, call, half, message};
use crate::support::{Options, TestServer};

const AUTHORIZE: &str = "/countersign.v1.DecisionPoint/Authorize";
const SUBSCRIBE: &str = "/countersign.v1.DecisionPoint/Subscribe";
/// Of whoever waits for something that happens: far longer than it takes.
const PATIENCE: Duration = Duration::from_secs(40);

async fn serve(pace: Pace) -> TestServer {
    TestServer::with(Options { connections: Limits { pace, ..Limits::default() }, ..Options::default() }).await
}

async fn until(server: &TestServer, is_so: impl Fn(&Samples) -> bool) {
    let seen = async {
        while !is_so(&scrape(server).await) {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, seen).await.expect("what was kept is freed");
}

fn held(samples: &Samples) -> (f64, f64) {
    (samples["countersign_waits"], samples["countersign_subscribers"])
}

/// A wait, a stream of events and half a message, over one connection.
async fn busy(server: &TestServer, approval: &pb::Approval) -> Raw {
    let waits = pb::AuthorizeRequest { wait: wait(Duration::from_secs(55)), ..export_by_id(&approval.id) };
    let waits = waits.encode_to_vec();
    let [agent, auditor] = ["report-bot", "erin"].map(|who| format!("Bearer {}", server.token(who)));
    let mut connection = Raw::connect(server.address()).await;
    let calls = [
        call(1, AUTHORIZE, &[("authorization", &agent)]),
        message(1, &waits),
        call(3, SUBSCRIBE, &[("authorization", &auditor)]),
        message(3, &[]),
        call(5, AUTHORIZE, &[("authorization", &agent)]),
        half(5, &waits),
    ];
    connection.write(&calls.concat()).await;
    connection
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_64_who_does_not_answer_is_gone_and_what_was_kept_is_freed_and_who_answers_waits_on() {
    // 30 s and 10 s, were this not a test.
    let (keepalive_interval, keepalive_timeout) = (Duration::from_millis(200), Duration::from_secs(3));
    let server = serve(Pace { keepalive_interval, keepalive_timeout, ..Pace::default() }).await;
    let (agent, approval) = asked(&server).await;
    let there = tokio::spawn({
        let asked = pb::AuthorizeRequest { wait: wait(Duration::from_secs(55)), ..export_by_id(&approval.id) };
        async move { agent.authorize(asked).await }
    });
    let mut vanished = busy(&server, &approval).await;
    until(&server, |samples| held(samples) == (2.0, 1.0)).await;
    // It holds its end open, and says nothing more.
    until(&server, |samples| held(samples) == (1.0, 0.0)).await;
    let mut asked_after = 0;
    while let Ok(frame) = vanished.read().await {
        asked_after += usize::from(frame.kind == PING && frame.flags & ACK == 0);
    }
    assert!(asked_after > 0, "it was never asked whether it is there");
    assert!(!there.is_finished());
    server.client("alice").await.approve(&approval).await.unwrap();
    server.client("bob").await.approve(&approval).await.unwrap();
    assert_eq!(said(&there.await.unwrap().unwrap()), (Outcome::Allow, "granted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_64_whoever_hangs_up_is_gone_at_once_whatever_he_has_not_finished() {
    let server = TestServer::start().await;
    let (_, approval) = asked(&server).await;
    let mut hung_up = busy(&server, &approval).await;
    until(&server, |samples| held(samples) == (1.0, 1.0)).await;
    // His half of the connection: he could still read.
    hung_up.hang_up().await;
    until(&server, |samples| held(samples) == (0.0, 0.0)).await;
    timeout(PATIENCE, hung_up.read_to_end()).await.expect("the other half is closed as well");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_64_a_message_that_is_never_whole_ends_with_its_connection_at_the_latest() {
    let (age, grace) = (Duration::from_secs(3), Duration::from_millis(500));
    // Nobody asks whether it is still there.
    let keepalive_interval = Duration::from_secs(600);
    let server = serve(Pace { life: Life { age, grace }, keepalive_interval, ..Pace::default() }).await;
    let bearer = format!("Bearer {}", server.token("report-bot"));
    let mut connection = Raw::connect(server.address()).await;
    connection.write(&[call(1, AUTHORIZE, &[("authorization", &bearer)]), half(1, b"a query")].concat()).await;
    assert_eq!(connection.farewell().await.0, 0, "NO_ERROR: past its age");
    timeout(PATIENCE, connection.read_to_end()).await.expect("closed after the grace");
}
