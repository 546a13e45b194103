//! Clients that live through whatever happens to the replicas: each call goes to one of them at random, and one that fails
//! is made again, at another, under the same key. What they were told is kept for the checker.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use countersign::domain::Outcome;
use countersign::wire::pb;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::checker::Told;
use super::fleet::Fleet;
use crate::support::Client;
use crate::support::client::{long, query, string, wait};
use crate::support::random::Random;

/// Whoever is kept waiting for longer than he asked for and this goes to another one.
const HANG: Duration = Duration::from_secs(3);
/// How long a redeemer waits for people in one call.
const WAIT: Duration = Duration::from_secs(5);
const BACKOFF_MS: (u64, u64) = (20, 120);
/// A life that takes longer than this has been forgotten by everybody.
const LIFE_MAX: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub struct Load {
    tokens: Arc<BTreeMap<&'static str, String>>,
    urls: watch::Receiver<Vec<String>>,
    channels: Arc<Mutex<BTreeMap<String, Channel>>>,
    told: Arc<Mutex<Vec<Told>>>,
    approvals: Arc<Mutex<Vec<String>>>,
    next: Arc<AtomicI64>,
    calls: Arc<AtomicU64>,
    finished: Arc<AtomicBool>,
    /// Lives that came to their end.
    lived: Arc<watch::Sender<usize>>,
    /// The store may lose approvals, which are denied then: a life may end with that.
    loses: bool,
    failures: Arc<Mutex<BTreeMap<String, usize>>>,
}

/// A load that runs.
pub struct Running {
    pub load: Load,
    workers: Vec<JoinHandle<()>>,
}

/// The store has lost the approval that this life was about.
struct Vanished;

impl Load {
    pub fn on(fleet: &Fleet) -> Self {
        let names = ["report-bot", "ci-pipeline", "alice", "bob", "erin"];
        Self {
            tokens: Arc::new(names.map(|who| (who, fleet.token(who))).into()),
            urls: fleet.urls(),
            channels: Arc::default(),
            told: Arc::default(),
            approvals: Arc::default(),
            next: Arc::default(),
            calls: Arc::default(),
            finished: Arc::default(),
            lived: Arc::new(watch::Sender::new(0)),
            loses: false,
            failures: Arc::default(),
        }
    }

    /// The same where the store is about to lose what it has.
    pub fn over_a_loss(self) -> Self {
        Self { loses: true, ..self }
    }

    pub fn run(self, workers: usize) -> Running {
        let workers = (0..workers).map(|worker| tokio::spawn(self.clone().work(worker as u64))).collect();
        Running { load: self, workers }
    }

    async fn work(self, worker: u64) {
        let mut random = Random::new(worker);
        while !self.finished.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let ended = timeout(LIFE_MAX, self.live(number, &mut random))
                .await
                .unwrap_or_else(|_| panic!("life {number} hangs: {:?}", self.failures()));
            assert!(ended.is_ok() || self.loses, "life {number} vanished");
            self.lived.send_modify(|lived| *lived += 1);
        }
    }

    async fn live(&self, number: i64, random: &mut Random) -> Result<(), Vanished> {
        match random.below(8) {
            0 => self.rejected(number).await,
            1 => self.cancelled(number).await,
            2 => self.expired(number).await,
            _ => self.granted(number).await,
        }
    }

    /// Two countersign while two want to use it: one of them is let act, once, and is told the same again.
    async fn granted(&self, number: i64) -> Result<(), Vanished> {
        let asked = self.ask("report-bot", &export(number, "ask")).await?;
        let approval = asked.approval.expect("an approval");
        let redeem = |step: &str| pb::AuthorizeRequest {
            approval_id: approval.id.clone(),
            wait: wait(WAIT),
            ..export(number, step)
        };
        let (one, rival) = (redeem("one"), redeem("rival"));
        let (first, second, _, _) = tokio::join!(
            self.until_settled("report-bot", &one),
            self.until_settled("report-bot", &rival),
            self.approve("alice", &approval),
            self.approve("bob", &approval),
        );
        let (first, second) = (first?, second?);
        // More than one would be the checker's to find.
        let allowed = [&first, &second].iter().any(|answer| answer.outcome() == pb::Outcome::Allow);
        if !allowed && self.loses {
            return Err(Vanished);
        }
        assert!(allowed, "life {number}: nobody was let act: {} and {}", first.reason, second.reason);
        let (key, answer) = if first.outcome() == pb::Outcome::Allow { (one, first) } else { (rival, second) };
        let again = self.ask("report-bot", &key).await?;
        assert_eq!((again.outcome(), &again.decision_id), (pb::Outcome::Allow, &answer.decision_id), "life {number}");
        Ok(())
    }

    /// One approves and one rejects at the same time.
    async fn rejected(&self, number: i64) -> Result<(), Vanished> {
        let asked = self.ask("report-bot", &export(number, "ask")).await?;
        let approval = asked.approval.expect("an approval");
        let (_, rejected) = tokio::join!(self.approve("alice", &approval), self.reject("bob", &approval));
        assert!(rejected? || self.loses, "life {number}: one approval of two settles nothing");
        let by_id = pb::AuthorizeRequest { approval_id: approval.id.clone(), ..export(number, "late") };
        let late = self.ask("report-bot", &by_id).await?;
        self.assert_settled(&late, "approval_rejected", number);
        Ok(())
    }

    /// Withdrawn while somebody votes.
    async fn cancelled(&self, number: i64) -> Result<(), Vanished> {
        let asked = self.ask("report-bot", &export(number, "ask")).await?;
        let approval = asked.approval.expect("an approval");
        let (cancelled, _) = tokio::join!(self.cancel("report-bot", &approval), self.approve("alice", &approval));
        assert!(cancelled? || self.loses, "life {number}: one approval of two settles nothing");
        let by_id = pb::AuthorizeRequest { approval_id: approval.id.clone(), ..export(number, "late") };
        let late = self.ask("report-bot", &by_id).await?;
        self.assert_settled(&late, "approval_cancelled", number);
        Ok(())
    }

    /// Nobody comes.
    async fn expired(&self, number: i64) -> Result<(), Vanished> {
        let request = |step| rotation(number, step);
        let asked = self.ask("ci-pipeline", &request("ask")).await?;
        let approval = asked.approval.expect("an approval");
        let wanted = pb::AuthorizeRequest { approval_id: approval.id.clone(), wait: wait(WAIT), ..request("use") };
        let late = self.until_settled("ci-pipeline", &wanted).await?;
        self.assert_settled(&late, "approval_expired", number);
        Ok(())
    }

    /// Asserts that an approval was settled like this, or else denied because the store lost it.
    #[track_caller]
    fn assert_settled(&self, late: &pb::AuthorizeResponse, reason: &str, number: i64) {
        let was_denied = self.loses && late.outcome() == pb::Outcome::Deny;
        assert!(late.reason == reason || was_denied, "life {number}: {}, not {reason}", late.reason);
    }

    async fn until_settled(
        &self,
        who: &'static str,
        request: &pb::AuthorizeRequest,
    ) -> Result<pb::AuthorizeResponse, Vanished> {
        loop {
            let answer = self.ask(who, request).await?;
            if answer.outcome() != pb::Outcome::Pending {
                return Ok(answer);
            }
        }
    }

    async fn ask(&self, who: &'static str, request: &pb::AuthorizeRequest) -> Result<pb::AuthorizeResponse, Vanished> {
        let call = |client: Client| {
            let request = request.clone();
            async move { client.authorize(request).await }
        };
        let answer = self.until_answered(who, call).await?;
        self.note(&answer);
        Ok(answer)
    }

    /// Keeps an answer that a client got.
    pub fn note(&self, answer: &pb::AuthorizeResponse) {
        let approval = answer.approval.as_ref().map(|approval| approval.id.clone());
        if let Some(id) = approval.as_ref().filter(|_| answer.outcome() == pb::Outcome::Pending) {
            let mut approvals = self.approvals.lock().unwrap();
            if !approvals.contains(id) {
                approvals.push(id.clone());
            }
        }
        let outcome = match answer.outcome() {
            pb::Outcome::Allow => Outcome::Allow,
            pb::Outcome::Deny => Outcome::Deny,
            pb::Outcome::Pending => Outcome::Pending,
            pb::Outcome::Unspecified => panic!("an answer without an outcome"),
        };
        let approval = approval.map(|id| id.parse().unwrap());
        self.tell(Told::Decision { id: answer.decision_id.parse().unwrap(), outcome, approval });
    }

    /// A vote that arrives, or comes too late for something that is settled.
    async fn approve(&self, who: &'static str, approval: &pb::Approval) -> Result<(), Vanished> {
        let call = |client: Client| {
            let approval = approval.clone();
            async move { settled_or(client.approve(&approval).await) }
        };
        if self.until_answered(who, call).await?.is_some() {
            let who = format!("User::\"{who}\"");
            self.tell(Told::Vote { approval: approval.id.parse().unwrap(), who });
        }
        Ok(())
    }

    async fn reject(&self, who: &'static str, approval: &pb::Approval) -> Result<bool, Vanished> {
        let call = |client: Client| {
            let approval = approval.clone();
            async move { settled_or(client.reject(&approval).await) }
        };
        Ok(self.settled("rejected", approval, self.until_answered(who, call).await?))
    }

    async fn cancel(&self, who: &'static str, approval: &pb::Approval) -> Result<bool, Vanished> {
        let call = |client: Client| {
            let id = approval.id.clone();
            async move { settled_or(client.cancel(&id).await) }
        };
        // One whose answer was lost finds it settled by himself.
        let done = self.until_answered(who, call).await?;
        Ok(done.is_none() || self.settled("cancelled", approval, done))
    }

    fn settled(&self, state: &'static str, approval: &pb::Approval, done: Option<pb::Approval>) -> bool {
        if done.is_some() {
            self.tell(Told::Settled { approval: approval.id.parse().unwrap(), state });
        }
        done.is_some()
    }

    fn tell(&self, told: Told) {
        self.told.lock().unwrap().push(told);
    }

    /// Calls one replica after the other until one answers.
    async fn until_answered<T, F>(&self, who: &str, call: impl Fn(Client) -> F) -> Result<T, Vanished>
    where
        F: Future<Output = Result<T, Status>>,
    {
        loop {
            let place = Random::new(self.calls.fetch_add(1, Ordering::Relaxed)).next();
            if let Some(client) = self.client(who, place).await {
                let started = Instant::now();
                match timeout(WAIT + HANG, call(client)).await {
                    Ok(Ok(answer)) => return Ok(answer),
                    Ok(Err(status)) if self.loses && status.code() == Code::NotFound => return Err(Vanished),
                    Ok(Err(status)) => self.failed(who, &status, started.elapsed()),
                    // A server that is stopped, or cut off: its client goes to another one.
                    Err(_) => self.failed(who, &Status::deadline_exceeded("client"), started.elapsed()),
                }
            }
            let backoff = BACKOFF_MS.0 + (place % (BACKOFF_MS.1 - BACKOFF_MS.0));
            tokio::time::sleep(Duration::from_millis(backoff)).await;
        }
    }

    async fn client(&self, who: &str, place: u64) -> Option<Client> {
        let urls: Vec<String> = self.urls.borrow().iter().filter(|url| !url.is_empty()).cloned().collect();
        let url = urls.get(place as usize % urls.len().max(1))?.clone();
        let known = self.channels.lock().unwrap().get(&url).cloned();
        let channel = match known {
            Some(channel) => channel,
            None => {
                let channel = Endpoint::new(url.clone()).unwrap().connect().await.ok()?;
                self.channels.lock().unwrap().insert(url, channel.clone());
                channel
            }
        };
        Some(Client::over(channel, Some(&self.tokens[who])))
    }

    fn failed(&self, who: &str, status: &Status, after: Duration) {
        let codes = [
            Code::Unavailable,
            Code::Unknown,
            Code::Cancelled,
            Code::Aborted,
            Code::ResourceExhausted,
            Code::DeadlineExceeded,
        ];
        let of_transport = status.code() == Code::Internal && status.message().contains("h2");
        assert!(codes.contains(&status.code()) || of_transport, "{who}, after {after:?}: {status:?}");
        *self.failures.lock().unwrap().entry(format!("{:?}: {}", status.code(), status.message())).or_default() += 1;
    }

    /// Whether the store may lose approvals.
    pub fn loses(&self) -> bool {
        self.loses
    }

    /// What went wrong so far, and how often.
    pub fn failures(&self) -> BTreeMap<String, usize> {
        self.failures.lock().unwrap().clone()
    }

    /// Returns when so many more lives have come to their end.
    pub async fn more(&self, lives: usize) {
        let mut lived = self.lived.subscribe();
        let target = *lived.borrow_and_update() + lives;
        let reached = timeout(LIFE_MAX, lived.wait_for(|lived| *lived >= target)).await;
        assert!(reached.is_ok(), "no {lives} lives in {LIFE_MAX:?}: {:?}", self.failures());
    }

    pub fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }

    pub fn approvals(&self) -> Vec<String> {
        self.approvals.lock().unwrap().clone()
    }
}

impl Running {
    /// No new lives; those under way are lived to their end.
    pub async fn finish(self) -> Load {
        self.load.finished.store(true, Ordering::Relaxed);
        for worker in self.workers {
            worker.await.expect("no worker fails");
        }
        self.load
    }
}

/// `None` where the approval was settled before.
fn settled_or(result: Result<pb::Approval, Status>) -> Result<Option<pb::Approval>, Status> {
    match result {
        Ok(approval) => Ok(Some(approval)),
        Err(status) if status.code() == Code::FailedPrecondition => Ok(None),
        Err(status) => Err(status),
    }
}

/// The export of so many rows: each number is another query, each step another call.
pub fn export(number: i64, step: &str) -> pb::AuthorizeRequest {
    pb::AuthorizeRequest {
        context: BTreeMap::from([("destination".into(), string("s3://partner")), ("rows".into(), long(number))]),
        justification: "quarterly report".into(),
        idempotency_key: format!("export-{step}-{number}"),
        ..query("export", "Dataset", "customers")
    }
}

/// The rotation of one secret of many.
pub fn rotation(number: i64, step: &str) -> pb::AuthorizeRequest {
    pb::AuthorizeRequest {
        idempotency_key: format!("rotate-{step}-{number}"),
        ..query("rotate", "Secret", &format!("secret-{number}"))
    }
}
