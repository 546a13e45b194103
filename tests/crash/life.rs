//! Clients that live through the deaths of their server: every call that fails is made again, under the same key.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use countersign::wire::pb;
use tokio::sync::watch;
use tonic::{Code, Status};

use super::child::Site;
use crate::support::Client;
use crate::support::client::{long, query, string, wait};

/// Something that a client was told.
#[derive(Debug, Clone)]
pub enum Acknowledged {
    Decision { number: i64, step: &'static str, id: String, outcome: pb::Outcome, approval: String },
    Vote { approval: String, who: &'static str },
}

#[derive(Clone)]
pub struct Load {
    tokens: Arc<BTreeMap<&'static str, String>>,
    urls: watch::Receiver<String>,
    count: Arc<watch::Sender<usize>>,
    acknowledged: Arc<Mutex<Vec<Acknowledged>>>,
    next: Arc<AtomicI64>,
    finished: Arc<AtomicBool>,
}

impl Load {
    pub fn new(
        site: &Site,
        urls: watch::Receiver<String>,
        count: watch::Sender<usize>,
        acknowledged: Arc<Mutex<Vec<Acknowledged>>>,
    ) -> Self {
        let tokens = ["report-bot", "alice", "bob"].map(|who| (who, site.token(who))).into();
        let (next, finished) = (Arc::default(), Arc::default());
        Self { tokens: Arc::new(tokens), urls, count: Arc::new(count), acknowledged, next, finished }
    }

    /// No new lives; those under way are lived to their end.
    pub fn finish(&self) {
        self.finished.store(true, Ordering::Relaxed);
    }

    pub async fn work(self, _worker: usize) {
        while !self.finished.load(Ordering::Relaxed) {
            self.live(self.next.fetch_add(1, Ordering::Relaxed)).await;
        }
    }

    /// Asks, has it countersigned by two while it waits, is let in, and is told the same when it asks again.
    async fn live(&self, number: i64) {
        let asked = self.ask(number, "ask", "", Duration::ZERO).await;
        assert_eq!(asked.outcome(), pb::Outcome::Pending);
        let approval = asked.approval.expect("an approval");
        let (granted, (), ()) = tokio::join!(
            self.redeem(number, &approval.id),
            self.vote("alice", &approval),
            self.vote("bob", &approval),
        );
        let again = self.ask(number, "redeem", &approval.id, Duration::ZERO).await;
        assert_eq!((again.outcome(), &again.decision_id), (pb::Outcome::Allow, &granted.decision_id));
    }

    /// Asks until it is let in.
    async fn redeem(&self, number: i64, approval: &str) -> pb::AuthorizeResponse {
        loop {
            let answer = self.ask(number, "redeem", approval, Duration::from_secs(50)).await;
            match answer.outcome() {
                pb::Outcome::Pending => {}
                outcome => {
                    assert_eq!(outcome, pb::Outcome::Allow, "{}", answer.reason);
                    return answer;
                }
            }
        }
    }

    async fn ask(&self, number: i64, step: &'static str, approval: &str, span: Duration) -> pb::AuthorizeResponse {
        let request = request(number, step, approval, span);
        let answer = self
            .until_answered("report-bot", |client| {
                let request = request.clone();
                async move { client.authorize(request).await }
            })
            .await;
        let approval = answer.approval.as_ref().map(|approval| approval.id.clone()).unwrap_or_default();
        let (id, outcome) = (answer.decision_id.clone(), answer.outcome());
        self.acknowledge(Acknowledged::Decision { number, step, id, outcome, approval });
        answer
    }

    async fn vote(&self, who: &'static str, approval: &pb::Approval) {
        self.until_answered(who, |client| {
            let approval = approval.clone();
            async move { client.approve(&approval).await }
        })
        .await;
        self.acknowledge(Acknowledged::Vote { approval: approval.id.clone(), who });
    }

    fn acknowledge(&self, what: Acknowledged) {
        self.acknowledged.lock().unwrap().push(what);
        self.count.send_modify(|count| *count += 1);
    }

    /// Calls until a server lives long enough to answer.
    async fn until_answered<T, F>(&self, who: &str, call: impl Fn(Client) -> F) -> T
    where
        F: Future<Output = Result<T, Status>>,
    {
        let mut urls = self.urls.clone();
        loop {
            let url = urls.borrow_and_update().clone();
            if let Ok(client) = Client::try_connect(&url, &self.tokens[who]).await {
                match call(client).await {
                    Ok(answer) => return answer,
                    Err(status) => assert!(is_of_the_crash(&status), "{who}: {status}"),
                }
            }
            // The last one is alive: an error there shows as a hang of the test, which the runner ends.
            urls.changed().await.expect("a server to come");
        }
    }

    /// Every answer once more, under its key: nothing changed over all those deaths.
    pub async fn ask_again(&self, url: &str) {
        let client = Client::try_connect(url, &self.tokens["report-bot"]).await.unwrap();
        let all = self.acknowledged.lock().unwrap().clone();
        for told in all {
            if let Acknowledged::Decision { number, step: "redeem", id, outcome: pb::Outcome::Allow, approval } = told {
                let answer = client.authorize(request(number, "redeem", &approval, Duration::ZERO)).await.unwrap();
                assert_eq!((answer.outcome(), answer.decision_id), (pb::Outcome::Allow, id), "life {number}");
            }
        }
    }
}

fn request(number: i64, step: &str, approval: &str, span: Duration) -> pb::AuthorizeRequest {
    pb::AuthorizeRequest {
        context: BTreeMap::from([("destination".into(), string("s3://partner")), ("rows".into(), long(number))]),
        justification: "quarterly report".into(),
        approval_id: approval.into(),
        wait: wait(span),
        idempotency_key: format!("{step}-{number}"),
        ..query("export", "Dataset", "customers")
    }
}

/// A connection that broke, or a server on its way out.
fn is_of_the_crash(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled)
}
