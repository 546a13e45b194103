//! Who calls during a soak: each caller goes round by itself, expects one answer to each call, and counts it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use countersign::grpc::generated::masking_client::MaskingClient;
use countersign::wire::pb;
use rustix::process::{Signal, kill_process};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::{Code, Request, Status};

use super::Failure;
use super::crash::child::{Child, Site};
use super::support::Client;
use super::support::client::{long, query, string, wait};

/// Between two rounds of one caller.
const BREATH: Duration = Duration::from_millis(5);
/// Of each kind.
const ABREAST: u64 = 4;
/// Calls that wait for people and go away again, at a time.
const BURST: usize = 32;
const WAIT: Duration = Duration::from_secs(50);

/// What came of a round: how many answers, or the one that was not expected.
type Round = Result<u64, String>;

pub struct Callers {
    stop: watch::Sender<bool>,
    answers: Arc<AtomicU64>,
    running: JoinSet<Result<(), String>>,
}

#[derive(Clone)]
struct Cast {
    url: String,
    agent: String,
    pipeline: String,
    alice: String,
    bob: String,
    auditor: String,
    pid: rustix::process::Pid,
}

impl Callers {
    pub fn start(site: &Site, server: &Child) -> Self {
        let cast = Cast {
            url: server.url.clone(),
            agent: site.token("report-bot"),
            pipeline: site.token("ci-pipeline"),
            alice: site.token("alice"),
            bob: site.token("bob"),
            auditor: site.token("erin"),
            pid: server.pid,
        };
        let (stop, answers) = (watch::Sender::new(false), Arc::default());
        let mut callers = Self { stop, answers, running: JoinSet::new() };
        for place in 0..ABREAST {
            callers.go(&cast, place, 1, |cast, number| async move { cast.plain(number).await });
            callers.go(&cast, place, 20, |cast, number| async move { cast.life(number).await });
        }
        callers.go(&cast, 0, 100, |cast, number| async move { cast.expiry(number).await });
        callers.go(&cast, 0, 400, |cast, number| async move { cast.gone(number).await });
        callers.go(&cast, 0, 20, |cast, _| async move { cast.stranger().await });
        callers.go(&cast, 0, 100, |cast, _| async move { cast.follow().await });
        callers.go(&cast, 0, 100, |cast, _| async move { cast.audit().await });
        callers.go(&cast, 0, 20, |cast, _| async move { cast.mask().await });
        callers.go(&cast, 0, 2_000, |cast, _| async move {
            // Told to read its policies, as an operator would.
            kill_process(cast.pid, Signal::HUP).map(|()| 1).map_err(|error| error.to_string())
        });
        callers
    }

    /// Has one caller go round, with so many breaths in between. Its numbers are no other's.
    fn go<F>(&mut self, cast: &Cast, place: u64, breaths: u32, round: impl Fn(Cast, u64) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Round> + Send,
    {
        let (cast, answers, stopped) = (cast.clone(), self.answers.clone(), self.stop.subscribe());
        self.running.spawn(async move {
            let mut number = place;
            while !*stopped.borrow() {
                answers.fetch_add(round(cast.clone(), number).await?, Ordering::Relaxed);
                number += ABREAST;
                tokio::time::sleep(BREATH * breaths).await;
            }
            Ok(())
        });
    }

    pub fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// Ends all of them.
    pub async fn stop(mut self) -> Result<String, Failure> {
        self.stop.send_replace(true);
        while let Some(ended) = self.running.join_next().await {
            ended??;
        }
        Ok(format!("{} answers, each as expected", self.answers()))
    }
}

impl Cast {
    async fn connect(&self, token: &str) -> Result<Client, String> {
        Client::try_connect(&self.url, token).await.map_err(|error| error.to_string())
    }

    /// What policies decide by themselves, and a query that cannot be decided. Every round is a connection of its own.
    async fn plain(self, number: u64) -> Round {
        let agent = self.connect(&self.agent).await?;
        for _ in 0..20 {
            outcome(agent.authorize(query("read", "Dataset", "weather")).await, pb::Outcome::Allow)?;
            outcome(agent.authorize(query("drop", "Database", "production")).await, pb::Outcome::Deny)?;
        }
        let mut wrong = export(number);
        wrong.context.insert("undeclared".into(), string("?"));
        refused(agent.authorize(wrong).await, Code::InvalidArgument)?;
        Ok(41)
    }

    /// From the question to the report, or to one of the other ends.
    async fn life(self, number: u64) -> Round {
        let (agent, alice) = (self.connect(&self.agent).await?, self.connect(&self.alice).await?);
        let bob = self.connect(&self.bob).await?;
        let opened = outcome(agent.authorize(export(number)).await, pb::Outcome::Pending)?;
        let approval = opened.approval.ok_or("no approval")?;
        if number % 5 == 1 {
            well(alice.reject(&approval).await)?;
            outcome(agent.authorize(export(number)).await, pb::Outcome::Deny)?;
            return Ok(3);
        }
        if number % 5 == 2 {
            well(agent.cancel(&approval.id).await)?;
            refused(alice.approve(&approval).await, Code::FailedPrecondition)?;
            return Ok(3);
        }
        let waiting = {
            let agent = agent.clone();
            tokio::spawn(
                async move { agent.authorize(pb::AuthorizeRequest { wait: wait(WAIT), ..export(number) }).await },
            )
        };
        well(alice.approve(&approval).await)?;
        // The same click once more is no second vote.
        well(alice.approve(&approval).await)?;
        well(bob.approve(&approval).await)?;
        let allowed = outcome(waiting.await.map_err(|error| error.to_string())?, pb::Outcome::Allow)?;
        let again = pb::AuthorizeRequest { approval_id: approval.id.clone(), ..export(number) };
        outcome(agent.authorize(again).await, pb::Outcome::Deny)?;
        if number % 5 == 3 {
            well(agent.report(&approval.id, &allowed.decision_id, pb::Report::Succeeded).await)?;
        }
        Ok(6)
    }

    /// Nobody answers in time.
    async fn expiry(self, number: u64) -> Round {
        let pipeline = self.connect(&self.pipeline).await?;
        let asked = query("rotate", "Secret", &format!("secret-{number}"));
        outcome(pipeline.authorize(asked.clone()).await, pb::Outcome::Pending)?;
        let held = pb::AuthorizeRequest { wait: wait(WAIT), ..asked };
        outcome(pipeline.authorize(held).await, pb::Outcome::Deny)?;
        Ok(2)
    }

    /// Callers that ask, wait, and go away all at once; one of their approvals each is withdrawn.
    async fn gone(self, number: u64) -> Round {
        let agent = self.connect(&self.agent).await?;
        let asked = export(1_000_000_000 + number);
        let mut held = JoinSet::new();
        for _ in 0..BURST {
            let (agent, asked) = (agent.clone(), pb::AuthorizeRequest { wait: wait(WAIT), ..asked.clone() });
            held.spawn(async move { agent.authorize(asked).await });
        }
        let opened = outcome(agent.authorize(asked).await, pb::Outcome::Pending)?;
        held.abort_all();
        while held.join_next().await.is_some() {}
        well(agent.cancel(&opened.approval.ok_or("no approval")?.id).await)?;
        Ok(2)
    }

    async fn stranger(self) -> Round {
        let stranger = self.connect("nobody's").await?;
        refused(stranger.authorize(query("read", "Dataset", "weather")).await, Code::Unauthenticated)?;
        let agent = self.connect(&self.agent).await?;
        refused(agent.get("apr_00000000000000000000000000000000").await, Code::NotFound)?;
        Ok(2)
    }

    /// A subscriber that reads some events, and then goes away with more on the way.
    async fn follow(self) -> Round {
        let auditor = self.connect(&self.auditor).await?;
        let mut events = well(auditor.stub.clone().subscribe(pb::SubscribeRequest::default()).await)?.into_inner();
        for _ in 0..50 {
            well(events.message().await)?.ok_or("the stream ended")?;
        }
        Ok(50)
    }

    async fn audit(self) -> Round {
        let auditor = self.connect(&self.auditor).await?;
        let request =
            pb::AuditRequest { limit: 100, order: pb::Order::NewestFirst.into(), ..pb::AuditRequest::default() };
        Ok(well(auditor.audit(request).await)?.len() as u64)
    }

    async fn mask(self) -> Round {
        let channel = tonic::transport::Endpoint::new(self.url).map_err(|error| error.to_string())?;
        let mut masking = MaskingClient::new(channel.connect().await.map_err(|error| error.to_string())?);
        let data = pb::mask_request::Data::Text("write to ada@example.com or 219-09-9999".into());
        let by = pb::mask_request::By::Profile("everything".into());
        let mut request = Request::new(pb::MaskRequest { by: Some(by), data: Some(data) });
        let bearer = format!("Bearer {}", self.agent).parse().map_err(|_| "a token that is no header")?;
        request.metadata_mut().insert("authorization", bearer);
        let masked = format!("{:?}", well(masking.mask(request).await)?.into_inner());
        if masked.contains("ada@") || masked.contains("9999") { Err(format!("not masked: {masked}")) } else { Ok(1) }
    }
}

/// An export like no other: its binding is its own.
fn export(number: u64) -> pb::AuthorizeRequest {
    let rows = long(i64::try_from(number).unwrap_or(i64::MAX));
    pb::AuthorizeRequest {
        context: [("destination".to_owned(), string("s3://partner")), ("rows".to_owned(), rows)].into(),
        justification: "quarterly report".into(),
        ..query("export", "Dataset", "customers")
    }
}

fn well<T>(answer: Result<T, Status>) -> Result<T, String> {
    answer.map_err(|status| status.to_string())
}

fn outcome(
    answer: Result<pb::AuthorizeResponse, Status>,
    expected: pb::Outcome,
) -> Result<pb::AuthorizeResponse, String> {
    let answer = well(answer)?;
    if answer.outcome() == expected { Ok(answer) } else { Err(format!("not {expected:?}: {answer:?}")) }
}

fn refused<T>(answer: Result<T, Status>, expected: Code) -> Result<u64, String> {
    match answer {
        Err(status) if status.code() == expected => Ok(1),
        Err(status) => Err(format!("not {expected:?}: {status}")),
        Ok(_) => Err(format!("not {expected:?} but an answer")),
    }
}
