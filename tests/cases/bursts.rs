//! Bursts of cancelled waits on one connection.

use std::time::Duration;

use countersign::wire::pb;
use pb::{ApprovalState, Outcome};

use super::{asked, said};
use crate::support::TestServer;
use crate::support::client::{export_by_id, wait};

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
    let mut connection = Raw::connect(&server.url()).await;
    for burst in 0..BURSTS {
        let first = 1 + 2 * u32::try_from(burst * BURST).unwrap();
        let calls = (0..BURST as u32).map(|call| first + 2 * call);
        let together: Vec<u8> = calls.flat_map(|stream| [begun(stream), cancelled(stream)].concat()).collect();
        connection.write(&together).await;
        connection.answers().await;
    }
}

/// HTTP/2 by hand: a client library would send a call and its cancellation apart.
struct Raw(tokio::net::TcpStream);

const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;

impl Raw {
    async fn connect(url: &str) -> Self {
        let address = url.trim_start_matches("http://");
        let mut raw = Self(tokio::net::TcpStream::connect(address).await.unwrap());
        raw.write(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(SETTINGS, 0, 0, b"")[..]].concat()).await;
        while raw.read().await.0 != SETTINGS {}
        raw.write(&frame(SETTINGS, ACK, 0, b"")).await;
        raw
    }

    /// The connection is alive: a ping comes back, and no farewell.
    async fn answers(&mut self) {
        self.write(&frame(PING, 0, 0, b"alive?!?")).await;
        loop {
            match self.read().await {
                (PING, ACK) => return,
                (GOAWAY, _) => panic!("the server ended the connection"),
                _ => {}
            }
        }
    }

    async fn write(&mut self, bytes: &[u8]) {
        tokio::io::AsyncWriteExt::write_all(&mut self.0, bytes).await.unwrap();
    }

    /// Kind and flags of the next frame.
    async fn read(&mut self) -> (u8, u8) {
        use tokio::io::AsyncReadExt;
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.expect("the connection lives");
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        self.0.read_exact(&mut vec![0; length as usize]).await.unwrap();
        (head[3], head[4])
    }
}

/// RFC 9113 section 4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// HEADERS of a call whose message is still to come; RFC 7541 without any compression.
fn begun(stream: u32) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let mut block = vec![0x83, 0x86];
    for (name, value) in [
        (vec![0x04], "/countersign.v1.DecisionPoint/Authorize"),
        (vec![0x01], "localhost"),
        (vec![0x0f, 0x10], "application/grpc"),
        ([&[0x00], &text("te")[..]].concat(), "trailers"),
    ] {
        block.extend([name, text(value)].concat());
    }
    frame(1, 4, stream, &block)
}

fn cancelled(stream: u32) -> Vec<u8> {
    frame(3, 0, stream, &8_u32.to_be_bytes())
}
