//! Bursts of cancelled waits on one connection.

use std::time::Duration;

use countersign::wire::pb;
use pb::{ApprovalState, Outcome};

use super::{asked, said};
use crate::support::TestServer;
use crate::support::client::{export_by_id, wait};
use crate::support::http2::{Raw, call, cancelled};

const BURSTS: usize = 64;
const BURST: usize = 64;

#[tokio::test(flavor = "multi_thread")]
async fn fault_59_thousands_of_cancelled_waits_lose_no_other_call_of_the_connection() {
    let server = TestServer::start().await;
    let (agent, approval) = asked(&server).await;
    let waiting = || {
        let agent = agent.clone();
        let asked = pb::AuthorizeRequest { wait: wait(Duration::from_secs(55)), ..export_by_id(&approval.id) };
        tokio::spawn(async move { agent.authorize(asked).await })
    };
    // One wait of the same connection must live through it all.
    let survivor = waiting();
    let started = std::time::Instant::now();
    for round in 0..BURSTS {
        let burst: Vec<_> = (0..BURST).map(|_| waiting()).collect();
        if round % 2 == 0 {
            // Every wait of this burst has reached the server; those of the others may be cancelled on their way.
            agent.get(&approval.id).await.unwrap();
        } else {
            tokio::task::yield_now().await;
        }
        for call in &burst {
            call.abort();
        }
        for call in burst {
            assert!(call.await.is_err_and(|error| error.is_cancelled()));
        }
    }
    assert_eq!(agent.get(&approval.id).await.unwrap().state(), ApprovalState::Pending);
    assert!(!survivor.is_finished());
    server.client("alice").await.approve(&approval).await.unwrap();
    server.client("bob").await.approve(&approval).await.unwrap();
    let mut answer = survivor.await.unwrap().unwrap();
    if started.elapsed() > Duration::from_secs(50) && answer.outcome() == Outcome::Pending {
        // On a machine this slow its time was up: it was answered all the same, and asks again like any client.
        answer = agent.authorize(export_by_id(&approval.id)).await.unwrap();
    }
    assert_eq!(said(&answer), (Outcome::Allow, "granted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_59_cancellations_that_arrive_with_their_calls_do_not_end_the_connection() {
    let server = TestServer::start().await;
    let mut connection = Raw::connect(server.address()).await;
    let begun = |stream| call(stream, "/countersign.v1.DecisionPoint/Authorize", &[]);
    for burst in 0..BURSTS {
        let first = 1 + 2 * u32::try_from(burst * BURST).unwrap();
        let calls = (0..BURST as u32).map(|call| first + 2 * call);
        let together: Vec<u8> = calls.flat_map(|stream| [begun(stream), cancelled(stream)].concat()).collect();
        connection.write(&together).await;
        connection.answers().await;
    }
}
