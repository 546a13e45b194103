//! Many calls over real gRPC. The server is a process of its own, so that its memory is its own.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use countersign::domain::Timestamp;
use countersign::grpc::generated::decision_point_client::DecisionPointClient;
use countersign::server::{Encryption, Listeners, Retention, Server, Setup};
use countersign::store::Clock;
use countersign::web::dev_issuer::find;
use countersign::wire::pb;
use countersign::{journal, service};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::Request;
use tonic::transport::Channel;

use super::stage::{limits, policies};
use super::{Failure, directory, resident_bytes};

pub const ROLE: &str = "COUNTERSIGN_BENCH_ROLE";
const CALLS_PER_CONNECTION: usize = 250;
const WAIT: Duration = Duration::from_secs(600);

/// Serves until it is killed; says the address and two tokens.
pub async fn serve() -> Result<(), Failure> {
    let dir = directory()?;
    let setup = Setup {
        journal: journal::Settings::new(dir.path().join("journal")),
        sealing: Default::default(),
        store: limits(),
        redis: None,
        notify: Default::default(),
        policies: policies(),
        issuers: Vec::new(),
        web: countersign::web::Settings::default(),
        encryption: Encryption::Loopback,
        connections: countersign::grpc::door::Limits::default(),
        limits: service::Limits { wait_max: WAIT, ..service::Limits::default() },
        masking: countersign::config::Masking::default(),
        traces: std::sync::Arc::default(),
        watch: None,
        retention: Retention::default(),
        clock: Box::new(Clock::system),
    };
    let listeners = Listeners {
        grpc: TcpListener::bind("127.0.0.1:0").await?,
        grpc_unix: None,
        web: None,
        metrics: None,
        dev_issuer: Some(TcpListener::bind("127.0.0.1:0").await?),
    };
    let server = Server::prepare(setup, listeners)?;
    let minter = server.dev_issuer().ok_or("no issuer")?.minter();
    let now = Timestamp::default().after(std::time::UNIX_EPOCH.elapsed()?);
    let token = |who| Ok::<_, Failure>(minter.mint(find(who).ok_or("nobody")?, now, &serde_json::Map::new()));
    println!("{} {} {}", server.address()?, token("report-bot")?, token("erin")?);
    Ok(server.run(std::future::pending()).await?)
}

struct Process {
    child: Child,
    address: String,
    agent: String,
    auditor: String,
}

impl Process {
    fn start() -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?).env(ROLE, "serve").stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        let mut words = line.split_whitespace().map(str::to_owned);
        let mut word = || words.next().ok_or("the server said too little");
        Ok(Self { address: word()?, agent: word()?, auditor: word()?, child })
    }

    fn resident(&self) -> Result<u64, Failure> {
        resident_bytes(self.child.id())
    }

    async fn connect(&self) -> Result<DecisionPointClient<Channel>, Failure> {
        let channel = Channel::from_shared(format!("http://{}", self.address))?.connect().await?;
        Ok(DecisionPointClient::new(channel))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has nothing to save.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn with_token<T>(message: T, token: &str) -> Result<Request<T>, Failure> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse()?);
    Ok(request)
}

fn export(number: usize) -> pb::AuthorizeRequest {
    let uid = |name: &str, id: &str| Some(pb::EntityUid { r#type: name.into(), id: id.into() });
    let value = |kind| pb::Value { kind: Some(kind) };
    let destination = value(pb::value::Kind::String("s3://partner/quarterly".into()));
    let rows = value(pb::value::Kind::Long(number as i64));
    pb::AuthorizeRequest {
        action: uid("Action", "export"),
        resource: uid("Dataset", "customers"),
        context: BTreeMap::from([("destination".into(), destination), ("rows".into(), rows)]),
        justification: "the quarterly report".into(),
        wait: WAIT.try_into().ok(),
        ..pb::AuthorizeRequest::default()
    }
}

/// Each call opens an approval of its own and waits for it.
pub async fn waits(calls: usize) -> Result<(), Failure> {
    let process = Process::start()?;
    let (empty, begun) = (process.resident()?, Instant::now());
    let (sent, mut held) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
    for connection in 0..calls.div_ceil(CALLS_PER_CONNECTION) {
        let client = process.connect().await?;
        for call in 0..CALLS_PER_CONNECTION {
            let request = with_token(export(connection * CALLS_PER_CONNECTION + call), &process.agent)?;
            let (mut client, sent) = (client.clone(), sent.clone());
            held.spawn(async move {
                sent.fetch_add(1, Ordering::Relaxed);
                client.authorize(request).await.map(drop)
            });
        }
        // Answered only when the calls before it have been read.
        let mut probe = client.clone();
        let filter = pb::ListApprovalsRequest { page_size: 1, ..pb::ListApprovalsRequest::default() };
        probe.list_approvals(with_token(filter, &process.agent)?).await?;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let ended = std::iter::from_fn(|| held.try_join_next()).count();
    let bytes = process.resident()? - empty;
    println!(
        "{} calls sent over {} connections in {:.1?}, {ended} ended early, {} held: {} MiB, {} bytes each, approvals included",
        sent.load(Ordering::Relaxed),
        calls.div_ceil(CALLS_PER_CONNECTION),
        begun.elapsed(),
        held.len(),
        bytes >> 20,
        bytes / held.len() as u64
    );
    Ok(())
}

const RECORDS: usize = 20_000;

/// Each asks for everything from the beginning, and never takes any of it.
pub async fn subscribers(streams: usize) -> Result<(), Failure> {
    let process = Process::start()?;
    let mut writer = process.connect().await?;
    for batch in 0..RECORDS / 100 {
        let queries =
            (0..100).map(|query| pb::AuthorizeRequest { wait: None, ..export(batch * 100 + query) }).collect();
        writer.authorize_batch(with_token(pb::AuthorizeBatchRequest { queries }, &process.agent)?).await?;
    }
    let (before, mut open) = (process.resident()?, Vec::new());
    for _ in 0..streams.div_ceil(CALLS_PER_CONNECTION) {
        let mut client = process.connect().await?;
        for _ in 0..CALLS_PER_CONNECTION {
            let request = pb::SubscribeRequest { from_beginning: true, ..pb::SubscribeRequest::default() };
            open.push(client.subscribe(with_token(request, &process.auditor)?).await?);
        }
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let bytes = process.resident()? - before;
    println!(
        "{} subscribers that never read: {} MiB, {} bytes each",
        open.len(),
        bytes >> 20,
        bytes / open.len() as u64
    );
    let begun = Instant::now();
    for number in 0..200 {
        let query = pb::AuthorizeRequest { wait: None, ..export(number) };
        writer.authorize(with_token(query, &process.agent)?).await?;
    }
    println!("an Authorize beside them: {:.0?}", begun.elapsed() / 200);
    Ok(())
}
