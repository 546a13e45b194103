//! Floods of frames: whoever sends them costs bounded memory and nobody else's calls. The server is a process of its own, so
//! that its memory is nobody else's.

use std::net::SocketAddr;
use std::time::Duration;

use countersign::wire::pb;
use pb::Outcome;
use prost::Message;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::said;
use crate::crash::child::{Child, Site};
use crate::support::Client;
use crate::support::client::{export, export_by_id, query, wait};
use crate::support::http2::{
    CONTINUATION, DATA, ENHANCE_YOUR_CALM, HEADERS, PING, PREFACE, PRIORITY, Raw, SETTINGS, WINDOW_UPDATE, block, call,
    cancelled, frame, message,
};

const AUTHORIZE: &str = "/countersign.v1.DecisionPoint/Authorize";
/// What all floods of a test may add to the server's memory together; each of them sends nearly as much.
const GROWTH_KIB_MAX: u64 = 40 << 10;
const FLOOD_BYTES: usize = 32 << 20;
/// Of each connection.
const AUDITS: u32 = 250;
const AUDITORS: usize = 4;
/// All of them together: so many hold a step of records and the others none; all records there are would be 16 MiB for each.
const AUDITS_KIB_MAX: u64 = 160 << 10;
/// As long as the server reads on, it reads something within this time.
const STALLED: Duration = Duration::from_secs(2);

/// A server, and somebody else's calls at it: a wait that began before every flood, and what is asked meanwhile.
struct Scene {
    server: Child,
    site: Site,
    bystander: Client,
    approval: pb::Approval,
    waits: tokio::task::JoinHandle<Result<pb::AuthorizeResponse, tonic::Status>>,
    /// Of memory, before the first flood.
    before_kib: u64,
}

impl Scene {
    async fn begin() -> Self {
        let site = Site::new().await;
        let server = Child::start(&site, &[]).await;
        let bystander = ready(&server.url, &site.token("report-bot")).await;
        let approval = bystander.authorize(export()).await.unwrap().approval.unwrap();
        let asked = pb::AuthorizeRequest { wait: wait(Duration::from_secs(55)), ..export_by_id(&approval.id) };
        let waits = tokio::spawn({
            let bystander = bystander.clone();
            async move { bystander.authorize(asked).await }
        });
        let before_kib = memory_kib(&server, "VmRSS");
        Self { server, site, bystander, approval, waits, before_kib }
    }

    fn address(&self) -> SocketAddr {
        self.server.url.trim_start_matches("http://").parse().unwrap()
    }

    /// Bytes that the server finds all at once.
    async fn at_once(&self, connection: &mut Raw, bytes: &[u8]) {
        self.server.pause();
        connection.write(bytes).await;
        self.server.resume();
    }

    /// By how much memory has grown at the most. The kernel counts in batches: the most there ever was may seem less than there is.
    fn grown_kib(&self) -> u64 {
        memory_kib(&self.server, "VmHWM").saturating_sub(self.before_kib)
    }

    async fn others_are_served(&self) {
        let answer = self.bystander.authorize(query("read", "Dataset", "weather")).await.unwrap();
        assert_eq!(answer.outcome(), Outcome::Allow);
        assert!(!self.waits.is_finished());
    }

    async fn end(self) {
        self.end_within(GROWTH_KIB_MAX).await;
    }

    /// After all floods: who waited is answered, and memory did not grow by more than was allowed.
    async fn end_within(self, most_kib: u64) {
        self.others_are_served().await;
        let grown = self.grown_kib();
        assert!(grown < most_kib, "{grown} KiB more than before");
        for who in ["alice", "bob"] {
            Client::connect(&self.server.url, &self.site.token(who)).await.approve(&self.approval).await.unwrap();
        }
        assert_eq!(said(&self.waits.await.unwrap().unwrap()), (Outcome::Allow, "granted"));
    }
}

/// Returns once its token is good for something: the server has its issuer's keys.
async fn ready(url: &str, token: &str) -> Client {
    let client = Client::connect(url, token).await;
    while client.authorize(query("read", "Dataset", "weather")).await.is_err() {
        tokio::task::yield_now().await;
    }
    client
}

/// `VmRSS` for now, `VmHWM` for the most there ever was.
fn memory_kib(server: &Child, what: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid.as_raw_nonzero())).unwrap();
    let line = status.lines().find(|line| line.starts_with(what)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn odd(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|place| 1 + 2 * place)
}

fn reset_at_once(count: u32) -> Vec<u8> {
    odd(count).flat_map(|stream| [call(stream, AUTHORIZE, &[]), cancelled(stream)].concat()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_63_a_rapid_reset_ends_the_connection_that_sends_it_and_no_other() {
    let scene = Scene::begin().await;
    let mut forgiven = Raw::connect(scene.address()).await;
    scene.at_once(&mut forgiven, &reset_at_once(1_024)).await;
    forgiven.answers().await;
    for _ in 0..20 {
        let mut connection = Raw::connect(scene.address()).await;
        scene.at_once(&mut connection, &reset_at_once(1_100)).await;
        assert_eq!(connection.farewell().await, (ENHANCE_YOUR_CALM, "too_many_resets".into()));
        scene.others_are_served().await;
    }
    forgiven.answers().await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_63_what_is_never_whole_ends_the_connection() {
    let scene = Scene::begin().await;
    let begun = frame(HEADERS, 0, 1, &block(AUTHORIZE, &[]));
    let piece = |bytes: usize| frame(CONTINUATION, 0, 1, &vec![0; bytes]);
    let never_filled = || [call(1, AUTHORIZE, &[]), frame(DATA, 0, 1, b"").repeat(100_000)].concat();
    let large = "x".repeat(15 << 10);
    let bomb = [("a", &*large), ("b", &large), ("c", &large), ("d", &large)];
    let floods = [
        ("headers of many empty pieces", [begun.clone(), piece(0).repeat(1_000)].concat()),
        ("headers of many large pieces", [begun, piece(16 << 10).repeat(64)].concat()),
        ("data of many empty pieces", never_filled()),
        ("headers far too large", {
            let block = block(AUTHORIZE, &bomb);
            let mut pieces = block.chunks(16 << 10).map(|piece| frame(CONTINUATION, 0, 1, piece));
            pieces.next();
            [frame(HEADERS, 0, 1, &block[..16 << 10]), pieces.flatten().collect()].concat()
        }),
    ];
    for (what, flood) in floods {
        for _ in 0..10 {
            let mut connection = Raw::connect(scene.address()).await;
            // The server may be gone before it has read everything.
            let _ = connection.try_write(&flood).await;
            let ended = timeout(Duration::from_secs(20), connection.read_to_end()).await;
            let farewell = ended.unwrap_or_else(|_| panic!("{what}: the connection lives on"));
            assert!(farewell.is_none_or(|error| error != 0), "{what}: {farewell:?}");
        }
        scene.others_are_served().await;
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_63_frames_that_want_an_answer_which_nobody_reads_cost_bounded_memory() {
    let scene = Scene::begin().await;
    let window = [1_u32.to_be_bytes(), 1_u32.to_be_bytes()];
    let floods = [
        ("pings", frame(PING, 0, 0, b"anybody?")),
        ("settings", frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255])),
        ("empty settings", frame(SETTINGS, 0, 0, b"")),
        ("priorities", frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])),
        ("calls without credentials", Vec::new()),
        ("windows by one byte", frame(WINDOW_UPDATE, 0, 0, &window[0])),
    ];
    for (what, one) in floods {
        let mut connection = Raw::connect(scene.address()).await;
        let mut streams = odd(u32::MAX / 2);
        let mut sent = 0;
        while sent < FLOOD_BYTES {
            let chunk = match &*one {
                [] => streams.by_ref().take(64).flat_map(|stream| call(stream, AUTHORIZE, &[])).collect(),
                one => one.repeat(4_096),
            };
            // Either it is read to the end, or the server stops reading, or it ends the connection.
            match timeout(STALLED, connection.try_write(&chunk)).await {
                Ok(Ok(())) => sent += chunk.len(),
                Ok(Err(_)) | Err(_) => break,
            }
        }
        eprintln!("{what}: {sent} bytes, {} KiB", scene.grown_kib());
        scene.others_are_served().await;
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_63_answers_that_nobody_takes_are_not_made() {
    let scene = Scene::begin().await;
    let reads = pb::AuthorizeBatchRequest { queries: vec![query("read", "Dataset", "weather"); 100] };
    for _ in 0..40 {
        scene.bystander.stub.clone().authorize_batch(reads.clone()).await.unwrap();
    }
    let bearer = format!("Bearer {}", scene.site.token("erin"));
    let everything = pb::AuditRequest::default().encode_to_vec();
    // No window at all: not a byte of any answer may be sent.
    let mut connections = Vec::new();
    for _ in 0..AUDITORS {
        let mut connection = Raw::with_settings(scene.address(), &[0, 4, 0, 0, 0, 0]).await;
        for stream in odd(AUDITS) {
            let audit = call(stream, "/countersign.v1.DecisionPoint/Audit", &[("authorization", &bearer)]);
            connection.write(&[audit, message(stream, &everything)].concat()).await;
        }
        for _ in odd(AUDITS) {
            // Each has been answered with headers, so its records are ready to go.
            connection.next_of(HEADERS).await;
        }
        connection.answers().await;
        connections.push(connection);
    }
    // Who reads is served meanwhile, and to the end.
    let reader = Client::connect(&scene.server.url, &scene.site.token("erin")).await;
    let all = reader.audit(pb::AuditRequest { limit: 10_000, ..pb::AuditRequest::default() }).await.unwrap();
    assert!(all.len() > 4_000, "{}", all.len());
    eprintln!("{} audits: {} KiB", AUDITORS * AUDITS as usize, scene.grown_kib());
    scene.end_within(AUDITS_KIB_MAX).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_63_many_who_never_finish_a_sentence_are_in_nobodys_way() {
    let scene = Scene::begin().await;
    let mut slow = Vec::new();
    for place in 0..200 {
        let mut stream = TcpStream::connect(scene.address()).await.unwrap();
        let begun = match place % 4 {
            0 => Vec::new(),
            1 => PREFACE[..place % PREFACE.len()].to_vec(),
            2 => [PREFACE, &frame(SETTINGS, 0, 0, b""), &frame(HEADERS, 0, 1, &block(AUTHORIZE, &[]))].concat(),
            _ => [PREFACE, &frame(SETTINGS, 0, 0, b""), &call(1, AUTHORIZE, &[])].concat(),
        };
        stream.write_all(&begun).await.unwrap();
        slow.push(stream);
    }
    for _ in 0..20 {
        scene.others_are_served().await;
    }
    scene.end().await;
    drop(slow);
}
