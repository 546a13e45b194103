//! What does one Authorize cost the server, everything on (token, Cedar, journal, fsync), beside a no-op tonic service in
//! the same build on the same machine?
//!
//! Each server is a process of its own, so that its CPU time is its own: this program starts itself again as server and
//! reads `/proc/<pid>/task/*/schedstat`. `cargo bench --bench loopback [-- CALLS [unary|stream|told|storm] [CALLERS]]`; `told`: what logs and
//! traces add; `storm`: what is left of the answers when ten times as much is asked, of a server that has one processor to itself.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use countersign::config::{Log, Sealing, SealingMode};
use countersign::domain::Timestamp;
use countersign::grpc::generated::decision_point_client::DecisionPointClient;
use countersign::server::{Encryption, Listeners, Retention, Server, Setup};
use countersign::store::{Clock, embedded};
use countersign::telemetry::{TraceSettings, Traces};
use countersign::web::dev_issuer::find;
use countersign::wire::pb;
use countersign::{engine, journal, service};
use tokio::net::TcpListener;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;

mod noop;
// Shared with a test, which fails as tests do.
#[path = "../tests/support/storm.rs"]
#[allow(clippy::expect_used)]
mod storm;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failure = Box<dyn std::error::Error + Send + Sync>;

const ROLE: &str = "COUNTERSIGN_BENCH_ROLE";
const CALLERS: [usize; 3] = [1, 16, 256];

fn main() -> Result<(), Failure> {
    match std::env::var(ROLE).as_deref() {
        Ok(role) => serve(role),
        Err(_) => measure(),
    }
}

fn runtime(threads: usize) -> std::io::Result<tokio::runtime::Runtime> {
    let stack = countersign::server::WORKER_STACK_BYTES;
    tokio::runtime::Builder::new_multi_thread().worker_threads(threads).thread_stack_size(stack).enable_all().build()
}

/// Serves until standard input closes; says the address and a token.
fn serve(role: &str) -> Result<(), Failure> {
    runtime(2)?.block_on(async {
        let grpc = TcpListener::bind("127.0.0.1:0").await?;
        let stdin_closed =
            || tokio::task::spawn_blocking(|| drop(std::io::stdin().lock().read_line(&mut String::new())));
        if role == "noop" {
            println!("{} token", grpc.local_addr()?);
            let serving = noop::serve(grpc);
            tokio::select! { () = serving => {}, _ = stdin_closed() => {} }
            return Ok(());
        }
        let traces = told(role)?;
        let dir = tempfile::tempdir_in(std::env::var("COUNTERSIGN_BENCH_DIR").unwrap_or_else(|_| "target".into()))?;
        let dev_issuer = Some(TcpListener::bind("127.0.0.1:0").await?);
        let mut journal = journal::Settings::new(dir.path().join("journal"));
        if role == "interval" {
            journal.sync = journal::SyncPolicy::Interval(Duration::from_millis(50));
        }
        if role == "coalesce" {
            journal.coalesce = Duration::from_millis(1);
        }
        let mut load = service::load::Limits::default();
        if role == "takes-all" {
            (load.queueing_target, load.decisions_max) = (Duration::from_secs(3_600), usize::MAX);
        }
        let setup = Setup {
            journal,
            sealing: Sealing {
                mode: if role == "clear" { SealingMode::Off } else { SealingMode::Kept },
                keys: Vec::new(),
            },
            store: embedded::Limits::default(),
            redis: None,
            notify: Default::default(),
            policies: engine::Settings::new("policies"),
            issuers: Vec::new(),
            web: countersign::web::Settings::default(),
            encryption: Encryption::Loopback,
            connections: countersign::grpc::door::Limits::default(),
            limits: service::Limits { load, ..service::Limits::default() },
            masking: countersign::config::Masking::default(),
            traces: std::sync::Arc::default(),
            watch: None,
            retention: Retention::default(),
            clock: Box::new(Clock::system),
        };
        let server = Server::prepare(setup, Listeners { grpc, grpc_unix: None, web: None, metrics: None, dev_issuer })?;
        let token = {
            let minter = server.dev_issuer().ok_or("no dev issuer")?.minter();
            let now = Timestamp::from_micros(i64::try_from(std::time::UNIX_EPOCH.elapsed()?.as_micros())?);
            minter.mint(find("report-bot").ok_or("no agent")?, now, &serde_json::Map::new())
        };
        println!("{} {token}", server.address()?);
        server.run(async move { drop(stdin_closed().await) }).await?;
        drop(traces);
        Ok(())
    })
}

/// Logs and traces as `countersign serve` has them: `logged` no traces, `sampled` one call in a hundred, `traced` all. Nobody takes
/// them.
fn told(role: &str) -> Result<Option<Traces>, Failure> {
    let ratio = match role {
        "logged" => None,
        "sampled" => Some(0.01),
        "traced" => Some(1.0),
        _ => return Ok(None),
    };
    let settings = |sample_ratio| TraceSettings { endpoint: "http://127.0.0.1:9".into(), sample_ratio };
    let traces = ratio.map(settings).as_ref().map(Traces::start).transpose()?;
    countersign::cli::logging::start(&Log::default(), traces.as_ref()).map_err(|error| error.to_string())?;
    Ok(traces)
}

struct Process {
    child: Child,
    address: SocketAddr,
    token: String,
    /// Closing it ends the server.
    _stdin: ChildStdin,
}

impl Process {
    fn start(role: &str) -> Result<Self, Failure> {
        Self::spawn(&mut Command::new(std::env::current_exe()?), role)
    }

    /// On one processor.
    fn pinned(role: &str) -> Result<Self, Failure> {
        Self::spawn(Command::new("taskset").args(["--cpu-list", "0"]).arg(std::env::current_exe()?), role)
    }

    fn spawn(command: &mut Command, role: &str) -> Result<Self, Failure> {
        let mut child = command.env(ROLE, role).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no stdout")?).read_line(&mut line)?;
        let (address, token) = line.trim().split_once(' ').ok_or("the server did not start")?;
        let stdin = child.stdin.take().ok_or("no stdin")?;
        Ok(Self { address: address.parse()?, token: token.into(), child, _stdin: stdin })
    }

    /// CPU time of all its threads so far.
    fn cpu(&self) -> Result<Duration, Failure> {
        let mut total = 0;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let stat = std::fs::read_to_string(task?.path().join("schedstat"))?;
            total += stat.split_whitespace().next().unwrap_or("0").parse::<u64>()?;
        }
        Ok(Duration::from_nanos(total))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// CPU microseconds of the server, wall microseconds (p50, p99) of the caller, calls per second.
struct Figures {
    cpu: f64,
    p50: f64,
    p99: f64,
    rate: f64,
}

fn measure() -> Result<(), Failure> {
    let mut numbers = std::env::args().filter_map(|arg| arg.parse::<usize>().ok());
    let (calls, callers) = (numbers.next().unwrap_or(20_000), numbers.next());
    let wants = |part: &str| {
        !["unary", "stream", "told", "storm"]
            .iter()
            .any(|other| *other != part && std::env::args().any(|arg| arg == *other))
    };
    if wants("unary") {
        measure_unary(calls, callers.map_or(CALLERS.to_vec(), |callers| vec![callers]))?;
    }
    if wants("stream") {
        let process = Process::start("always")?;
        let streamed = runtime(2)?.block_on(streamed(&process, calls * 5))?;
        println!("AuthorizeStream, 256 under way: {streamed}");
    }
    if wants("told") {
        measure_told(calls, callers.unwrap_or(16))?;
    }
    if wants("storm") {
        measure_storm()?;
    }
    std::io::stdout().flush()?;
    Ok(())
}

/// The most that is answered, and what is answered in time when ten times as much is asked; turn by turn, so that each has its share of what
/// else the machine does.
fn measure_storm() -> Result<(), Failure> {
    const ROUNDS: usize = 3;
    const DEADLINE: Duration = Duration::from_millis(250);
    let (process, takes_all) = (Process::pinned("always")?, Process::pinned("takes-all")?);
    let query = prost::Message::encode_to_vec(&query());
    let (address, token) = (process.address, process.token.clone());
    let asked = storm::Asked { address, token, connections: 64, query, deadline: DEADLINE };
    let (address, token) = (takes_all.address, takes_all.token.clone());
    let of_one_that_takes_all = storm::Asked { address, token, ..asked.clone() };
    let lasts = Duration::from_secs(4);
    runtime(2)?.block_on(async {
        asked.by_callers(64, Duration::from_secs(2)).await;
        println!("answers in time a second, with a deadline of {DEADLINE:?}: the most, and of storms\n");
        for _ in 0..ROUNDS {
            let rate = |tally: &storm::Tally| tally.answered() as f64 / lasts.as_secs_f64();
            let (mut peak, mut at) = (0.0, 0);
            for callers in [32, 128, 256] {
                let rate = rate(&*asked.by_callers(callers, lasts).await);
                if rate > peak {
                    (peak, at) = (rate, callers);
                }
            }
            let callers = asked.by_callers(at * 10, lasts).await;
            let calls = asked.by_rate(peak * 10.0, lasts).await;
            let taken = of_one_that_takes_all.by_rate(peak * 10.0, lasts).await;
            println!(
                "{peak:.0} by {at} callers; {:.0} ({:.2}) by {} that ask again at once; {:.0} ({:.2}) of {:.0} a second; of one that takes all {:.0} ({:.2})",
                rate(&callers),
                rate(&callers) / peak,
                at * 10,
                rate(&calls),
                rate(&calls) / peak,
                calls.tried() as f64 / lasts.as_secs_f64(),
                rate(&taken),
                rate(&taken) / peak,
            );
            println!("  {callers:?}\n  {calls:?}\n  {taken:?}");
        }
        Ok(())
    })
}

/// Rounds of all turn by turn, so that each has its share of what else the machine does; the median of each.
fn measure_told(calls: usize, callers: usize) -> Result<(), Failure> {
    const ROUNDS: usize = 5;
    let roles = ["always", "logged", "sampled", "traced"];
    let processes = roles.map(Process::start);
    let processes = processes.into_iter().collect::<Result<Vec<_>, _>>()?;
    let mut rounds = vec![Vec::new(); roles.len()];
    for _ in 0..ROUNDS {
        for (process, costs) in processes.iter().zip(&mut rounds) {
            costs.push(runtime(2)?.block_on(unary(process, callers, calls / ROUNDS))?.cpu);
        }
    }
    for (role, costs) in roles.iter().zip(&mut rounds) {
        costs.sort_unstable_by(f64::total_cmp);
        println!("{role:>8}: {:.1} us a call", costs.get(ROUNDS / 2).ok_or("no rounds")?);
    }
    Ok(())
}

fn measure_unary(calls: usize, numbers_of_callers: Vec<usize>) -> Result<(), Failure> {
    println!("server CPU per call in us (p50 / p99 seen by the caller in us, calls per second); {calls} calls each\n");
    println!(
        "{:>8} {:>34} {:>34} {:>34} {:>34} {:>7} {:>7}",
        "callers", "no-op", "Authorize, fsync always", "the same in clear", "fsync by interval", "x no-op", "x clear"
    );
    for callers in numbers_of_callers {
        let figures = |role: &str| -> Result<Figures, Failure> {
            let process = Process::start(role)?;
            runtime(2)?.block_on(unary(&process, callers, calls))
        };
        let (noop, always) = (figures("noop")?, figures("always")?);
        let (clear, interval) = (figures("clear")?, figures("interval")?);
        let (ratio, seal) = (always.cpu / noop.cpu, always.cpu / clear.cpu);
        println!("{callers:>8} {noop:>34} {always:>34} {clear:>34} {interval:>34} {ratio:>7.2} {seal:>7.2}");
    }
    println!();
    Ok(())
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&format!("{:.1} ({:.0} / {:.0}, {:.0}/s)", self.cpu, self.p50, self.p99, self.rate))
    }
}

fn query() -> pb::AuthorizeRequest {
    let uid = |kind: &str, id: &str| Some(pb::EntityUid { r#type: kind.into(), id: id.into() });
    pb::AuthorizeRequest {
        action: uid("Action", "read"),
        resource: uid("Dataset", "weather"),
        ..pb::AuthorizeRequest::default()
    }
}

async fn unary(process: &Process, callers: usize, calls: usize) -> Result<Figures, Failure> {
    let bearer: MetadataValue<Ascii> = format!("Bearer {}", process.token).parse()?;
    // At most 64 callers share a connection.
    let mut channels = Vec::new();
    for _ in 0..callers.div_ceil(64) {
        channels.push(Channel::from_shared(format!("http://{}", process.address))?.connect().await?);
    }
    let each = (calls / callers).max(1);
    let run = |each: usize| {
        let tasks: Vec<_> = (0..callers)
            .filter_map(|caller| channels.get(caller % channels.len()).cloned())
            .map(|channel| tokio::spawn(call_often(channel, bearer.clone(), each)))
            .collect();
        async move {
            let mut times = Vec::new();
            for task in tasks {
                times.extend(task.await??);
            }
            Ok::<_, Failure>(times)
        }
    };
    run(each / 5 + 1).await?;
    let (before, start) = (process.cpu()?, Instant::now());
    let times = run(each).await?;
    figures(times, process.cpu()? - before, start.elapsed())
}

async fn call_often(channel: Channel, bearer: MetadataValue<Ascii>, calls: usize) -> Result<Vec<Duration>, Failure> {
    let mut client = DecisionPointClient::new(channel);
    let mut times = Vec::with_capacity(calls);
    for _ in 0..calls {
        let mut request = tonic::Request::new(query());
        request.metadata_mut().insert("authorization", bearer.clone());
        let start = Instant::now();
        let answer = client.authorize(request).await?.into_inner();
        times.push(start.elapsed());
        if answer.outcome() != pb::Outcome::Allow {
            return Err(format!("not allowed: {}", answer.reason).into());
        }
    }
    Ok(times)
}

async fn streamed(process: &Process, calls: usize) -> Result<Figures, Failure> {
    let channel = Channel::from_shared(format!("http://{}", process.address))?.connect().await?;
    let (sender, receiver) = tokio::sync::mpsc::channel(256);
    let mut request = tonic::Request::new(tokio_stream::wrappers::ReceiverStream::new(receiver));
    request.metadata_mut().insert("authorization", format!("Bearer {}", process.token).parse()?);
    let mut answers = DecisionPointClient::new(channel).authorize_stream(request).await?.into_inner();
    let (before, start) = (process.cpu()?, Instant::now());
    tokio::spawn(async move {
        for correlation_id in 0..u64::try_from(calls).unwrap_or(0) {
            let item = pb::AuthorizeStreamRequest { correlation_id, query: Some(query()) };
            if sender.send(item).await.is_err() {
                return;
            }
        }
    });
    let mut seen = 0;
    while answers.message().await?.is_some() {
        seen += 1;
    }
    figures(vec![Duration::ZERO; seen], process.cpu()? - before, start.elapsed())
}

fn figures(mut times: Vec<Duration>, cpu: Duration, wall: Duration) -> Result<Figures, Failure> {
    times.sort_unstable();
    let count = times.len();
    let at = |share: usize| times.get(count * share / 100).copied().unwrap_or_default().as_secs_f64() * 1e6;
    let calls = u32::try_from(count)?;
    Ok(Figures {
        cpu: cpu.as_secs_f64() * 1e6 / f64::from(calls),
        p50: at(50),
        p99: at(99),
        rate: f64::from(calls) / wall.as_secs_f64(),
    })
}
